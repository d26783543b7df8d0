"""Predictions of several requests at once, and what there is to know about the model that makes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel

from raysys.inference import EmotionModel, Ensemble
from raysys.results import MODEL, MODEL_CONFIG
from raysys.storage import Folder

_CARD = "README.md"


class Piece(NamedTuple):
    """What one prediction is of: a recording or a part of it, and what is said in it.

    Attributes:
        waveform_S: float32, mono, 16 kHz; None for a model of text alone.
        transcript: None: unknown.
    """

    waveform_S: np.ndarray | None
    transcript: str | None


class Predicted(NamedTuple):
    """Attributes:
    probabilities_NC: of each piece of a request.
    batch: number of requests that were computed together with it, itself included.
    """

    probabilities_NC: np.ndarray
    batch: int


class ModelInfo(BaseModel):
    """What a client, or a person, should know about the model."""

    origin: str
    """What it is, and where it was loaded from."""
    classes: tuple[str, ...]
    modalities: str
    """What it was trained on: both, audio or text."""
    card: str
    """Its model card (Markdown); empty if it has none."""


def predict_together(model: EmotionModel | Ensemble, requests: Sequence[Sequence[Piece]]) -> list[Predicted]:
    """Predict the pieces of several requests; each independent of the others."""
    pieces = [piece for request in requests for piece in request]
    waveforms = None if model.modalities == "text" else [piece.waveform_S for piece in pieces]
    found_NC = model.probabilities(waveforms, [piece.transcript for piece in pieces])  # type: ignore[arg-type]
    ends = np.cumsum([len(request) for request in requests])[:-1]
    return [Predicted(part_NC, len(requests)) for part_NC in np.split(found_NC, ends)]


def info(model: EmotionModel | Ensemble, location: str) -> ModelInfo:
    """Args: location: where the model was loaded from."""
    return ModelInfo(
        origin=model.origin, classes=model.classes, modalities=model.modalities, card=_card(Folder.at(location))
    )


def _card(folder: Folder) -> str:
    """The card beside a model; of a run, beside its final model."""
    where = folder if folder.exists(MODEL_CONFIG) else folder / MODEL
    return where.read_bytes(_CARD).decode("utf-8", "replace") if where.exists(_CARD) else ""
