"""The two views of an utterance: the clean waveform, cropped in training, and the augmented one.

Their randomness depends on (seed, variant, utterance id) alone (METHOD, section 5). With K variants, epoch e
uses variant e mod K, so that K augmented views can be computed once and stored; without, each epoch is its own variant.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from raysys.config import SAMPLE_RATE_HZ, AugmentConfig
from raysys.data.cache import WaveformStore
from raysys.data.plan import derive_seed
from raysys.data.recordings import Recordings, noise_stretch, room_response
from raysys.sources import digest_of

_MEASURED = 2000
"""Utterances that mean and deviation of frames are taken from: 60,000 frames and more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioFeatures:
    """Locations of a frozen audio encoder's features, or of its convolutions' latents, which replace waveforms.

    Each is J x E, flattened.

    Attributes:
        width: E.
        whole: location of those of whole utterances.
        crops: locations by variant, for crops of utterances longer than a crop.
        augmented: locations by variant; empty if the second view equals the clean one.
    """

    width: int
    whole: str
    crops: tuple[str, ...]
    augmented: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a stream's waveforms come from and how they are processed; small, sent to every task.

    Attributes:
        store: location of the decoded corpus.
        augment: how to compute the second view; None: no second view.
        crop_s: longest training utterance.
        seed: of crops and augmentation.
        views: locations of the precomputed augmented views, by variant; empty: computed on the fly.
        features: fetched instead of all waveforms.
        noises, rooms: recordings that the augmented views contain.
    """

    store: str
    augment: AugmentConfig | None
    crop_s: float
    seed: int
    views: tuple[str, ...] = ()
    features: AudioFeatures | None = None
    noises: Recordings | None = None
    rooms: Recordings | None = None

    @property
    def variants(self) -> int:
        return 0 if self.augment is None else self.augment.variants

    @property
    def is_made(self) -> bool:
        """Whether every view is stored already; without audio effects the clean view serves as both."""
        if self.augment is None or self.features is not None:
            return True
        return bool(self.views) or not self.augment.changes_audio

    @property
    def locations(self) -> tuple[str, ...]:
        """All stores that are read."""
        if self.features is None:
            return (self.store, *self.views)
        return (self.features.whole, *self.features.crops, *self.features.augmented)

    @property
    def recorded(self) -> list[str | None]:
        """Hashes of the recordings that views depend on, wherever these are."""
        return [None if found is None else found.digest for found in (self.noises, self.rooms)]

    def is_cropped(self, n_samples: int) -> bool:
        """Whether training crops an utterance of this length."""
        return n_samples > round(self.crop_s * SAMPLE_RATE_HZ)

    def variant(self, epoch: int) -> int:
        """Which variant of its views an epoch uses."""
        return epoch % self.variants if self.variants else epoch


def training_views(source: Source, name: str, epoch: int) -> tuple[np.ndarray, np.ndarray | None]:
    """The clean and the augmented view of a training utterance, or their features; None if there is no second view."""
    variant = source.variant(epoch)
    if source.features is not None:
        return _training_features(source, source.features, name, variant)
    waveform_S = WaveformStore.opened(source.store).get(name)
    clean_S = crop(waveform_S, source, variant, name)
    if source.augment is None:
        return clean_S, None
    if not source.augment.changes_audio:
        return clean_S, clean_S
    if source.views:
        return clean_S, WaveformStore.opened(source.views[variant]).get(name)
    return clean_S, augmented(waveform_S, source, variant, name)


def whole_utterance(source: Source, name: str) -> np.ndarray:
    """The input in evaluation: the whole waveform, or its features."""
    return WaveformStore.opened(source.store if source.features is None else source.features.whole).get(name)


def training_frames(features: AudioFeatures, names: Sequence[str]) -> Iterator[np.ndarray]:
    """Frames (JE) of whole training utterances, of 2,000 at most, drawn by their ids."""
    store = WaveformStore.opened(features.whole)
    for name in sorted(names, key=lambda name: derive_seed("frames", name))[:_MEASURED]:
        yield store.get(name).reshape(-1, features.width)


def _training_features(
    source: Source, features: AudioFeatures, name: str, variant: int
) -> tuple[np.ndarray, np.ndarray | None]:
    cropped = source.is_cropped(WaveformStore.opened(source.store).samples(name))
    clean = WaveformStore.opened(features.crops[variant] if cropped else features.whole).get(name)
    if source.augment is None:
        return clean, None
    return clean, WaveformStore.opened(features.augmented[variant]).get(name) if features.augmented else clean


def augmented(waveform_S: np.ndarray, source: Source, variant: int, name: str) -> np.ndarray:
    """The augmented view of the stretch chosen by `crop`."""
    # Imports torch, which code that only reads views does not need.
    from raysys.augment.view import augment_waveform

    assert source.augment is not None
    key = (source.seed, variant, name)
    return augment_waveform(
        crop(waveform_S, source, variant, name),
        source.augment,
        key=key,
        room_R=None if source.rooms is None else room_response(source.rooms, key),
        noise=None if source.noises is None else partial(noise_stretch, source.noises, key),
    )


def crop(waveform_S: np.ndarray, source: Source, variant: int, name: str) -> np.ndarray:
    """A random stretch of at most `crop_s`, the same for both views."""
    if not source.is_cropped(len(waveform_S)):
        return waveform_S
    longest = round(source.crop_s * SAMPLE_RATE_HZ)
    spare = len(waveform_S) - longest
    start = derive_seed(source.seed, "crop", variant, name) % (spare + 1)
    return waveform_S[start : start + longest]


def views_name(decoded: str, source: Source, variant: int) -> str:
    """Cache name of a variant's views: a hash of everything they depend on.

    Args:
        decoded: name of the decoded corpus, itself a hash.
    """
    assert source.augment is not None
    code = digest_of("raysys.data.views:augmented", "raysys.data.tasks:make_part")
    values = [code, decoded, source.augment.audio_effects, source.recorded, source.crop_s, source.seed, variant]
    text = json.dumps(values, sort_keys=True)
    return f"views-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
