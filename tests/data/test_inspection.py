import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
import soundfile

from raysys.data.audio import decode
from raysys.data.inspection import inspect_audio
from raysys.data.manifest import Manifest, Utterance, build_manifest
from raysys.errors import ManifestError


def write_wav(path: Path, *, n_samples: int = 8_000, rate_hz: int = 16_000, subtype: str = "PCM_16") -> Path:
    samples_S = np.random.default_rng(0).normal(0, 0.1, n_samples)
    soundfile.write(path, samples_S, rate_hz, subtype=subtype)
    return path


def utterance(path: Path, index: int, *, start_s: float | None = None, end_s: float | None = None) -> Utterance:
    return Utterance(
        utterance_id=f"u{index:02d}",
        audio_path=str(path),
        speaker="S1",
        emotion=("joy", "fear")[index % 2],
        start_s=start_s,
        end_s=end_s,
    )


@pytest.fixture
def good(tmp_path: Path) -> list[Utterance]:
    """Twenty usable utterances, half a second each."""
    path = write_wav(tmp_path / "good.wav")
    return [utterance(path, index) for index in range(20)]


def manifest_of(utterances: list[Utterance]) -> Manifest:
    return build_manifest("table", "x.csv", utterances)


def bad_file(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.wav"
    match kind:
        case "missing":
            pass
        case "folder":
            path.mkdir()
        case "text":
            path.write_text("This is not audio, whatever its name says.")
        case "zero_bytes":
            path.touch()
        case "no_samples":
            write_wav(path, n_samples=0)
        case "slow":
            write_wav(path, rate_hz=500)
        case "fast":
            write_wav(path, rate_hz=400_000)
        case "long":
            write_wav(path, n_samples=32_001)
        case "headerless":
            path = folder / "a.gsm"
            path.write_text("This is not audio, whatever its name says." * 9)
        case "huge":
            soundfile.write(path, np.full(800, 1e30), 16_000, subtype="FLOAT")
        case "unknown length":
            path = folder / "a.flac"
            data = bytearray(write_wav(path).read_bytes())
            data[21] &= 0xF0
            data[22:26] = bytes(4)
            path.write_bytes(data)
        case "cut":
            path.write_bytes(write_wav(path).read_bytes()[:-99])
        case "nan" | "infinite":
            samples_S = np.zeros(600_000, dtype=np.float32)
            samples_S[-1] = np.nan if kind == "nan" else np.inf
            soundfile.write(path, samples_S, 384_000, subtype="FLOAT")
    return path


REASONS = {
    "missing": "does not exist",
    "folder": "is not a file",
    "text": "does not decode (Format not recognised",
    "zero_bytes": "is empty (0 bytes)",
    "no_samples": "contains no samples",
    "slow": "sample rate of 500 Hz, expected 1000 to 384000",
    "fast": "sample rate of 400000 Hz, expected 1000 to 384000",
    "long": "lasts 2.0 s, but --corpus.max-duration-s is 2",
    "headerless": "does not decode (Format not recognised",
    "huge": "contains values as large as 1e+30, expected about -1 to 1",
    "unknown length": "has no length in its header",
    "cut": "is truncated: the last 99 bytes promised by its header are missing",
    "nan": "not finite",
    "infinite": "not finite",
}


def test_duration_and_digest_are_filled_in(tmp_path: Path) -> None:
    whole = write_wav(tmp_path / "a.wav", n_samples=11_025, rate_hz=44_100)
    flac = write_wav(tmp_path / "b.flac", n_samples=4_000, rate_hz=8_000)
    double = write_wav(tmp_path / "c.wav", n_samples=700, rate_hz=1_000, subtype="DOUBLE")
    manifest = manifest_of([utterance(whole, 0), utterance(flac, 1, start_s=0.1, end_s=0.3), utterance(double, 2)])
    inspected = inspect_audio(manifest, max_duration_s=1.0, on_error="fail")
    assert [u.duration_s for u in inspected.utterances] == [0.25, 0.2, 0.7]
    expected = hashlib.blake2b(whole.read_bytes(), digest_size=16).hexdigest()
    assert inspected.utterances[0].digest == expected
    assert inspected.skipped == ()


def test_parts_of_one_file_share_a_digest_and_are_as_long_as_they_decode(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "long.wav", n_samples=16_000)
    parts = [
        utterance(path, 0, end_s=0.30001),
        utterance(path, 1, start_s=0.30001),
        utterance(path, 2, start_s=0.2, end_s=1.0),
    ]
    inspected = inspect_audio(manifest_of(parts), max_duration_s=0.9, on_error="fail")
    assert len({u.digest for u in inspected.utterances}) == 1
    for u in inspected.utterances:
        assert u.duration_s is not None and len(decode(u)) == round(u.duration_s * 16_000)


@pytest.mark.parametrize("kind", list(REASONS))
def test_a_bad_file_fails_with_its_name_and_reason_or_is_skipped_and_listed(
    tmp_path: Path, good: list[Utterance], kind: str
) -> None:
    path = bad_file(tmp_path, kind)
    manifest = manifest_of([*good, utterance(path, 20)])
    with pytest.raises(ManifestError) as error:
        inspect_audio(manifest, max_duration_s=2.0, on_error="fail")
    message = str(error.value)
    assert f"{path} (u20): " in message and REASONS[kind] in message
    assert "1 of 21 utterances" in message and "--corpus.on-error skip" in message
    inspected = inspect_audio(manifest, max_duration_s=2.0, on_error="skip")
    assert [u.utterance_id for u in inspected.utterances] == [u.utterance_id for u in good]
    (skipped,) = inspected.skipped
    assert (skipped.utterance_id, skipped.audio_path) == ("u20", str(path))
    assert REASONS[kind] in skipped.reason


@pytest.mark.parametrize(
    ("start_s", "end_s"), [(0.4, 0.6), (0.5, None), (0.7, 0.8), (0.1, 0.10001), (1e305, None), (0.1, 1e308)]
)
def test_a_part_must_be_inside_its_file(good: list[Utterance], start_s: float, end_s: float | None) -> None:
    part = dataclasses.replace(good[0], utterance_id="part", start_s=start_s, end_s=end_s)
    with pytest.raises(ManifestError, match=r"lasts 0\.500 s and does not contain the part") as error:
        inspect_audio(manifest_of([*good, part]), max_duration_s=2.0, on_error="fail")
    assert f"{part.audio_path} (part)" in str(error.value)
    assert "--corpus.on-error skip" in str(error.value)


def test_only_the_part_counts_for_the_longest_duration(good: list[Utterance]) -> None:
    parts = [dataclasses.replace(u, end_s=0.1) for u in good]
    assert inspect_audio(manifest_of(parts), max_duration_s=0.1, on_error="fail").utterances


def test_one_error_lists_five_files_and_counts_the_others(tmp_path: Path, good: list[Utterance]) -> None:
    bad = [utterance(tmp_path / f"no{index}.wav", index) for index in range(20, 27)]
    with pytest.raises(ManifestError, match="7 of 27 utterances") as error:
        inspect_audio(manifest_of([*good, *bad]), max_duration_s=2.0, on_error="fail")
    assert str(error.value).count("does not exist") == 5 and "and 2 more" in str(error.value)


def test_one_bad_file_of_many_utterances_is_listed_once(tmp_path: Path, good: list[Utterance]) -> None:
    bad = [utterance(tmp_path / "no.wav", index) for index in range(20, 27)]
    with pytest.raises(ManifestError, match=r"7 of 27 utterances") as error:
        inspect_audio(manifest_of([*good, *bad]), max_duration_s=2.0, on_error="fail")
    assert str(error.value).count("no.wav (u20): does not exist") == 1
    assert str(error.value).count("no.wav") == 1


def test_more_than_a_tenth_cannot_be_skipped(tmp_path: Path, good: list[Utterance]) -> None:
    bad = [utterance(tmp_path / f"no{index}.wav", index) for index in range(20, 23)]
    assert inspect_audio(manifest_of(good[2:] + bad[:2]), max_duration_s=2.0, on_error="skip")
    with pytest.raises(ManifestError, match=r"(?s)at most 10%.*no20\.wav.*Fix") as error:
        inspect_audio(manifest_of(good + bad), max_duration_s=2.0, on_error="skip")
    assert "3 of 23 utterances" in str(error.value)


def test_a_class_that_would_vanish_cannot_be_skipped(tmp_path: Path, good: list[Utterance]) -> None:
    rare = dataclasses.replace(utterance(tmp_path / "no.wav", 20), emotion="rage")
    with pytest.raises(ManifestError, match=r"(?s)no utterance of rage would be left.*no\.wav.*Fix"):
        inspect_audio(manifest_of([*good, rare]), max_duration_s=2.0, on_error="skip")
