"""Decoding: any WAV or FLAC becomes the same mono 16 kHz waveform, or an error with a reason."""

from __future__ import annotations

import errno
import math
import resource
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from raysys.data import resample as resampling
from raysys.data import sound
from raysys.data.audio import decode, trim
from raysys.data.manifest import Utterance
from raysys.data.resample import resample
from raysys.errors import AudioError, UnreadableError

AS_PUBLISHED = (
    "Actor_01/03-01-02-01-01-02-01",
    "Actor_01/03-01-05-02-01-01-01",
    "Actor_01/03-01-08-01-02-02-01",
    "Actor_24/03-01-04-01-02-02-24",
)


def utterance(path: Path, start_s: float | None = None, end_s: float | None = None) -> Utterance:
    return Utterance(utterance_id="a", audio_path=str(path), speaker="S1", emotion="joy", start_s=start_s, end_s=end_s)


def tone(n: int, rate_hz: int = 16_000, hz: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(n) / rate_hz)


def decibels(signal: np.ndarray, noise: np.ndarray) -> float:
    return float(10 * np.log10(np.square(signal).mean() / np.square(noise).mean()))


@pytest.mark.parametrize("name", AS_PUBLISHED)
def test_ravdess_as_published_decodes_to_known_values(shared_data: Path, name: str) -> None:
    published = decode(utterance(shared_data / f"ravdess_as_published/{name}.wav"))
    known = decode(utterance(shared_data / f"ravdess/{name}.flac"))
    assert published.dtype == np.float32
    assert len(published) == len(known)
    assert decibels(known, published - known) > 30


def test_two_of_the_files_as_published_are_stereo(shared_data: Path) -> None:
    channels = [soundfile.info(shared_data / f"ravdess_as_published/{name}.wav").channels for name in AS_PUBLISHED]
    assert sorted(channels) == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("suffix", "subtype", "bits"),
    [
        ("wav", "PCM_16", 16),
        ("wav", "PCM_24", 24),
        ("wav", "PCM_32", 24),
        ("wav", "FLOAT", 24),
        ("wav", "DOUBLE", 24),
        ("wav", "PCM_U8", 8),
        ("flac", "PCM_16", 16),
        ("flac", "PCM_24", 24),
    ],
)
def test_every_sample_format_reads_the_same(tmp_path: Path, suffix: str, subtype: str, bits: int) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, tone(1_000), 16_000, subtype=subtype)
    waveform_S = decode(utterance(path))
    assert waveform_S.dtype == np.float32 and waveform_S.shape == (1_000,)
    np.testing.assert_allclose(waveform_S, tone(1_000), rtol=0, atol=2.0 ** (1 - bits) + 1e-7)


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = tone(1_000, hz=300), tone(1_000, hz=700)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], 1), 16_000, subtype="FLOAT")
    waveform_S = decode(utterance(tmp_path / "a.wav"))
    np.testing.assert_allclose(waveform_S, (left + right) / 2, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_a_part_is_cut_at_its_seconds(tmp_path: Path, rate_hz: int) -> None:
    samples_S = np.concatenate([np.full(rate_hz, value) for value in (0.1, 0.5, 0.2)])
    soundfile.write(tmp_path / "a.wav", samples_S, rate_hz, subtype="FLOAT")
    path = tmp_path / "a.wav"
    middle_S = decode(utterance(path, 1.0, 2.0))
    assert len(middle_S) == 16_000
    np.testing.assert_allclose(middle_S[1_000:-1_000], 0.5, atol=1e-3)
    assert len(decode(utterance(path, start_s=2.5))) == 8_000
    assert len(decode(utterance(path, end_s=0.5))) == 8_000


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("n", [1, 999, 10_007])
def test_resampling_gives_the_number_of_samples_for_the_duration(rate_hz: int, n: int) -> None:
    resampled_S = resample(np.zeros(n, np.float32), rate_hz)
    assert len(resampled_S) == math.ceil(n * 16_000 / rate_hz)


@pytest.mark.parametrize("rate_hz", [22_050, 44_100, 48_000])
def test_resampling_keeps_frequencies_below_8_khz_without_aliasing(rate_hz: int) -> None:
    def inner(waveform_S: np.ndarray) -> np.ndarray:
        return waveform_S[500:-500]

    for hz in (100.0, 1_000.0, 7_000.0):
        kept_S = inner(resample(tone(rate_hz, rate_hz, hz).astype(np.float32), rate_hz))
        assert decibels(kept_S, kept_S - inner(tone(16_000, hz=hz))) > 60
    above_S = inner(resample(tone(rate_hz, rate_hz, 8_400.0).astype(np.float32), rate_hz))
    assert decibels(tone(16_000), above_S) > 60


@pytest.mark.parametrize("n", [176_402, 26_460_001])
def test_the_length_of_a_long_waveform_is_exact(n: int) -> None:
    """At lengths beyond the integers that float32 can represent."""
    assert len(resample(np.zeros(n, np.float32), 44_100)) == math.ceil(n * 160 / 441)


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 44_100, 48_000])
def test_rates_of_large_ratios_go_through_the_same_filter(rate_hz: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """y(t) = sum_i x_i k(t - i / rate), written out; torchaudio itself has an error of 1e-5 from its float32 times."""
    waveform_S = np.random.default_rng(0).normal(0, 0.1, 2_003).astype(np.float32)
    usual_S = resample(waveform_S, rate_hz)
    cutoff_hz = 0.975 * min(rate_hz, 16_000)
    lags = (np.arange(len(usual_S))[:, None] / 16_000 - np.arange(2_003) / rate_hz) * cutoff_hz
    window = np.i0(8.0 * np.sqrt(np.clip(1 - np.square(lags / 64), 0, None))) / np.i0(8.0) * (np.abs(lags) <= 64)
    expected_S = (np.sinc(lags) * window * cutoff_hz / rate_hz) @ waveform_S.astype(np.float64)
    monkeypatch.setattr(resampling, "_LARGEST_KERNEL", 0)
    np.testing.assert_allclose(resample(waveform_S, rate_hz), expected_S, rtol=0, atol=1e-6)
    np.testing.assert_allclose(usual_S, expected_S, rtol=0, atol=2e-5)


def test_a_rate_without_common_divisors_with_16_khz_takes_little_memory() -> None:
    """torchaudio would build a filter of 16000 x 44463 values."""
    kept_S = resample(tone(44_099, 44_099, 1_000.0).astype(np.float32), 44_099)
    assert len(kept_S) == 16_000
    assert decibels(kept_S[500:-500], (kept_S - tone(16_000, hz=1_000.0))[500:-500]) > 60


def broken(folder: Path, kind: str) -> Path:
    path = folder / "a.wav"
    soundfile.write(path, tone(16_000), 16_000, subtype="PCM_16")
    match kind:
        case "not there":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("This is not audio, whatever its name says.")
        case "no samples":
            soundfile.write(path, np.zeros(0), 16_000)
        case "NaN" | "infinity":
            samples_S = tone(16_000)
            samples_S[7] = np.nan if kind == "NaN" else np.inf
            soundfile.write(path, samples_S, 16_000, subtype="FLOAT")
        case "huge":
            soundfile.write(path, 1e30 * tone(16_000), 16_000, subtype="FLOAT")
        case "headerless":
            path = folder / "a.vox"
            path.write_text("This is not audio, whatever its name says." * 9)
        case "truncated WAV":
            path.write_bytes(path.read_bytes()[:-10_000])
        case "WAV cut in its header":
            path.write_bytes(path.read_bytes()[:30])
        case "truncated FLAC":
            path = folder / "a.flac"
            soundfile.write(path, tone(16_000), 16_000)
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("not there", "cannot be read"),
        ("empty", r"is empty \(0 bytes\)"),
        ("text", "does not decode"),
        ("no samples", "contains no samples"),
        ("NaN", "not finite"),
        ("infinity", "not finite"),
        ("huge", r"contains values as large as 5e\+29, expected about -1 to 1"),
        ("headerless", r"does not decode \(Format not recognised"),
        ("truncated WAV", "is truncated: the last 10000 bytes"),
        ("WAV cut in its header", "does not decode"),
        ("truncated FLAC", "does not end with a whole FLAC frame"),
    ],
)
def test_a_broken_file_is_an_error_with_a_reason(tmp_path: Path, kind: str, reason: str) -> None:
    with pytest.raises(AudioError, match=reason):
        decode(utterance(broken(tmp_path, kind)))


def test_a_system_error_is_not_a_fault_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """libsndfile reports 'System error.' for too many open files, a failing disk and undecodable files alike."""
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(1_000), 16_000)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with pytest.raises(UnreadableError, match=r"cannot be read \(.*Too many open files"):
            decode(utterance(path))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    monkeypatch.setattr(soundfile.SoundFile, "read", raising(MemoryError()))
    with pytest.raises(UnreadableError, match=r"cannot be read \(MemoryError\)"):
        decode(utterance(path))
    # The disk returns the first bytes, but not the rest.
    monkeypatch.setattr(soundfile.SoundFile, "read", raising(soundfile.LibsndfileError(2)))
    monkeypatch.setattr(sound, "_read_through", raising(OSError(errno.EIO, "Input/output error")))
    with pytest.raises(UnreadableError, match=r"cannot be read \(.*Input/output error"):
        decode(utterance(path))


def test_a_decoding_error_is_a_fault_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(AudioError) as error:
        decode(utterance(broken(tmp_path, "text")))
    assert not isinstance(error.value, UnreadableError)


def raising(error: Exception) -> Callable[..., None]:
    def refused(*_: object, **__: object) -> None:
        raise error

    return refused


@pytest.mark.parametrize(
    ("start_s", "end_s"), [(0.5, 3.0), (2.0, 3.0), (0.5, 0.2), (0.5, 0.5), (1e305, 1e306), (0.5, 1e308)]
)
def test_a_part_outside_the_file_is_an_error(tmp_path: Path, start_s: float, end_s: float) -> None:
    soundfile.write(tmp_path / "a.wav", tone(16_000), 16_000)
    with pytest.raises(AudioError):
        decode(utterance(tmp_path / "a.wav", start_s, end_s))


@pytest.mark.parametrize("kind", ["RF64", "RIFX", "AIFF"])
def test_other_truncated_chunk_formats_are_errors_too(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.wav"
    how = {"RIFX": {"format": "WAV", "endian": "BIG"}}.get(kind, {"format": kind})
    soundfile.write(path, tone(1_000), 16_000, subtype="PCM_16", **how)
    decode(utterance(path))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(AudioError, match="is truncated: the last 100 bytes"):
        decode(utterance(path))


def test_a_wav_written_to_a_pipe_and_one_with_more_chunks_are_complete(tmp_path: Path) -> None:
    """ffmpeg leaves the data length at its maximum if it cannot seek back."""
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(1_000), 16_000, subtype="PCM_16")
    head, data = path.read_bytes()[:36], path.read_bytes()[44:]
    note = struct.pack("<4sI", b"note", 3) + b"odd\0"
    (tmp_path / "pipe.wav").write_bytes(head + b"data\xff\xff\xff\xff" + data)
    data_chunk = struct.pack("<4sI", b"data", 2_000) + data
    (tmp_path / "note.wav").write_bytes(head + note + data_chunk + note)
    for name in ("pipe.wav", "note.wav"):
        np.testing.assert_array_equal(decode(utterance(tmp_path / name)), decode(utterance(path)))


def spoken(*parts: tuple[float, float], seed: int = 0) -> np.ndarray:
    """Noise of the given (seconds, level) pairs in sequence."""
    rng = np.random.default_rng(seed)
    pieces = [level * rng.standard_normal(round(16_000 * seconds)) for seconds, level in parts]
    return np.concatenate(pieces).astype(np.float32)


def test_silence_is_trimmed_at_both_ends_and_pauses_stay() -> None:
    waveform = spoken((0.8, 1e-4), (0.5, 0.1), (0.7, 1e-4), (0.4, 0.1), (1.0, 1e-4))
    cut = trim(waveform, 40.0)
    # 100 ms remain at each end, plus at most one frame that contains sound.
    assert len(cut) / 16_000 == pytest.approx(0.5 + 0.7 + 0.4 + 2 * 0.1, abs=2 * 0.025)
    start = next(i for i in range(len(waveform)) if np.array_equal(waveform[i : i + 16], cut[:16]))
    assert 0.8 - 0.125 <= start / 16_000 <= 0.8 - 0.1
    np.testing.assert_array_equal(cut, waveform[start : start + len(cut)])


def test_trimming_depends_only_on_the_level_in_decibels() -> None:
    waveform = spoken((0.5, 1e-3), (0.5, 0.1), (0.5, 1e-3))
    np.testing.assert_array_equal(trim(0.25 * waveform, 30.0), 0.25 * trim(waveform, 30.0))
    assert len(trim(waveform, 30.0)) < 0.8 * 16_000, "what is 40 dB below counts as silence at 30 dB"
    np.testing.assert_array_equal(trim(waveform, 50.0), waveform)


@pytest.mark.parametrize("n", [1, 399, 400, 16_000])
def test_silence_is_not_trimmed(n: int) -> None:
    silence = np.zeros(n, np.float32)
    np.testing.assert_array_equal(trim(silence, 40.0), silence)
