"""Segments of a recording: windows and stretches of speech worked out by hand, and speech found in real recordings."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from raysys.errors import ConfigError
from raysys.inference import read_waveform
from raysys.inference.segments import (
    Segment,
    cut,
    find_segments,
    fixed_windows,
    speech_probabilities,
    speech_stretches,
)

torch.set_num_threads(1)
STEP_S = 0.032


def stretches(*runs: tuple[int, float], longest_s: float = 100.0) -> list[Segment]:
    """Of probabilities given as (number of steps, probability)."""
    speech_T = np.concatenate([np.full(n, p, np.float32) for n, p in runs])
    return speech_stretches(speech_T, len(speech_T) * STEP_S, longest_s)


@pytest.mark.parametrize(
    ("duration_s", "ends"),
    [
        (0.2, [0.2]),
        (5.0, [5.0]),
        (5.4, [5.4]),  # a rest of 0.4 s is part of the window before it
        (5.6, [5.0, 5.6]),
        (12.0, [5.0, 10.0, 12.0]),
    ],
)
def test_windows_by_hand(duration_s: float, ends: list[float]) -> None:
    assert fixed_windows(duration_s, 5.0) == [Segment(*times) for times in zip([0.0, *ends], ends, strict=False)]


def test_stretches_by_hand() -> None:
    # Speech from step 10 to 40; a dip that is no pause; a pause of 20 steps with a click; speech to the end.
    found = stretches((10, 0.1), (10, 0.9), (5, 0.2), (15, 0.4), (11, 0.0), (2, 0.9), (10, 0.0), (20, 0.9))
    expected = [(10 * STEP_S - 0.1, 40 * STEP_S + 0.1), (63 * STEP_S - 0.1, 83 * STEP_S)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_a_short_pause_is_shared_and_no_stretch_leaves_the_recording() -> None:
    speech_T = np.concatenate([np.full(20, 0.9), np.full(10, 0.0), np.full(20, 0.9)])
    # The last step is padded: the recording ends within it.
    found = speech_stretches(speech_T, 50 * STEP_S - 0.02, 100.0)
    expected = [(0.0, 20 * STEP_S + 0.1), (30 * STEP_S - 0.1, 50 * STEP_S - 0.02)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    assert stretches((30, 0.1)) == [] and stretches((10, 0.0), (7, 0.9), (10, 0.0)) == []


def test_a_long_stretch_is_cut_into_equal_parts() -> None:
    found = stretches((125, 0.9), longest_s=1.5)
    np.testing.assert_allclose(found, [(4 * k / 3, 4 * (k + 1) / 3) for k in range(3)], rtol=0, atol=1e-9)
    assert len(stretches((125, 0.9), longest_s=4.0)) == 1


@pytest.mark.parametrize("block", [1, 700, 16_000, 10**6])
def test_waveforms_do_not_depend_on_the_blocks_read(block: int) -> None:
    wave_S = np.random.default_rng(0).standard_normal(40_000).astype(np.float32)
    segments = [Segment(0.0, 0.1), Segment(0.1, 0.7), Segment(1.5, 1.6), Segment(1.9, 2.5)]

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, len(wave_S), block):
            yield wave_S[start : start + block]

    found = list(cut(blocks(), segments))
    for (start_s, end_s), found_S in zip(segments, found, strict=True):
        assert np.array_equal(found_S, wave_S[round(start_s * 16_000) : round(end_s * 16_000)])
    if block > 1:
        assert np.array_equal(speech_probabilities(blocks()), speech_probabilities([wave_S]))


def test_speech_is_found_in_real_recordings(shared_data: Path) -> None:
    speech_S = read_waveform(str(sorted((shared_data / "ravdess").glob("Actor_01/*.flac"))[0]))
    silence_S = np.zeros(48_000, np.float32)
    recording_S = np.concatenate([silence_S, speech_S, silence_S, speech_S])
    alone = find_segments(lambda: [speech_S], len(speech_S) / 16_000, "speech", 15.0)
    found = find_segments(lambda: [recording_S], len(recording_S) / 16_000, "speech", 15.0)
    assert len(alone) >= 1 and len(found) == 2 * len(alone)
    second_s = 6.0 + len(speech_S) / 16_000
    for k, (start_s, end_s) in enumerate(alone):
        np.testing.assert_allclose(found[k], (start_s + 3.0, end_s + 3.0), atol=0.15)
        np.testing.assert_allclose(found[len(alone) + k], (start_s + second_s, end_s + second_s), atol=0.15)
    assert find_segments(lambda: [silence_S], 3.0, "speech", 15.0) == []


def test_finding_speech_leaves_the_number_of_threads_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "silero_vad"]:
        monkeypatch.delitem(sys.modules, name)
    torch.set_num_threads(2)
    try:
        monkeypatch.setattr("raysys.inference.segments._own", type("Own", (), {})())
        speech_probabilities([np.zeros(512, np.float32)])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("raysys.inference.segments._own", type("Own", (), {})())
    with pytest.raises(ConfigError, match=r"pip install 'raysys\[vad\]'"):
        find_segments(lambda: [np.zeros(512, np.float32)], 0.032, "speech", 5.0)
