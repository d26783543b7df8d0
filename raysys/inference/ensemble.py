"""Several models that predict as one: the folds of a cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from raysys.inference.predict import EmotionModel


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Ensemble:
    """Models with the same classes and modalities, in use like one; it takes as long, and as much memory, as all.

    Attributes:
        models: at least one.
        origin: what it is and where it was loaded from.
    """

    models: tuple[EmotionModel, ...]
    origin: str = ""

    @property
    def classes(self) -> tuple[str, ...]:
        return self.models[0].classes

    @property
    def modalities(self) -> Literal["both", "audio", "text"]:
        return self.models[0].modalities

    @property
    def trim_db(self) -> float | None:
        return self.models[0].trim_db

    def probabilities(
        self, waveforms: Sequence[np.ndarray] | None = None, transcripts: Sequence[str | None] | None = None
    ) -> np.ndarray:
        """Mean of the models' class probabilities (N x C, float32); arguments and errors as of `EmotionModel`."""
        found_MNC = np.stack([model.probabilities(waveforms, transcripts) for model in self.models])
        mean_NC: np.ndarray = found_MNC.mean(axis=0)
        return mean_NC

    def __repr__(self) -> str:
        return f"Ensemble({self.origin or f'{len(self.models)} models'}; classes: {', '.join(self.classes)})"
