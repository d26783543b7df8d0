"""Utterances that are like IEMOCAP's in length and in nothing else: noise, with a word every 0.4 s."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from raysys.config import SAMPLE_RATE_HZ
from raysys.data.manifest import Utterance

N_CLASSES = 4
_MEDIAN_S, _MEAN_S, _SHORTEST_S, _LONGEST_S = 3.6, 4.6, 0.6, 34.0
_WORDS_S = 2.5
_VOCABULARY = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Speech:
    """Utterances by id.

    Attributes:
        waveforms: 16 kHz mono, float32.
        augmented: their second views.
        labels: class index.
    """

    utterances: dict[str, Utterance]
    waveforms: dict[str, np.ndarray]
    augmented: dict[str, np.ndarray]
    labels: dict[str, int]

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(self.utterances)

    @property
    def durations_s(self) -> dict[str, float]:
        return {name: len(waveform) / SAMPLE_RATE_HZ for name, waveform in self.waveforms.items()}


def make_speech(n: int, *, seed: int = 0) -> Speech:
    """Utterances of lognormal duration (median 3.6 s, mean 4.6 s, at most 34 s)."""
    rng = np.random.default_rng(seed)
    sigma = math.sqrt(2 * math.log(_MEAN_S / _MEDIAN_S))
    durations_s = np.exp(rng.normal(math.log(_MEDIAN_S), sigma, n)).clip(_SHORTEST_S, _LONGEST_S)
    utterances: dict[str, Utterance] = {}
    waveforms: dict[str, np.ndarray] = {}
    augmented: dict[str, np.ndarray] = {}
    for number, duration_s in enumerate(durations_s):
        name = f"u{number:05d}"
        waveforms[name] = rng.normal(0, 0.05, round(duration_s * SAMPLE_RATE_HZ)).astype(np.float32)
        augmented[name] = waveforms[name] + rng.normal(0, 0.01, len(waveforms[name])).astype(np.float32)
        words = rng.integers(0, _VOCABULARY, max(1, round(duration_s * _WORDS_S)))
        utterances[name] = Utterance(
            utterance_id=name,
            audio_path=f"{name}.wav",
            transcript=" ".join(f"word{word}" for word in words),
            emotion=str(number % N_CLASSES),
            speaker=f"s{number % 10}",
            session=f"{number % 5}",
            duration_s=float(duration_s),
        )
    labels = {name: number % N_CLASSES for number, name in enumerate(utterances)}
    return Speech(utterances=utterances, waveforms=waveforms, augmented=augmented, labels=labels)
