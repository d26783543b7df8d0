"""Requests computed together have the probabilities that each has alone; a model that cannot answer is reported."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError

from raysys.inference import load_model
from raysys.serving import app
from raysys.serving.predictor import Piece, info, predict_together
from raysys.serving.refusals import Refused
from tests.serving.client import speech
from tests.test_inference import make, save

torch.set_num_threads(1)


def test_requests_of_unlike_length_and_number_of_pieces_share_a_batch() -> None:
    model, _ = make()
    requests = [
        [Piece(speech(3.0, seed=0), "by the door")],
        [Piece(speech(seconds, seed=1), None) for seconds in (0.2, 1.7, 0.9)],
        [Piece(speech(0.4, seed=2), None)],
    ]
    together = predict_together(model, requests)
    for request, found in zip(requests, together, strict=True):
        (alone,) = predict_together(model, [request])
        assert found.probabilities_NC.shape == (len(request), 3)
        np.testing.assert_allclose(found.probabilities_NC, alone.probabilities_NC, rtol=0, atol=1e-6)
        assert (found.batch, alone.batch) == (3, 1)
    assert np.ptp(np.concatenate([found.probabilities_NC for found in together]), axis=0).max() > 1e-3


def test_the_card_is_the_models_or_that_of_a_runs_final_model(tmp_path: Path) -> None:
    location = save(make(), tmp_path / "run" / "model")
    model = load_model(location)
    assert info(model, location).card == ""
    (tmp_path / "run" / "model" / "README.md").write_text("# Über")
    for where in (location, str(tmp_path / "run")):
        assert info(model, where).card == "# Über"
    assert info(model, location).origin == f"model {location}"


def asked(*outcomes: Exception | int) -> tuple[Any, int]:
    """What a request gets from a model that answers, or fails, in this order; and how often it was asked."""
    coming = iter(outcomes)
    calls = 0

    async def answer(_: Sequence[Piece]) -> int:
        nonlocal calls
        calls += 1
        outcome = next(coming)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    predict, _ = app._asking(SimpleNamespace(predict=SimpleNamespace(remote=answer)))
    try:
        return asyncio.run(predict([])), calls
    except Refused as refused:
        return refused, calls


def test_a_request_whose_process_died_is_asked_again() -> None:
    assert asked(RayActorError(), RayActorError(), 7) == (7, 3)
    refused, calls = asked(*[RayActorError()] * 9)
    assert (refused.status, calls) == (503, 3) and refused.retry_after_s == 5


def test_a_full_queue_and_a_silent_model_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    refused, calls = asked(BackPressureError(64, 64))
    assert (refused.status, calls) == (429, 1) and refused.headers() == {"Retry-After": "1"}
    refused, calls = asked(TimeoutError())
    assert (refused.status, calls) == (503, 1)
    with pytest.raises(ZeroDivisionError):
        asked(ZeroDivisionError())
