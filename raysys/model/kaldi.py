"""Log-mel spectrograms as Kaldi makes them, from each utterance's own samples.

Letters: B utterances, S samples, T mel frames (10 ms), N samples of a frame, F mel bands.
"""

from __future__ import annotations

import warnings
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from raysys.config import SAMPLE_RATE_HZ

FRAME, HOP = 400, 160
"""Samples of a frame and between frames: 25 ms and 10 ms."""
_BINS = 257
_PREEMPHASIS = 0.97
_FLOOR = 2.0**-23


class KaldiMel(nn.Module):
    """Waveforms to log-mel frames, as Kaldi's `compute-fbank-feats` without dither, and transformers after it.

    Of each frame the mean is removed and high frequencies are raised. Frames lie within the utterance: none looks
    beyond it, so that a padded one has the frames that it has alone. In float32, on the waveforms' device.

    Args:
        n_bands: F.
        window: hann; povey: Kaldi's own, hann to the power of 0.85.
        scale: of the samples; Kaldi's are 16-bit integers.
    """

    filters_KF: Tensor
    window_N: Tensor

    def __init__(self, *, n_bands: int, window: Literal["hann", "povey"], scale: float) -> None:
        from transformers.audio_utils import mel_filter_bank

        super().__init__()
        with warnings.catch_warnings():
            # Some of AST's bands are narrower than the spectrum's bins: always at the floor, as in its training.
            warnings.filterwarnings("ignore", "At least one mel filter")
            filters = mel_filter_bank(
                num_frequency_bins=_BINS,
                num_mel_filters=n_bands,
                min_frequency=20,
                max_frequency=SAMPLE_RATE_HZ // 2,
                sampling_rate=SAMPLE_RATE_HZ,
                norm=None,
                mel_scale="kaldi",
                triangularize_in_mel_space=True,
            )
        hann_N = torch.hann_window(FRAME, periodic=False)
        self.register_buffer(
            "filters_KF", torch.as_tensor(filters, dtype=torch.float32, device="cpu"), persistent=False
        )
        self.register_buffer("window_N", hann_N if window == "hann" else hann_N**0.85, persistent=False)
        self.scale = scale

    @torch.no_grad()
    def forward(self, waveforms_BS: Tensor, lengths_B: Tensor, *, at_least: int = 1) -> tuple[Tensor, Tensor]:
        """Log-mel frames (BTF) and their number (B); frames that are padding are 0.

        Args:
            at_least: a shorter utterance is followed by zeros for as many frames.
        """
        shortest = FRAME + (at_least - 1) * HOP
        waveforms_BS = functional.pad(waveforms_BS, (0, max(shortest - waveforms_BS.shape[1], 0)))
        inside_BS = torch.arange(waveforms_BS.shape[1], device=lengths_B.device) < lengths_B[:, None]
        frames_B = n_frames(lengths_B, at_least=at_least)
        with torch.autocast(waveforms_BS.device.type, enabled=False):
            frames_BTN = (waveforms_BS.float() * inside_BS * self.scale).unfold(1, FRAME, HOP)
            frames_BTN = frames_BTN - frames_BTN.mean(dim=-1, keepdim=True)
            before_BTN = torch.cat([frames_BTN[..., :1], frames_BTN[..., :-1]], dim=-1)
            spectrum = torch.fft.rfft((frames_BTN - _PREEMPHASIS * before_BTN) * self.window_N, n=2 * (_BINS - 1))
            power_BTF = (spectrum.real.square() + spectrum.imag.square()) @ self.filters_KF
        valid_BT = torch.arange(power_BTF.shape[1], device=frames_B.device) < frames_B[:, None]
        return power_BTF.clamp_min(_FLOOR).log() * valid_BT[..., None], frames_B


def n_frames(lengths_B: Tensor, *, at_least: int = 1) -> Tensor:
    """Frames within utterances of so many samples, see `KaldiMel.forward`."""
    return (lengths_B.clamp_min(FRAME + (at_least - 1) * HOP) - FRAME) // HOP + 1
