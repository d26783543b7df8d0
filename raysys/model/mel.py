"""Power of waveforms in mel bands: what the log-mel spectrograms of `light` and of Whisper start from."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MelPower(nn.Module):
    """Windowed frames, their spectrum's power, and its sums in bands: waveforms BS to BTF.

    Every frame lies within the waveform: T = (S - N) // hop + 1.

    Args:
        window_N: of a frame of N samples, which are also the points of its Fourier transform.
        filters_KF: weights of K = N // 2 + 1 frequencies in F bands.
        hop: samples from one frame to the next.
    """

    window_N: Tensor
    filters_KF: Tensor

    def __init__(self, window_N: Tensor, filters_KF: Tensor, *, hop: int) -> None:
        super().__init__()
        self.register_buffer("window_N", window_N, persistent=False)
        self.register_buffer("filters_KF", filters_KF, persistent=False)
        self.hop = hop

    def forward(self, waveforms_BS: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(waveforms_BS.unfold(1, len(self.window_N), self.hop) * self.window_N)
        power_BTK = spectrum.real.square() + spectrum.imag.square()
        return power_BTK @ self.filters_KF
