"""Cut a recording into segments that are predicted one by one: fixed windows, or stretches of speech.

Stretches come from Silero VAD (https://github.com/snakers4/silero-vad), an extra, whose package contains its model.
Nothing here holds more of a recording than a segment and a block.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from raysys.config import SAMPLE_RATE_HZ
from raysys.errors import ConfigError

SHORTEST_S = 0.5
"""A shorter rest is part of the window before it."""
Blocks = Callable[[], Iterable[np.ndarray]]
"""Reads a recording from its beginning: float32, 16 kHz, mono, in consecutive blocks of any length."""


class Segment(NamedTuple):
    """A part of a recording, in seconds from its beginning."""

    start_s: float
    end_s: float


def find_segments(
    blocks: Blocks, duration_s: float, how: Literal["fixed", "speech"], segment_s: float
) -> list[Segment]:
    """Segments of a recording, in order and without overlap.

    Args:
        segment_s: length of the windows, or of the longest stretch of speech.

    Returns: for `speech`, an empty list if there is none.

    Raises:
        ConfigError: `speech`, and the extra for it is missing.
    """
    if how == "fixed":
        return fixed_windows(duration_s, segment_s)
    return speech_stretches(speech_probabilities(blocks()), duration_s, segment_s)


def fixed_windows(duration_s: float, window_s: float) -> list[Segment]:
    """Consecutive windows; the last one is shorter, or, by a rest of less than 0.5 s, longer."""
    n = max(1, math.ceil((duration_s - SHORTEST_S) / window_s))
    return [Segment(k * window_s, (k + 1) * window_s if k + 1 < n else duration_s) for k in range(n)]


def speech_stretches(speech_T: np.ndarray, duration_s: float, longest_s: float) -> list[Segment]:
    """Stretches of speech by its probability, one for every 512 samples.

    A stretch begins where the probability reaches 0.5, and ends where it has been below 0.35 for 0.3 s. Those shorter
    than 0.25 s are no speech. 0.1 s are added on either side, or half of the pause where it is shorter than that. Those
    longer than `longest_s` are cut into equal parts.
    """
    spoken = [s for s in _spoken(speech_T, duration_s) if s.end_s - s.start_s >= _LEAST_SPEECH_S]
    # Halves of the pauses, and all of what is before the first and after the last.
    pauses = [(later.start_s - earlier.end_s) / 2 for earlier, later in itertools.pairwise(spoken)]
    before = [spoken[0].start_s, *pauses] if spoken else []
    after = [*pauses, duration_s - spoken[-1].end_s] if spoken else []
    found: list[Segment] = []
    for (start_s, end_s), before_s, after_s in zip(spoken, before, after, strict=True):
        found += _equal_parts(start_s - min(_MARGIN_S, before_s), end_s + min(_MARGIN_S, after_s), longest_s)
    return found


def _equal_parts(start_s: float, end_s: float, longest_s: float) -> Iterator[Segment]:
    n = max(1, math.ceil((end_s - start_s) / longest_s - 1e-9))
    times_s = [start_s + (end_s - start_s) * k / n for k in range(n)]
    yield from itertools.starmap(Segment, itertools.pairwise([*times_s, end_s]))


def _spoken(speech_T: np.ndarray, duration_s: float) -> Iterator[Segment]:
    start: int | None = None
    last = 0
    for t, probability in enumerate(speech_T.tolist()):
        if start is None:
            if probability >= _SPEECH:
                start, last = t, t
        elif probability >= _NO_SPEECH:
            last = t
        elif (t - last) * _STEP_S >= _PAUSE_S:
            yield Segment(start * _STEP_S, (last + 1) * _STEP_S)
            start = None
    if start is not None:
        yield Segment(start * _STEP_S, min((last + 1) * _STEP_S, duration_s))


def speech_probabilities(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """Probability of speech in every 512 samples (32 ms) of a recording; the last ones are padded with silence.

    Returns: T probabilities, float32.

    Raises:
        ConfigError: the extra `vad` is missing.
    """
    import torch

    model = _detector()
    found: list[float] = []
    rest_S = _NOTHING
    with torch.inference_mode():
        for block_S in blocks:
            rest_S = np.concatenate([rest_S, block_S])
            whole = len(rest_S) // _STEP * _STEP
            for step_S in rest_S[:whole].reshape(-1, _STEP):
                found.append(model(torch.from_numpy(step_S), SAMPLE_RATE_HZ).item())
            rest_S = rest_S[whole:]
        if len(rest_S):
            step_S = np.pad(rest_S, (0, _STEP - len(rest_S)))
            found.append(model(torch.from_numpy(step_S), SAMPLE_RATE_HZ).item())
    return np.asarray(found, np.float32)


def refuse_missing_detector() -> None:
    """Raises: ConfigError: the package that finds speech is not installed."""
    from importlib.util import find_spec

    if find_spec("silero_vad") is None:
        raise ConfigError(
            "stretches of speech are found by Silero VAD, which is not installed: pip install 'raysys[vad]', on all "
            "nodes; or use windows of equal length (--segments fixed)."
        )


def _detector() -> Any:
    """This thread's, as it was before any recording."""
    if not hasattr(_own, "detector"):
        refuse_missing_detector()
        import torch

        threads = torch.get_num_threads()
        from silero_vad import load_silero_vad

        # Its import sets them to one, for the whole process.
        torch.set_num_threads(threads)
        _own.detector = load_silero_vad()
    _own.detector.reset_states()
    return _own.detector


def cut(blocks: Iterable[np.ndarray], segments: Sequence[Segment]) -> Iterator[np.ndarray]:
    """The waveform of each segment, float32 at 16 kHz; segments are in order and do not overlap."""
    held_S, first = _NOTHING, 0
    coming = iter(blocks)
    for segment in segments:
        start, end = round(segment.start_s * SAMPLE_RATE_HZ), round(segment.end_s * SAMPLE_RATE_HZ)
        parts = [held_S[max(0, start - first) :]]
        at = first + len(held_S)
        while at < end and (block_S := next(coming, None)) is not None:
            parts.append(block_S[max(0, start - at) :])
            at += len(block_S)
        parts = [part_S for part_S in parts if len(part_S)]
        # One part stays a view: a block may be a whole recording.
        held_S = parts[0] if len(parts) == 1 else np.concatenate([_NOTHING, *parts])
        first = at - len(held_S)
        yield held_S[: end - start]
        held_S, first = held_S[end - start :], min(end, at)


_NOTHING = np.zeros(0, np.float32)
_own = threading.local()
_STEP = 512
"""Samples that the detector reads at once."""
_STEP_S = _STEP / SAMPLE_RATE_HZ
_SPEECH, _NO_SPEECH = 0.5, 0.35
_PAUSE_S, _LEAST_SPEECH_S, _MARGIN_S = 0.3, 0.25, 0.1
