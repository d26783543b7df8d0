"""Decode audio files to waveforms: mono, float32, 16 kHz."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from raysys.data.manifest import Utterance
from raysys.data.resample import resample
from raysys.data.sound import Sound, opened
from raysys.errors import AudioError, UnreadableError

LARGEST_VALUE = 2.0**31
"""Float files may contain unscaled integers, up to 32-bit; the power of anything larger would overflow float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """An utterance's waveform, and what is odd about its recording though it can be used.

    Attributes:
        waveform_S: float32, mono, 16 kHz.
        silent: all samples are zero.
        cancels: there is sound, but its channels add up to nothing.
        peak: the largest sample by magnitude, of any channel.
        rate_hz: the file's sample rate.
        verified: the file states its length, and has it.
    """

    waveform_S: np.ndarray
    silent: bool
    cancels: bool
    peak: float
    rate_hz: int
    verified: bool


def decode(utterance: Utterance) -> np.ndarray:
    """Read an utterance's part of its file, average the channels, resample to 16 kHz.

    Returns: float32 waveform of ceil(duration_s x 16000) samples, nominally in [-1, 1].

    Raises:
        UnreadableError: the file cannot be opened or read, or does not fit in memory.
        AudioError: the file does not decode, is truncated or empty, or has samples that are not finite or far from
            [-1, 1].
    """
    return decode_utterance(utterance).waveform_S


def decode_utterance(utterance: Utterance) -> Decoded:
    """`decode`, and what was seen on the way."""
    try:
        with opened(utterance.audio_path) as sound:
            mono_S, peak = _mixed(utterance, sound)
        loudest = float(max(mono_S.max(), -mono_S.min()))
        return Decoded(
            waveform_S=resample(mono_S, sound.rate_hz),
            silent=peak == 0.0,
            cancels=peak > 0.0 and loudest < _CANCELLED * peak,
            peak=peak,
            rate_hz=sound.rate_hz,
            verified=sound.verified,
        )
    except (OSError, MemoryError) as error:
        raise UnreadableError(f"cannot be read ({str(error) or type(error).__name__})") from error


def _mixed(utterance: Utterance, sound: Sound) -> tuple[np.ndarray, float]:
    """An utterance's samples, averaged over channels, and the largest of them before that.

    Channels are averaged block by block: eight of them at a high rate would take gigabytes.
    """
    start, end = part_of(utterance, sound.frames, sound.rate_hz)
    mono_S = np.empty(max(end - start, 0), np.float32)
    filled, peak = 0, 0.0
    for block_SK in sound.blocks(start, min(end, sound.frames)):
        if found := fault(block_SK):
            raise AudioError(found)
        peak = max(peak, float(block_SK.max()), -float(block_SK.min()))
        mono_S[filled : filled + len(block_SK)] = block_SK.mean(axis=1, dtype=np.float32)
        filled += len(block_SK)
    if filled < end - start:
        raise AudioError(f"is truncated: found {filled} of {end - start} samples")
    if not filled:
        raise AudioError("contains no samples")
    return mono_S, peak


def part_of(utterance: Utterance, frames: int, rate_hz: int) -> tuple[int, int]:
    """First sample of an utterance in its file of `frames` samples, and the one after its last.

    Times after the end of the file stay after it, but by a second at most: 1e305 seconds has no sample number.
    """
    beyond_s = frames / rate_hz + 1
    start = round(min(utterance.start_s or 0.0, beyond_s) * rate_hz)
    end = frames if utterance.end_s is None else round(min(utterance.end_s, beyond_s) * rate_hz)
    return start, end


def fault(samples: np.ndarray) -> str | None:
    """What is wrong with the samples of a file, or None."""
    # Minimum and maximum are NaN if any sample is.
    peak = max(abs(float(samples.min())), abs(float(samples.max())))
    if not math.isfinite(peak):
        return "contains values that are not finite (NaN or infinity)"
    if peak > LARGEST_VALUE:
        return f"contains values as large as {peak:.3g}, expected about -1 to 1"
    return None


def trim(waveform_S: np.ndarray, below_db: float) -> np.ndarray:
    """Trim silence from both ends of a 16 kHz waveform; pauses within it stay.

    A frame (25 ms, every 10 ms) is silent if its power is more than `below_db` below the loudest frame's. 100 ms on
    either side are kept. An all-zero waveform, or one shorter than a frame, is returned unchanged.
    """
    if len(waveform_S) < _FRAME:
        return waveform_S
    frames_TS = np.lib.stride_tricks.sliding_window_view(waveform_S, _FRAME)[::_HOP]
    power_T = np.einsum("ts,ts->t", frames_TS, frames_TS, dtype=np.float64)
    (heard,) = np.nonzero(power_T >= power_T.max() * 10 ** (-below_db / 10))
    return waveform_S[max(0, heard[0] * _HOP - _MARGIN) : heard[-1] * _HOP + _FRAME + _MARGIN]


def inaudible() -> np.ndarray:
    """The shortest waveform that an encoder accepts; a placeholder when a worker has no utterance in a step."""
    return np.zeros(_SHORTEST, dtype=np.float32)


_CANCELLED = 0.01
"""A mix 40 dB below its loudest channel: what is left is rounding and noise."""
_FRAME, _HOP, _MARGIN = 400, 160, 1600
_SHORTEST = 400
