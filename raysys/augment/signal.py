"""Waveform augmentations: noise, speed, gain, and masked parts of the spectrum."""

from __future__ import annotations

import math

import numpy as np
import torch
import torchaudio.functional
from torch import Tensor

from raysys.augment.spectrum import to_spectrum, to_waveform

_SPEED_STEPS = 20
"""Speeds are multiples of 1/20: resampling by a ratio of small integers is cheap."""


def mix_at_snr(speech_S: Tensor, noise_S: Tensor, *, snr_db: float) -> Tensor:
    """Add noise to speech at a given signal-to-noise ratio.

    Solves SNR_dB = 10 log10(P_speech / (g^2 P_noise)) for the gain g, P the mean power of the clip;
    returns speech + g noise. Silence stays silent (g = 0).

    Args:
        speech_S: waveform, float32 in [-1, 1], S samples.
        noise_S: waveform at the same rate, S samples.
        snr_db: ratio in decibels; 0 is equal power.

    Returns: waveform of S samples; may exceed [-1, 1], the caller clips.

    Raises: ValueError: the lengths differ, or the noise is silent.
    """
    if speech_S.shape != noise_S.shape:
        raise ValueError(
            f"speech has shape {tuple(speech_S.shape)}, noise {tuple(noise_S.shape)}; "
            "expected the same number of samples."
        )
    speech_power, noise_power = _mean_power(speech_S), _mean_power(noise_S)
    if not noise_power > 0:
        raise ValueError("the noise is silent: no gain gives it a signal-to-noise ratio.")
    return speech_S + noise_S * (math.sqrt(speech_power / noise_power) * 10 ** (-snr_db / 20))


def add_white_noise(waveform_S: Tensor, generator: torch.Generator, *, snr_db_range: tuple[float, float]) -> Tensor:
    """Add Gaussian white noise at an SNR drawn uniformly from a range in decibels.

    The SNR is relative to the mean power of the whole clip, including pauses. Silence stays silent.

    Returns: waveform of the same length; may exceed [-1, 1], the caller clips.
    """
    snr_db = _between(generator, *snr_db_range)
    if len(waveform_S) == 0:
        return waveform_S.clone()
    noise_S = torch.randn(len(waveform_S), generator=generator, dtype=waveform_S.dtype)
    return mix_at_snr(waveform_S, noise_S, snr_db=snr_db)


def add_noise(
    waveform_S: Tensor, noise_S: Tensor, generator: torch.Generator, *, snr_db_range: tuple[float, float]
) -> Tensor:
    """Add recorded noise at an SNR drawn uniformly from a range in decibels.

    The SNR is relative to the mean power of the whole clip, including pauses. Silence stays silent, and noise that is
    silent, such as a pause in a recording, changes nothing.

    Args:
        waveform_S, noise_S: S samples each.
        generator: one draw.

    Returns: waveform of the same length; may exceed [-1, 1], the caller clips.
    """
    snr_db = _between(generator, *snr_db_range)
    if not noise_S.any():
        return waveform_S.clone()
    return mix_at_snr(waveform_S, noise_S, snr_db=snr_db)


def change_gain(waveform_S: Tensor, generator: torch.Generator, *, most_db: float) -> Tensor:
    """Make a waveform louder or softer by a gain drawn uniformly from -most_db to most_db decibels.

    Returns: waveform of the same length; may exceed [-1, 1], the caller clips.
    """
    return waveform_S * 10 ** (_between(generator, -most_db, most_db) / 20)


def perturb_speed(waveform_S: Tensor, generator: torch.Generator, *, low: float = 0.9, high: float = 1.1) -> Tensor:
    """Play the waveform at a speed drawn from the multiples of 0.05 between low and high.

    Resampling with a windowed sinc: pitch and formants change with the speed, as on a tape (Ko et
    al., "Audio augmentation for speech recognition", 2015).

    Args:
        waveform_S: S samples; S may be 0.
        generator: one draw.
        low, high: slowest and fastest factor, inclusive; 1.1 is faster and higher.

    Returns: waveform of ceil(S / factor) samples; may slightly exceed [-1, 1], the caller clips.

    Raises: ValueError: there is no positive multiple of 0.05 between low and high.
    """
    slowest, fastest = math.ceil(low * _SPEED_STEPS - 1e-6), math.floor(high * _SPEED_STEPS + 1e-6)
    if not 1 <= slowest <= fastest:
        raise ValueError(f"there is no positive multiple of {1 / _SPEED_STEPS} between {low} and {high}.")
    speed = _integer(generator, slowest, fastest)
    if speed == _SPEED_STEPS or len(waveform_S) == 0:
        return waveform_S.clone()
    resampled_S: Tensor = torchaudio.functional.resample(waveform_S, speed, _SPEED_STEPS)
    return resampled_S


def spec_augment(
    waveform_S: Tensor,
    generator: torch.Generator,
    *,
    n_bands: int = 2,
    max_band_hz: float = 1000.0,
    n_stretches: int = 2,
    max_stretch: float = 0.1,
    sample_rate_hz: int = 16_000,
) -> Tensor:
    """Mask frequency bands and time spans (the masks of SpecAugment).

    Widths are drawn uniformly from 1 bin to the largest, positions uniformly from those where the width
    fits. Applied to the spectrum and transformed back to a waveform, so that it works for every encoder;
    time warping is left out.

    Args:
        waveform_S: S samples; S may be 0.
        generator: two draws for each band and each time span.
        n_bands, max_band_hz: number of bands and largest width.
        n_stretches, max_stretch: number of time spans and largest length as a fraction of the frames (16 ms
            each); a clip too short for one frame at that fraction (under 0.15 s by default) keeps all
            its frames.
        sample_rate_hz: rate of the waveform.

    Returns: waveform of the same length.

    Source: Park et al., "SpecAugment: a simple data augmentation method for automatic speech
        recognition", 2019.
    """
    if len(waveform_S) == 0:
        return waveform_S.clone()
    spectrum_FJ = to_spectrum(waveform_S)
    n_bins, n_frames = spectrum_FJ.shape
    widest = int(max_band_hz / (sample_rate_hz / 2) * (n_bins - 1))
    for _ in range(n_bands):
        spectrum_FJ[_span(generator, n_bins, widest)] = 0
    for _ in range(n_stretches):
        spectrum_FJ[:, _span(generator, n_frames, int(max_stretch * n_frames))] = 0
    return to_waveform(spectrum_FJ, len(waveform_S))


def _mean_power(waveform_S: Tensor) -> float:
    """Mean square, by numpy: the last bit of torch's depends on the number of threads."""
    return float(np.square(waveform_S.numpy(), dtype=np.float64).sum()) / max(1, len(waveform_S))


def _span(generator: torch.Generator, size: int, widest: int) -> slice:
    """A random span of 1 to `widest` positions out of `size`; empty if `widest` is 0."""
    width = _integer(generator, min(1, widest), widest)
    first = _integer(generator, 0, size - width)
    return slice(first, first + width)


def _integer(generator: torch.Generator, low: int, high: int) -> int:
    """Uniform from low to high, inclusive."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def _between(generator: torch.Generator, low: float, high: float) -> float:
    """Uniform from low to high."""
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))
