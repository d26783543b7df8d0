"""Reverberation: speech as it sounds in a room whose impulse response was recorded."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def reverberate(waveform_S: Tensor, response_R: Tensor) -> Tensor:
    """Convolve a waveform with a room's impulse response.

    With p the place of the response's largest magnitude, which is taken for the direct path:

        y_t = g sum_r response_r waveform_(t + p - r),   t = 0 ... S - 1

    so speech is not delayed, and the reverberation after the clip's end is cut off. The gain g > 0 gives y the power of
    the waveform: responses are recorded at any level.

    Args:
        waveform_S: S samples; S may be 0.
        response_R: R samples at the same rate, R at least 1. If it is silent, the waveform stays as it is.

    Returns: waveform of S samples; may exceed [-1, 1], the caller clips. Silence for silence.
    """
    # By numpy, in float64: the last bit of torch's transforms may depend on the number of threads.
    x_S, h_R = (t.numpy().astype(np.float64) for t in (waveform_S, response_R))
    if not x_S.any() or not h_R.any():
        return waveform_S.clone()
    n = 1 << (len(x_S) + len(h_R) - 2).bit_length()
    direct = int(np.abs(h_R).argmax())
    wet_S = np.fft.irfft(np.fft.rfft(x_S, n) * np.fft.rfft(h_R, n), n)[direct : direct + len(x_S)]
    power = float(np.square(wet_S).sum())
    if not power:
        return waveform_S.clone()
    gain = np.sqrt(float(np.square(x_S).sum()) / power)
    return torch.from_numpy((gain * wet_S).astype(np.float32))
