"""Resample to 16 kHz by one filter for all rates: a windowed sinc."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator

import numpy as np

from raysys.config import SAMPLE_RATE_HZ


def resample(waveform_S: np.ndarray, rate_hz: int) -> np.ndarray:
    """Resample a waveform to 16 kHz with a windowed sinc filter; n samples become ceil(n x 16000 / rate).

    Waveforms of over half an hour at 16 kHz are resampled in stretches, which differs by rounding only.
    """
    if rate_hz == SAMPLE_RATE_HZ:
        return waveform_S
    up, down = _ratio(rate_hz)
    length = -(-len(waveform_S) * up // down)
    if len(waveform_S) <= _LONGEST:
        return _resample(waveform_S, rate_hz, length)
    # Stretches begin at multiples of `down` samples, which are whole output samples, and overlap by the filter's reach.
    step, margin = _LONGEST // down * down, -(-_reach(up, down) // down) * down
    resampled_S = np.empty(length, np.float32)
    for begin in range(0, len(waveform_S), step):
        first, last = max(0, begin - margin), min(len(waveform_S), begin + step + margin)
        stretch_S = _resample(waveform_S[first:last], rate_hz, -(-(last - first) * up // down))
        at, skip = begin // down * up, (begin - first) // down * up
        here = min(step // down * up, length - at)
        resampled_S[at : at + here] = stretch_S[skip : skip + here]
    return resampled_S


def resample_blocks(blocks_S: Iterable[np.ndarray], rate_hz: int, block_s: float) -> Iterator[np.ndarray]:
    """Resample a waveform that arrives in blocks of any length: joined, what is yielded differs by rounding only from
    what `resample` makes of the blocks joined.

    Args:
        block_s: length of the blocks that are yielded, in seconds, up to rounding; the last one is what is left.
    """
    up, down = _ratio(rate_hz)
    step, margin = max(1, round(block_s * rate_hz / down)) * down, -(-_reach(up, down) // down) * down
    held_S, before = np.zeros(0, np.float32), 0
    for block_S in blocks_S:
        held_S = np.concatenate([held_S, block_S])
        while len(held_S) >= before + step + margin:
            yield _within(held_S[: before + step + margin], rate_hz, before, step)
            keep = max(0, before + step - margin)
            before, held_S = before + step - keep, held_S[keep:]
    if len(held_S) > before:
        yield _within(held_S, rate_hz, before, len(held_S) - before)


def _within(stretch_S: np.ndarray, rate_hz: int, begin: int, length: int) -> np.ndarray:
    """Resampled samples `begin` to `begin + length` of a stretch; `begin` is a whole one at both rates."""
    if rate_hz == SAMPLE_RATE_HZ:
        return stretch_S[begin : begin + length]
    up, down = _ratio(rate_hz)
    resampled_S = _resample(stretch_S, rate_hz, -(-len(stretch_S) * up // down))
    return resampled_S[begin // down * up : -(-(begin + length) * up // down)]


def too_odd(rate_hz: int) -> str | None:
    """Why a sample rate cannot be resampled at a reasonable cost, or None if it can.

    The filter has a value for each of 128 x the larger of the two coprime numbers of which the rates are multiples.
    """
    if max(_ratio(rate_hz)) <= _LARGEST_NUMBER:
        return None
    return (
        f"has a sample rate of {rate_hz} Hz, which takes seconds and gigabytes to resample exactly, since it shares no "
        f"large divisor with {SAMPLE_RATE_HZ} Hz. Resample it first: ffmpeg -i FILE -ar 48000 out.wav"
    )


def _ratio(rate_hz: int) -> tuple[int, int]:
    shared = math.gcd(rate_hz, SAMPLE_RATE_HZ)
    return SAMPLE_RATE_HZ // shared, rate_hz // shared


def _reach(up: int, down: int) -> int:
    """Number of samples on either side that a resampled one depends on."""
    return math.ceil(_ZEROS * down / (_ROLLOFF * min(up, down)))


def _resample(waveform_S: np.ndarray, rate_hz: int, length: int) -> np.ndarray:
    up, down = _ratio(rate_hz)
    if up * (2 * _reach(up, down) + down) > _LARGEST_KERNEL:
        return _resample_by_odd_ratio(waveform_S, up, down, length)
    # Imported here: it takes seconds, and code that only names or reads decoded audio does not need it.
    import torch
    import torchaudio.functional

    # torchaudio computes the length in float32: pad with some silence, so that there is enough to cut from.
    padded_S = torch.nn.functional.pad(torch.from_numpy(waveform_S), (0, 16 * down))
    resampled = torchaudio.functional.resample(
        padded_S,
        rate_hz,
        SAMPLE_RATE_HZ,
        lowpass_filter_width=_ZEROS,
        rolloff=_ROLLOFF,
        resampling_method="sinc_interp_kaiser",
        beta=_BETA,
    )
    return resampled[:length].numpy()


def _resample_by_odd_ratio(waveform_S: np.ndarray, up: int, down: int, length: int) -> np.ndarray:
    """The same filter for rates such as 22254 Hz or 44099 Hz, which share next to no divisor with 16 kHz.

    torchaudio stores the filter once for each of `up` phases over `down` samples, zeros included: gigabytes for these.
    Here it is stored once, with up x down steps per period.
    """
    # Imports half of SciPy: two seconds per process, for something only decoding may need.
    from scipy.signal import upfirdn

    filter_K, first = _filter(up, down)
    return upfirdn(filter_K, waveform_S, up, down)[first : first + length]


@functools.lru_cache(maxsize=2)
def _filter(up: int, down: int) -> tuple[np.ndarray, int]:
    """The filter at `up` times the input's rate, and the output sample on which it is centred: the first one kept."""
    from scipy.special import i0

    cutoff = _ROLLOFF * min(up, down) / (up * down)
    one_side = np.arange(int(_ZEROS / cutoff) + 1) * cutoff
    window = i0(_BETA * np.sqrt(1 - np.square(one_side / _ZEROS))) / i0(_BETA)
    half = (np.sinc(one_side) * window * (cutoff * up)).astype(np.float32)
    first = -(-len(half) // down)
    filter_K = np.zeros(first * down + len(half), np.float32)
    filter_K[first * down :] = half
    filter_K[first * down - len(half) + 1 : first * down + 1] = half[::-1]
    return filter_K, first


# A wide Kaiser window: flat within 0.2 dB up to 7.6 kHz, 80 dB down from 8.2 kHz on, so that nothing audible aliases.
_ZEROS, _ROLLOFF, _BETA = 64, 0.975, 8.0
_LARGEST_KERNEL = 1 << 24
"""Values in torchaudio's filter, which takes 128 MB while it is built: all common rates need fewer."""
_LARGEST_NUMBER = 100_000
"""A filter of 13 million values, built in 2 s and kept while a process decodes."""
_LONGEST = 1 << 25
"""Samples resampled at once: 128 MB, and as much again for what comes out at the lowest rates."""
