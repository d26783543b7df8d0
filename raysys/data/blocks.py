"""Decode a recording of any length block by block, in the memory of a block."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from raysys.data.audio import fault, part_of
from raysys.data.manifest import Utterance
from raysys.data.resample import resample_blocks
from raysys.data.sound import Sound, opened
from raysys.errors import AudioError, UnreadableError

BLOCK_S = 30.0


def duration_s(utterance: Utterance) -> float:
    """Length of an utterance's part of its file, by the file's header, which is checked.

    Raises:
        UnreadableError, AudioError: as of `decode_blocks`.
    """
    try:
        with opened(utterance.audio_path) as sound:
            start, end = part_of(utterance, sound.frames, sound.rate_hz)
            return max(0, end - start) / sound.rate_hz
    except (OSError, MemoryError) as error:
        raise UnreadableError(f"cannot be read ({str(error) or type(error).__name__})") from error


def decode_blocks(utterance: Utterance) -> Iterator[np.ndarray]:
    """The waveform that `decode` returns, up to rounding, in consecutive blocks of about 30 s.

    Raises:
        UnreadableError: the file cannot be opened or read.
        AudioError: the file does not decode, is truncated or empty, or has samples that are not finite or far from
            [-1, 1]; what precedes them has been yielded.
    """
    try:
        with opened(utterance.audio_path) as sound:
            yield from resample_blocks(_mixed_blocks(utterance, sound), sound.rate_hz, BLOCK_S)
    except (OSError, MemoryError) as error:
        raise UnreadableError(f"cannot be read ({str(error) or type(error).__name__})") from error


def _mixed_blocks(utterance: Utterance, sound: Sound) -> Iterator[np.ndarray]:
    """An utterance's samples, averaged over channels."""
    start, end = part_of(utterance, sound.frames, sound.rate_hz)
    found = 0
    for block_SK in sound.blocks(start, min(end, sound.frames)):
        if reason := fault(block_SK):
            raise AudioError(reason)
        found += len(block_SK)
        yield block_SK.mean(axis=1, dtype=np.float32)
    if found < end - start:
        raise AudioError(f"is truncated: found {found} of {end - start} samples")
    if not found:
        raise AudioError("contains no samples")
