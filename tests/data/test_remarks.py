"""What is odd but usable reaches the user: silence, cancelled channels, unscaled floats, telephone rates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from raysys.data import audio, resample, sound
from raysys.data.audio import decode, decode_utterance
from raysys.data.manifest import Utterance
from raysys.data.remarks import remark_notes, remarks_on
from raysys.errors import AudioError

TONE = 0.3 * np.sin(np.arange(16_000) / 5)


def remarks(path: Path, samples: np.ndarray, rate_hz: int = 16_000, subtype: str = "PCM_16") -> str:
    soundfile.write(path, samples, rate_hz, subtype=subtype)
    return remarks_on(decode_utterance(utterance(path)))


def utterance(path: Path) -> Utterance:
    return Utterance(utterance_id="a", audio_path=str(path), speaker="S1", emotion="joy")


def test_remarks_are_of_what_is_odd(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    assert remarks(path, TONE) == ""
    assert remarks(path, np.zeros(16_000)) == "silent"
    assert remarks(path, np.stack([TONE, -TONE], 1)) == "cancels"
    assert remarks(path, np.stack([TONE, np.zeros(16_000)], 1)) == ""
    assert remarks(path, 1e4 * TONE, subtype="FLOAT") == "peak=3000"
    assert remarks(path, TONE, rate_hz=8_000) == "rate=8000"
    assert remarks(path, 0 * TONE, rate_hz=11_025) == "silent rate=11025"


def test_a_file_that_states_no_length_is_remarked_on(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, TONE, 16_000)
    data = bytearray(path.read_bytes())
    data[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    assert remarks_on(decode_utterance(utterance(path))) == "unverified"


def test_notes_count_utterances_and_name_the_first_five() -> None:
    found = {f"u{i}": "silent" for i in range(7)} | {"v": "cancels rate=8000", "w": "rate=11025 peak=2948.93"}
    assert remark_notes(found | {"x": "rate=8000 peak=7", "y": "unverified"}) == [
        "silent, every sample is zero: 7 utterances (u0, u1, u2, u3, u4 and 2 more)",
        "silent once their channels, in opposite phase, are averaged: 1 utterance (v)",
        "samples far outside [-1, 1], up to 2948.93: 2 utterances (w, x); the file may not be scaled",
        "recorded below 16000 Hz (11025 Hz: 1, 8000 Hz: 2), without the highest frequencies: 3 utterances (v, w, x)",
        "from files that state no length, as if written to a pipe, so that a missing end would go unnoticed: "
        "1 utterance (y)",
    ]
    assert remark_notes({}) == []


def test_channels_are_mixed_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute of eight channels at 384 kHz would take 1.4 GB at once."""
    rng = np.random.default_rng(0)
    samples_SK = rng.uniform(-0.9, 0.9, (40_000, 8))
    soundfile.write(tmp_path / "a.flac", samples_SK, 48_000)
    whole_S = decode(utterance(tmp_path / "a.flac"))
    read: list[int] = []
    plain = soundfile.SoundFile.read

    def counted(self: soundfile.SoundFile, *args: object, **kwargs: object) -> np.ndarray:
        block = plain(self, *args, **kwargs)
        read.append(block.size)
        return block

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    monkeypatch.setattr(sound, "_BLOCK", 1 << 12)
    np.testing.assert_array_equal(decode(utterance(tmp_path / "a.flac")), whole_S)
    assert max(read) == 1 << 12 and sum(read) == samples_SK.size


@pytest.mark.parametrize("rate_hz", [8_000, 22_254, 44_100, 96_000])
def test_a_long_waveform_is_resampled_in_stretches(rate_hz: int, monkeypatch: pytest.MonkeyPatch) -> None:
    waveform_S = np.random.default_rng(0).normal(0, 0.1, 100_003).astype(np.float32)
    whole_S = resample.resample(waveform_S, rate_hz)
    monkeypatch.setattr(resample, "_LONGEST", 30_000)
    np.testing.assert_allclose(resample.resample(waveform_S, rate_hz), whole_S, rtol=0, atol=1e-6)


def test_a_rate_whose_resampling_costs_too_much_is_refused(tmp_path: Path) -> None:
    """Its filter would have fifty million values: 9 CPU seconds and gigabytes for a second of sound."""
    soundfile.write(tmp_path / "a.wav", TONE, 383_999)
    with pytest.raises(AudioError, match=r"sample rate of 383999 Hz.*ffmpeg -i FILE -ar 48000"):
        decode(utterance(tmp_path / "a.wav"))
    for rate_hz in (8_000, 11_025, 22_254, 44_099, 48_000, 96_001, 176_400, 192_000, 384_000):
        assert resample.too_odd(rate_hz) is None
    assert audio.fault(TONE) is None
