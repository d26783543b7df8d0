"""What the service answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel

from raysys.inference.segments import Segment
from raysys.serving.predictor import ModelInfo


class Scores(BaseModel):
    prediction: str
    confidence: float
    """Probability of the prediction; the model may be wrong however high it is."""
    probabilities: dict[str, float]


class Span(Scores):
    """A segment of the recording, in seconds from its beginning."""

    start_s: float
    end_s: float


class Answer(Scores):
    """With segments, the probabilities are the mean of theirs, weighted by length."""

    model: str
    classes: tuple[str, ...]
    duration_s: float | None
    """None without audio."""
    note: str | None
    """What is odd about the input, and how it was read."""
    timeline: list[Span] | None = None
    """With segments alone."""


class Problem(BaseModel):
    code: str
    message: str
    how: str


class Failure(BaseModel):
    error: Problem


def answer(
    info: ModelInfo,
    probabilities_NC: np.ndarray,
    *,
    duration_s: float | None,
    notes: Sequence[str],
    segments: Sequence[Segment] | None,
) -> Answer:
    """Args: segments: one for each row of the probabilities, at least one; None: its only row is of the whole."""
    mean_C = probabilities_NC[0]
    if segments is not None:
        mean_C = np.average(probabilities_NC, axis=0, weights=[end_s - start_s for start_s, end_s in segments])
    spans = None
    if segments is not None:
        spans = [
            Span(start_s=round(start_s, 3), end_s=round(end_s, 3), **_scores(info.classes, row_C))
            for (start_s, end_s), row_C in zip(segments, probabilities_NC, strict=True)
        ]
    return Answer(
        model=info.origin,
        classes=info.classes,
        **_scores(info.classes, mean_C),
        duration_s=None if duration_s is None else round(duration_s, 3),
        note="; ".join(notes) or None,
        timeline=spans,
    )


def _scores(classes: Sequence[str], row_C: np.ndarray) -> dict[str, Any]:
    best = int(row_C.argmax())
    return {
        "prediction": classes[best],
        "confidence": float(row_C[best]),
        "probabilities": {name: float(value) for name, value in zip(classes, row_C, strict=True)},
    }
