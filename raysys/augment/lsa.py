"""Noise suppression with the log-spectral amplitude estimator of Ephraim and Malah (1985)."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import exp1
from torch import Tensor

from raysys.augment.spectrum import HOP, to_spectrum, to_waveform

Spectrogram = NDArray[np.float32]

_QUIETEST = 0.1
"""Fraction of the frames, the quietest at each frequency, from which the noise power is estimated."""
_SMOOTHING = np.float32(0.98)
"""alpha of the decision-directed estimate."""
_PRIOR_FLOOR = np.float32(10 ** (-25 / 10))
"""Smallest a-priori SNR, -25 dB: prevents fluctuating residual noise (musical noise)."""
_LOG_V_MIN, _LOG_V_MAX, _TABLE_SIZE = -16.0, 6.0, 4096
"""The table of exp(E1(v) / 2) over ln v: one step changes it by less than 0.3 %; beyond its ends the
gain is clipped at 1, or E1 is 0."""


def log_spectral_amplitude(waveform_S: Tensor, *, strength: float) -> Tensor:
    """Suppress stationary noise, fully or in part.

    For frequency f and frame j of the short-time spectrum X, with noise power N_f:

        gamma = |X|^2 / N_f                                             a-posteriori SNR
        xi_j  = 0.98 G_(j-1)^2 gamma_(j-1) + 0.02 max(gamma_j - 1, 0)   a-priori SNR, >= -25 dB
        v     = gamma xi / (1 + xi)
        G     = min(1, xi / (1 + xi) exp(E1(v) / 2)),   E1(v) = integral_v^inf e^-t / t dt

    and X G^strength is transformed back to a waveform: the gain attenuates where the SNR is low and is 1
    where there is no noise. N_f is the mean power of the quietest tenth of the frames at f, divided
    by the expected value of that mean for noise of power 1 (see `_expected_quiet_power`).

    Estimating noise from the clip itself treats anything that never pauses as noise. A clip with exact
    digital silence in a tenth of its frames has no noise by this measure, and its waveform changes by
    about 1e-3 of its peak.

    Args:
        waveform_S: float32 at 16 kHz, S samples, including 0 and less than a window; any scale.
        strength: 0 leaves the waveform unchanged, bit for bit; 1 is the estimator of 1985.

    Returns: waveform of S samples; silence for silence.
    Raises: ValueError: strength is not between 0 and 1.

    Source: Ephraim and Malah, "Speech enhancement using a minimum mean-square error log-spectral
        amplitude estimator", 1985, equation 20; the decision-directed xi is theirs of 1984,
        equation 51.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength is {strength}; expected 0 (no change) to 1 (full suppression).")
    if strength == 0 or len(waveform_S) == 0:
        return waveform_S.clone()
    spectrum_FJ = to_spectrum(waveform_S.float())
    power_FJ = spectrum_FJ.real.square() + spectrum_FJ.imag.square()
    power_JF: Spectrogram = np.ascontiguousarray(power_FJ.T.numpy())
    if not power_JF.any():
        return waveform_S.clone()
    # Frames that extend beyond an end are half empty: leave them out of the noise estimate.
    whole_JF = power_JF[1 : len(waveform_S) // HOP]
    noise_F = _noise_power(whole_JF if len(whole_JF) else power_JF)
    # The bounds keep v, and with it the gain, finite in digital silence.
    noise_F = np.maximum(noise_F, 1e-10 * power_JF.max() + np.finfo(np.float32).tiny)
    gamma_JF = np.clip(power_JF / noise_F, 1e-7, 1e7).astype(np.float32)
    gain_JF = _gains(gamma_JF) ** np.float32(strength)
    return to_waveform(spectrum_FJ * torch.from_numpy(gain_JF).T, len(waveform_S))


def _noise_power(power_JF: Spectrogram) -> Spectrogram:
    """N_f: mean of the quietest frames at each frequency, bias-corrected."""
    n_quiet = max(1, int(_QUIETEST * len(power_JF)))
    quiet_F: Spectrogram = np.partition(power_JF, n_quiet - 1, axis=0)[:n_quiet].mean(axis=0)
    return quiet_F / np.float32(_expected_quiet_power(n_quiet, len(power_JF)))


def _expected_quiet_power(n_quiet: int, n_frames: int) -> float:
    """Expected mean of the m lowest of J independent exponential variables of mean 1.

    The power of Gaussian noise is exponential, and the k-th lowest of J such variables has mean
    sum_(i=0)^(k-1) 1 / (J - i); so the m lowest have mean 1/m sum_(i=0)^(m-1) (m - i) / (J - i): 0.05
    for a tenth of many, 1 for all.
    """
    return sum((n_quiet - i) / (n_frames - i) for i in range(n_quiet)) / n_quiet


def _gains(gamma_JF: Spectrogram) -> Spectrogram:
    """G of every frame; the recursion runs frame by frame, over all frequencies at once."""
    table, scale = _exp_half_e1(), np.float32((_TABLE_SIZE - 1) / (_LOG_V_MAX - _LOG_V_MIN))
    log_gamma_JF = np.log(gamma_JF)
    decided_JF = (1 - _SMOOTHING) * np.maximum(gamma_JF - 1, 0)
    gain_JF = np.empty_like(gamma_JF)
    previous_F = np.ones_like(gamma_JF[0])
    for j in range(len(gamma_JF)):
        prior_F = np.maximum(_SMOOTHING * previous_F + decided_JF[j], _PRIOR_FLOOR)
        wiener_F = prior_F / (1 + prior_F)
        log_v_F = np.log(wiener_F) + log_gamma_JF[j]
        entry_F = ((log_v_F - np.float32(_LOG_V_MIN)) * scale).astype(np.int32)
        gain_F = np.minimum(wiener_F * table.take(entry_F, mode="clip"), 1, out=gain_JF[j])
        previous_F = gain_F * gain_F * gamma_JF[j]
    return gain_JF


@cache
def _exp_half_e1() -> NDArray[np.float32]:
    """exp(E1(v) / 2) at equal steps of ln v."""
    v = np.exp(np.linspace(_LOG_V_MIN, _LOG_V_MAX, _TABLE_SIZE))
    return np.asarray(np.exp(exp1(v) / 2), dtype=np.float32)
