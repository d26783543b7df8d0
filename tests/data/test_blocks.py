"""A recording read block by block is the same recording, and its faults are found where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from raysys.data import blocks
from raysys.data.audio import decode
from raysys.data.blocks import decode_blocks, duration_s
from raysys.data.manifest import Utterance
from raysys.errors import AudioError, UnreadableError

torch.set_num_threads(1)


def utterance(path: Path, **part: float) -> Utterance:
    return Utterance(utterance_id="a", audio_path=str(path), speaker="", emotion="", **part)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_S", 0.25)


@pytest.mark.parametrize("rate_hz", [16_000, 8_000, 48_000, 44_100, 22_254])
@pytest.mark.parametrize("part", [{}, {"start_s": 0.3, "end_s": 1.7}])
def test_blocks_are_the_waveform(tmp_path: Path, rate_hz: int, part: dict[str, float]) -> None:
    samples_SK = 0.3 * np.random.default_rng(rate_hz).standard_normal((int(2.345 * rate_hz) + 1, 2)).clip(-3, 3)
    soundfile.write(tmp_path / "a.flac", samples_SK, rate_hz)
    whole_S = decode(utterance(tmp_path / "a.flac", **part))
    found = list(decode_blocks(utterance(tmp_path / "a.flac", **part)))
    # At 22254 Hz no block shorter than half a second is a whole number of samples at both rates.
    longest_s = 1.0 if rate_hz == 22_254 else 0.5
    assert len(found) >= 2 and max(map(len, found)) <= longest_s * 16_000
    np.testing.assert_allclose(np.concatenate(found), whole_S, rtol=0, atol=2e-6)
    seconds = duration_s(utterance(tmp_path / "a.flac", **part))
    assert seconds == pytest.approx(len(whole_S) / 16_000, abs=1e-4)


def test_what_precedes_a_fault_is_read(tmp_path: Path) -> None:
    samples_S = np.zeros(600_000, np.float32)
    samples_S[500_000] = np.nan
    soundfile.write(tmp_path / "a.wav", samples_S, 16_000, subtype="FLOAT")
    found: list[np.ndarray] = []
    with pytest.raises(AudioError, match="not finite"):
        found.extend(decode_blocks(utterance(tmp_path / "a.wav")))
    assert 200_000 < sum(map(len, found)) <= 500_000


def test_a_part_beyond_the_end_and_a_missing_file_are_errors(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(16_000), 16_000)
    with pytest.raises(AudioError, match="is truncated: found 8000 of 16000 samples"):
        list(decode_blocks(utterance(tmp_path / "a.wav", start_s=0.5, end_s=1.5)))
    with pytest.raises(AudioError, match="contains no samples"):
        list(decode_blocks(utterance(tmp_path / "a.wav", start_s=1.0)))
    with pytest.raises(UnreadableError, match="cannot be read"):
        list(decode_blocks(utterance(tmp_path / "b.wav")))
    with pytest.raises(UnreadableError, match="cannot be read"):
        duration_s(utterance(tmp_path / "b.wav"))
