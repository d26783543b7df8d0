"""Synthetic utterances that match IEMOCAP only in length: noise, with a word every 0.4 s."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, field

import numpy as np
import soundfile

from raysys.config import SAMPLE_RATE_HZ
from raysys.data.manifest import Utterance

N_CLASSES = 4
_MEDIAN_S, _MEAN_S, _SHORTEST_S, _LONGEST_S = 3.6, 4.6, 0.6, 34.0
_WORDS_S = 2.5
_VOCABULARY = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Speech:
    """Utterances by id; waveforms are generated on first use.

    Attributes:
        labels: class index by id.
        durations_s: seconds by id.
    """

    utterances: dict[str, Utterance]
    labels: dict[str, int]
    durations_s: dict[str, float]
    seed: int
    _made: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(self.utterances)

    def views(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The clean and the augmented waveform: 16 kHz mono, float32."""
        if name not in self._made:
            rng = np.random.default_rng([self.seed, *name.encode()])
            n = round(self.durations_s[name] * SAMPLE_RATE_HZ)
            clean_S = rng.normal(0, 0.05, n).astype(np.float32)
            self._made[name] = clean_S, clean_S + rng.normal(0, 0.01, n).astype(np.float32)
        return self._made[name]


def make_speech(n: int, *, seed: int = 0) -> Speech:
    """Utterances with lognormal durations (median 3.6 s, mean 4.6 s, at most 34 s)."""
    rng = np.random.default_rng(seed)
    sigma = math.sqrt(2 * math.log(_MEAN_S / _MEDIAN_S))
    drawn_s = np.exp(rng.normal(math.log(_MEDIAN_S), sigma, n)).clip(_SHORTEST_S, _LONGEST_S)
    utterances: dict[str, Utterance] = {}
    for number, duration_s in enumerate(drawn_s.tolist()):
        name = f"u{number:05d}"
        words = rng.integers(0, _VOCABULARY, max(1, round(duration_s * _WORDS_S)))
        utterances[name] = Utterance(
            utterance_id=name,
            audio_path=f"{name}.wav",
            transcript=" ".join(f"word{word}" for word in words),
            emotion=str(number % N_CLASSES),
            speaker=f"s{number % 10}",
            session=f"{number % 5}",
            duration_s=duration_s,
        )
    return Speech(
        utterances=utterances,
        labels={name: number % N_CLASSES for number, name in enumerate(utterances)},
        durations_s={name: u.duration_s or 0.0 for name, u in utterances.items()},
        seed=seed,
    )


def wav_bytes(seed: int, seconds: float) -> bytes:
    """Noise as a WAV file: 16 kHz mono, 16 bits."""
    file = io.BytesIO()
    noise = np.random.default_rng(seed).normal(0, 0.05, round(seconds * SAMPLE_RATE_HZ))
    soundfile.write(file, noise, SAMPLE_RATE_HZ, format="WAV")
    return file.getvalue()
