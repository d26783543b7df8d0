"""The augmented view of an utterance's audio: its effects, their order, their randomness."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from raysys.augment.lsa import log_spectral_amplitude
from raysys.augment.room import reverberate
from raysys.augment.signal import add_noise, add_white_noise, change_gain, perturb_speed, spec_augment
from raysys.config import AugmentConfig

ViewKey = tuple[int, int, str]
"""(seed, variant, utterance id): the only source of a view's randomness."""
Noise = Callable[[int], NDArray[np.float32]]
"""Gives recorded noise of so many samples."""


def augment_waveform(
    waveform_S: NDArray[np.float32],
    config: AugmentConfig,
    *,
    key: ViewKey,
    room_R: NDArray[np.float32] | None = None,
    noise: Noise | None = None,
) -> NDArray[np.float32]:
    """The second view of a waveform: speed, reverberation, recorded and white noise, noise suppression of random
    strength, SpecAugment, gain.

    Each effect applies if `config` enables it, and those of recordings if these are given. Equal waveform,
    configuration, key and recordings give an equal view, on any worker and in any order. The order is that of
    a recording: someone speaks, in a room, with noise in it. Noise is added before suppression, so that a view is a
    degraded and partly restored recording. The strength of the suppression is drawn uniformly
    from 0 to 1.

    Args:
        waveform_S: float32 at 16 kHz, S samples (S may be 0); not modified, and may be read-only.
        config: the effects.
        key: seed of the run, variant of the view, utterance id.
        room_R: a room's impulse response.
        noise: recorded noise, which is not reverberated: it was recorded where it is.

    Returns: a new float32 array in [-1, 1], finite if the waveform is; S samples, or about
        S / speed.
    """
    generator = torch.Generator().manual_seed(stable_seed(key))
    view_S = torch.tensor(waveform_S, dtype=torch.float32)
    if config.speed:
        view_S = perturb_speed(view_S, generator)
    if room_R is not None:
        view_S = reverberate(view_S, torch.tensor(room_R))
    if noise is not None:
        view_S = add_noise(view_S, torch.tensor(noise(len(view_S))), generator, snr_db_range=config.noise_snr)
    if config.noise:
        view_S = add_white_noise(view_S, generator, snr_db_range=config.noise_snr_db)
    if config.lsa:
        strength = float(torch.rand((), generator=generator))
        view_S = log_spectral_amplitude(view_S, strength=strength)
    if config.spec_augment:
        view_S = spec_augment(view_S, generator)
    if config.gain:
        view_S = change_gain(view_S, generator, most_db=config.gain)
    return view_S.clamp(-1, 1).numpy()


def stable_seed(key: ViewKey) -> int:
    """A 64-bit seed from the key, identical in every process (Python's own hash is salted)."""
    seed, variant, utterance_id = key
    text = json.dumps([int(seed), int(variant), str(utterance_id)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
