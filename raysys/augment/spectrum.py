"""The short-time spectrum used by augmentations, and its inverse."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW = 512
"""Window length in samples: 32 ms at 16 kHz."""
HOP = 256
"""Samples between windows: half a window, at which squared windows add up to 1."""


def to_spectrum(waveform_S: Tensor) -> Tensor:
    """Short-time Fourier transform, complex64, 257 frequencies x J frames, J = ceil(S / 256) + 1.

    The window is the square root of a periodic Hann window, here and in the inverse, so that their
    product is the Hann window, which adds up to 1 at a hop of half a window. The waveform is zero-padded
    on both sides so that every sample is in two windows; any length of at least 1 sample works.
    """
    padded_S = F.pad(waveform_S, (0, -len(waveform_S) % HOP))
    return torch.stft(padded_S, WINDOW, HOP, window=_window(waveform_S), pad_mode="constant", return_complex=True)


def to_waveform(spectrum_FJ: Tensor, n_samples: int) -> Tensor:
    """Inverse of `to_spectrum`: overlap-add of the windowed frames, truncated to n_samples."""
    window = _window(spectrum_FJ.real)
    return torch.istft(spectrum_FJ, WINDOW, HOP, window=window, length=n_samples)


def _window(like: Tensor) -> Tensor:
    return torch.hann_window(WINDOW, dtype=like.dtype, device=like.device).sqrt()
