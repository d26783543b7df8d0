"""The second, augmented view of an utterance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from raysys.config.check import require

AUDIO_EFFECTS = ("lsa", "speed", "noise", "spec_augment")
"""Switches of `AugmentConfig` that change the waveform."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentConfig:
    """The second, augmented view of an utterance (METHOD: enhanced contrastive learning)."""

    lsa: bool = True
    """Log-spectral-amplitude noise suppression of random strength (Ephraim and Malah 1985)."""
    speed: bool = True
    """Speed perturbation: resample the waveform by a factor drawn from 0.9 to 1.1."""
    noise: bool = True
    """Additive white noise at a signal-to-noise ratio drawn from --augment.noise-snr-db."""
    noise_snr_db: tuple[float, float] = (10.0, 30.0)
    """Lowest and highest signal-to-noise ratio of the added noise, in decibels."""
    spec_augment: bool = False
    """Mask two frequency bands and two time spans of the spectrogram (SpecAugment)."""
    cbca: Literal["none", "conditional", "unconditional"] = "conditional"
    """Replace one word of the augmented view's transcript by a masked language model. conditional: fine-tuned on the
    training part with its labels (Wu et al. 2019); unconditional: used as it is."""
    cbca_model: str | None = None
    """Masked language model for CBCA: 'light' (small, trained from scratch on the training part), a Hub name or a
    folder. Default: --model.text if that is pretrained, otherwise light."""
    cbca_texts: int = 5
    """Number of new texts generated per training transcript; each view uses one of them."""
    variants: int = 0
    """Number of different augmented views per utterance. Epoch e uses view e modulo this number; they are made once and
    cached for all trials and runs. 0: a new view every epoch."""
    classify_augmented: bool = False
    """Also apply the cross-entropy to the augmented view."""
    mixup: float = 0.0
    """Mix each training utterance, and its label, with another of its batch for the cross-entropy of the clean view
    (Zhang et al. 2018): its own share is the larger part of a draw from Beta(mixup, mixup). Waveforms are mixed, or the
    features of frozen encoders; the other terms of the loss read what is not mixed. 0.2 is usual; 0: off."""

    def __post_init__(self) -> None:
        low, high = self.noise_snr_db
        require(low <= high, f"--augment.noise-snr-db is {low} {high}; expected the lower value first.")
        require(self.cbca_texts >= 1, f"--augment.cbca-texts is {self.cbca_texts}; at least 1 is needed.")
        require(0 <= self.mixup < math.inf, f"--augment.mixup is {self.mixup}; expected a number of 0 or more.")
        require(self.variants >= 0, f"--augment.variants is {self.variants}; it cannot be negative.")

    @property
    def audio_effects(self) -> dict[str, Any]:
        """Everything that shapes the augmented waveform."""
        return {name: getattr(self, name) for name in (*AUDIO_EFFECTS, "noise_snr_db")}

    @property
    def changes_audio(self) -> bool:
        return any(getattr(self, name) for name in AUDIO_EFFECTS)
