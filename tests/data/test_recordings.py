"""Recordings in the user's folders: what is found, refused and drawn, and when they count as others."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from raysys.config import AugmentConfig
from raysys.data import recordings as module
from raysys.data.recordings import (
    Recordings,
    find_audio,
    look_for_recordings,
    noise_stretch,
    read_recordings,
    room_response,
)
from raysys.data.views import Source, augmented
from raysys.errors import ConfigError, StorageError

RAMP_S = np.arange(16_000) / 32_768
"""Each sample tells its place."""


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    """Two recordings, at two depths, in two formats, and what is no audio."""
    folder = tmp_path / "noise"
    (folder / "free").mkdir(parents=True)
    soundfile.write(folder / "long.wav", RAMP_S, 16_000, subtype="PCM_16")
    soundfile.write(folder / "free" / "Short.FLAC", np.full(800, 0.25), 8_000)
    (folder / "free" / "ANNOTATIONS").write_text("long.wav is long")
    (folder / "._long.wav").write_bytes(b"what macOS adds")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "a.wav").write_bytes(b"not audio")
    return folder


def read(folder: Path, tmp_path: Path, flag: str = "noise_folder") -> Recordings:
    (found,) = read_recordings(AugmentConfig(**{flag: str(folder)}), str(tmp_path / "cache")).values()  # type: ignore[arg-type]
    return found


def test_audio_is_found_at_every_depth_and_nothing_else(noise: Path) -> None:
    assert find_audio(str(noise), "--augment.noise-folder") == ["free/Short.FLAC", "long.wav"]


def test_each_folder_is_read_by_its_flag(noise: Path, tmp_path: Path) -> None:
    both = AugmentConfig(noise_folder=str(noise), room_folder=str(noise / "free"))
    found = read_recordings(both, str(tmp_path / "cache"))
    assert list(found) == ["--augment.noise-folder", "--augment.room-folder"]
    assert found["--augment.room-folder"].first() == f"{noise}/free/Short.FLAC"
    assert read_recordings(AugmentConfig(), str(tmp_path / "cache")) == {}


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("nowhere", "nowhere: no such folder. Give a folder with audio files that every node sees"),
        ("file.wav", "file.wav: is not a folder"),
        ("empty", "empty: there is no audio file among the 0 files"),
        ("texts", "texts: there is no audio file among the 1 file .* .wav"),
    ],
)
@pytest.mark.parametrize("flag", ["noise_folder", "room_folder"])
def test_a_folder_without_audio_is_refused_at_once(tmp_path: Path, place: str, said: str, flag: str) -> None:
    (tmp_path / "file.wav").write_bytes(b"RIFF")
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "README").write_text("no audio")
    with pytest.raises(ConfigError, match=f"--augment.{flag.replace('_', '-')} .*{said}"):
        look_for_recordings(AugmentConfig(**{flag: str(tmp_path / place)}))  # type: ignore[arg-type]


def test_an_address_is_refused_with_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"s3://bucket/noise: recordings must be on a file system.*Copy or mount"):
        look_for_recordings(AugmentConfig(noise_folder="s3://bucket/noise"))


def test_files_that_cannot_be_used_are_named_with_the_reason(noise: Path, tmp_path: Path) -> None:
    (noise / "text.wav").write_text("not audio")
    os.symlink(noise / "nowhere.wav", noise / "link.wav")
    soundfile.write(noise / "nan.wav", np.full(100, np.nan), 16_000, subtype="FLOAT")
    with pytest.raises(ConfigError, match=r"--augment.noise-folder .*: 3 of 5 audio files cannot be used") as error:
        read(noise, tmp_path)
    for name, reason in {"text.wav": "does not decode", "link.wav": "does not exist", "nan.wav": "not finite"}.items():
        assert any(f"{noise}/{name}: " in line and reason in line for line in str(error.value).splitlines())
    assert not (tmp_path / "cache").exists(), "nothing is kept of a folder that is refused"


def test_noise_in_place_of_impulse_responses_is_refused(tmp_path: Path) -> None:
    (tmp_path / "long").mkdir()
    soundfile.write(tmp_path / "long" / "a.wav", np.ones(31 * 1000), 1000)
    with pytest.raises(ConfigError, match=r"a\.wav lasts more than 30 s.*--augment.noise-folder"):
        read(tmp_path / "long", tmp_path, "room_folder")
    assert read(tmp_path / "long", tmp_path).first().endswith("a.wav")


def test_a_folder_is_opened_once(noise: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read(noise, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(module, "inspect_file", lambda path: pytest.fail("opened again"))
        assert read(noise, tmp_path) == first
    # A list that a crash cut short is made again.
    Path(first.listed).write_bytes(b'{"digest": "0')
    assert read(noise, tmp_path) == first


def test_the_digest_follows_names_and_contents_and_not_places_or_times(noise: Path, tmp_path: Path) -> None:
    first = read(noise, tmp_path).digest
    moved = noise.rename(tmp_path / "moved")
    os.utime(moved / "long.wav", (1, 1))
    assert read(moved, tmp_path).digest == first
    # As many bytes, and other samples.
    soundfile.write(moved / "long.wav", RAMP_S[::-1], 16_000, subtype="PCM_16")
    other = read(moved, tmp_path).digest
    (moved / "long.wav").rename(moved / "longer.wav")
    assert len({first, other, read(moved, tmp_path).digest}) == 3


def test_files_and_stretches_are_drawn_by_the_key_alone(noise: Path, tmp_path: Path) -> None:
    found = read(noise, tmp_path)
    assert found.draw("noise", 0, 1, "u") == found.draw("noise", 0, 1, "u")
    drawn = [found.draw("noise", 0, 1, f"u{i}") for i in range(200)]
    assert 60 < drawn.count((f"{noise}/long.wav", 1.0)) < 140
    assert set(drawn) == {(f"{noise}/long.wav", 1.0), (f"{noise}/free/Short.FLAC", 0.1)}
    (noise / "free" / "Short.FLAC").unlink()
    alone = read(noise, tmp_path)
    starts = [round(32_768 * float(noise_stretch(alone, (0, 1, f"u{i}"), 1_600)[0])) for i in range(200)]
    assert min(starts) < 800 and 13_600 < max(starts) <= 14_400, "from the beginning to a stretch before the end"
    assert starts[0] == round(32_768 * float(noise_stretch(alone, (0, 1, "u0"), 1_600)[0]))
    differing = {(0, 1, "u"), (1, 1, "u"), (0, 2, "u"), (0, 1, "v")}
    assert len({float(noise_stretch(alone, key, 1_600)[0]) for key in differing}) == 4


@pytest.mark.parametrize("n_samples", [0, 1, 1_599, 1_600, 16_000, 40_000])
def test_a_stretch_has_the_wanted_length_and_a_short_recording_is_repeated(
    noise: Path, tmp_path: Path, n_samples: int
) -> None:
    found = read(noise, tmp_path)
    for i in range(10):
        stretch_S = noise_stretch(found, (0, 0, f"u{i}"), n_samples)
        assert stretch_S.shape == (n_samples,) and stretch_S.dtype == np.float32
        if "Short" in found.draw("noise", 0, 0, f"u{i}")[0] and n_samples > 100:
            assert float(np.median(stretch_S)) == pytest.approx(0.25, abs=0.01)
        elif n_samples > 1:
            # The ramp, which begins again after a second.
            rises = np.diff(stretch_S) * 32_768
            assert (np.abs(rises - 1) < 0.01).sum() >= n_samples - 1 - n_samples // 16_000


def test_a_response_is_read_whole_at_16_khz(noise: Path, tmp_path: Path) -> None:
    assert room_response(read(noise / "free", tmp_path, "room_folder"), (0, 0, "u")).shape == (1_600,)


def test_a_file_that_is_gone_when_it_is_needed_is_named(noise: Path, tmp_path: Path) -> None:
    found = read(noise / "free", tmp_path)
    (noise / "free" / "Short.FLAC").unlink()
    with pytest.raises(StorageError, match=r"free/Short.FLAC: cannot be read .*although it could be read at the start"):
        noise_stretch(found, (0, 0, "u"), 100)


def test_views_contain_them_and_depend_on_seed_variant_and_id_alone(noise: Path, tmp_path: Path) -> None:
    off = AugmentConfig(lsa=False, speed=False, noise=False)
    source = Source(store="", augment=off, crop_s=1.0, seed=0)
    rooms = read(noise / "free", tmp_path, "room_folder")
    speech_S = np.random.default_rng(0).normal(0, 0.1, 4_000).astype(np.float32)

    def view(source: Source, variant: int = 0, name: str = "u") -> np.ndarray:
        return augmented(speech_S, source, variant, name)

    np.testing.assert_array_equal(view(source), speech_S)
    noisy = dataclasses.replace(source, noises=read(noise, tmp_path))
    for changed in (noisy, dataclasses.replace(source, rooms=rooms)):
        assert not np.allclose(view(changed), speech_S, atol=1e-3)
        np.testing.assert_array_equal(view(changed), view(changed))
    views = [view(noisy), view(dataclasses.replace(noisy, seed=1)), view(noisy, 1), view(noisy, name="v")]
    assert len({view_S.tobytes() for view_S in views}) == 4
