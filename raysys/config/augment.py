"""The second, augmented view of an utterance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from raysys.config.check import require

AUDIO_EFFECTS = ("lsa", "speed", "noise", "spec_augment")
"""Switches of `AugmentConfig` that change the waveform."""
RECORDINGS = ("noise_folder", "room_folder")
"""Folders of recordings that change the waveform."""
_LOUDEST_DB = 60.0
"""A gain beyond this, a factor of 1,000, leaves nothing but clipped samples or silence."""


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
    noise_folder: str | None = None
    """Folder of recordings, such as MUSAN, which every node must see at this path: add a stretch of one of them, drawn
    from all audio files in it and below it, at a signal-to-noise ratio drawn from --augment.noise-snr."""
    noise_snr: tuple[float, float] = (5.0, 20.0)
    """Lowest and highest signal-to-noise ratio of the noise from --augment.noise-folder, in decibels."""
    room_folder: str | None = None
    """Folder of impulse responses of rooms, which every node must see at this path: reverberate by one of them, drawn
    from all audio files in it and below it, without delay and at the same power."""
    gain: float = 0.0
    """Change the loudness by up to this many decibels, up or down; samples beyond full scale are clipped. Encoders that
    normalise each utterance, such as wav2vec 2.0, do not notice. 0: off."""
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
        low, high = self.noise_snr
        require(low <= high, f"--augment.noise-snr is {low} {high}; expected the lower value first.")
        require(
            0 <= self.gain <= _LOUDEST_DB,
            f"--augment.gain is {self.gain}; expected decibels from 0 (off) to {_LOUDEST_DB:g}.",
        )
        require(self.cbca_texts >= 1, f"--augment.cbca-texts is {self.cbca_texts}; at least 1 is needed.")
        require(0 <= self.mixup < math.inf, f"--augment.mixup is {self.mixup}; expected a number of 0 or more.")
        require(self.variants >= 0, f"--augment.variants is {self.variants}; it cannot be negative.")

    @property
    def audio_effects(self) -> dict[str, Any]:
        """Everything that shapes the augmented waveform, except what is in the folders."""
        return {name: getattr(self, name) for name in (*AUDIO_EFFECTS, "noise_snr_db", "noise_snr", "gain")}

    @property
    def folders(self) -> dict[str, str]:
        """Folders of recordings that are used, by their flag."""
        found = {f"--augment.{name.replace('_', '-')}": getattr(self, name) for name in RECORDINGS}
        return {flag: folder for flag, folder in found.items() if folder is not None}

    @property
    def changes_audio(self) -> bool:
        return any(getattr(self, name) for name in AUDIO_EFFECTS) or bool(self.folders) or self.gain > 0
