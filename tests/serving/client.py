"""The service without Ray: its routes over a small model with random weights."""

from __future__ import annotations

import io
from typing import Any, Literal

import numpy as np
import soundfile
from starlette.testclient import TestClient

from raysys.serving.http import build_api
from raysys.serving.predictor import ModelInfo, Piece, Predicted, predict_together
from raysys.serving.settings import ServiceSettings
from tests.test_inference import make

TOKEN = "a-token-that-is-long-enough"


def speech(seconds: float = 1.0, rate_hz: int = 16_000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * rate_hz)).astype(np.float32)


def encoded(waveform: np.ndarray, kind: str = "WAV", rate_hz: int = 16_000, subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, waveform, rate_hz, format=kind, subtype=subtype)
    return file.getvalue()


def client(
    modalities: Literal["both", "audio", "text"] = "audio", token: str | None = None, **settings: Any
) -> TestClient:
    model, _ = make(modalities=modalities)

    async def predict(pieces: list[Piece]) -> Predicted:
        return predict_together(model, [pieces])[0]

    async def describe() -> ModelInfo:
        return ModelInfo(origin="model m", classes=model.classes, modalities=modalities, card="# A card")

    api = build_api(ServiceSettings(model="m", **settings), token, predict, describe)
    return TestClient(api, raise_server_exceptions=False)
