"""The service's routes. They know neither Ray nor the model: predictions come from a function that is passed in."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from raysys.serving import page
from raysys.serving.answering import Predict, answer_to
from raysys.serving.answers import Answer, Failure
from raysys.serving.asking import LONGEST_PIECE_S, SEGMENT_S, finds_speech, read_request
from raysys.serving.limits import Open, Rate
from raysys.serving.metrics import CONTENT_TYPE, Metrics
from raysys.serving.predictor import ModelInfo
from raysys.serving.refusals import Refused
from raysys.serving.settings import ServiceSettings
from raysys.serving.token import refuse_other_token

Describe = Callable[[], Awaitable[ModelInfo]]
OPEN_REQUESTS = 256
"""Requests that are read or answered at once. More would wait longer than their clients do."""


class Limits(BaseModel):
    max_seconds: float
    max_megabytes: float
    longest_piece_s: float = LONGEST_PIECE_S
    """Of a recording without segments, and of a segment."""
    segment_s: float = SEGMENT_S
    """Length of segments if a request does not say."""


class Served(ModelInfo):
    segments: tuple[str, ...]
    """Values of the field `segments` that this server accepts."""
    limits: Limits


class Service:
    """What the routes share: limits, counters, and the model's description once it has answered."""

    def __init__(self, settings: ServiceSettings, token: str | None, predict: Predict, describe: Describe) -> None:
        self._settings, self._token, self._predict, self._describe = settings, token, predict, describe
        self._open, self._rate = Open(OPEN_REQUESTS), Rate(settings.rate)
        self.metrics = Metrics()
        self._info: ModelInfo | None = None

    def authorize(self, request: Request) -> None:
        """Raises: Refused: the token is missing or another (401)."""
        refuse_other_token(request.headers.get("authorization"), self._token)

    async def info(self) -> ModelInfo:
        if self._info is None:
            self._info = await self._describe()
        return self._info

    async def served(self) -> Served:
        found = await self.info()
        return Served(
            **found.model_dump(),
            segments=("none", "fixed", "speech") if finds_speech() else ("none", "fixed"),
            limits=Limits(max_seconds=self._settings.max_seconds, max_megabytes=self._settings.max_megabytes),
        )

    async def predict(self, request: Request) -> Answer:
        """Raises: Refused: as `read_request` and `answer_to`, without the token, or too many requests (429)."""
        with self.metrics.counted(), self._open.one():
            self.authorize(request)
            self._rate.admit(request.client.host if request.client else "", time.monotonic())
            limit_bytes = round(self._settings.max_megabytes * 1e6)
            with tempfile.TemporaryDirectory(prefix="raysys-") as folder:
                asked = await read_request(request, Path(folder), limit_bytes)
                return await answer_to(
                    asked, await self.info(), self._predict, self.metrics, self._settings.max_seconds
                )


def build_api(settings: ServiceSettings, token: str | None, predict: Predict, describe: Describe) -> FastAPI:
    """The service as an ASGI application.

    Args:
        token: SHA-256 of the token that clients must send; None: they need none.
        predict: raises `Refused` if it cannot, just now.
        describe: likewise.
    """
    service = Service(settings, token, predict, describe)
    # Its pages of documentation would load scripts from another host.
    app = FastAPI(title="raysys", docs_url=None, redoc_url=None)
    app.add_middleware(page.SafeHeaders)
    app.add_exception_handler(Refused, _refusal)
    app.add_exception_handler(HTTPException, _http_refusal)
    app.add_exception_handler(Exception, _fault)

    @app.post("/v1/predict", responses=_FAILURES, openapi_extra=_BODY)
    async def predict_emotion(request: Request) -> Answer:
        """Predict the emotion of a recording, or of its segments."""
        return await service.predict(request)

    @app.get("/v1/model", responses={401: {"model": Failure}})
    async def model(request: Request) -> Served:
        """The model's classes, what it was trained on, its card, and the limits of a request."""
        service.authorize(request)
        return await service.served()

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Whether the model answers."""
        await service.info()
        return {"status": "ok"}

    @app.get("/metrics", response_class=Response)
    async def metrics(request: Request) -> Response:
        """Counters, as Prometheus reads them."""
        service.authorize(request)
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    page.add_routes(app)
    return app


async def _refusal(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return JSONResponse(error.content(), error.status, error.headers())


async def _http_refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    how = "See /openapi.json for what there is."
    refused = Refused(error.status_code, "no_route", f"{request.method} {request.url.path}: {error.detail}.", how)
    return JSONResponse(refused.content(), error.status_code, error.headers)


async def _fault(_: Request, __: Exception) -> Response:
    refused = Refused(500, "fault", "The server failed; its log has the error.", "Tell who runs it.")
    return JSONResponse(refused.content(), 500)


_FAILURES: dict[int | str, dict[str, Any]] = {
    status: {"model": Failure} for status in (401, 408, 413, 415, 422, 429, 503)
}
_AUDIO = {"type": "string", "format": "binary"}
_FIELDS: dict[str, dict[str, Any]] = {
    "transcript": {"type": "string", "description": "What is said, if it is known."},
    "segments": {"type": "string", "enum": ["none", "fixed", "speech"], "default": "none"},
    "segment_s": {"type": "number", "default": SEGMENT_S},
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": {"type": "object", "properties": {"audio": _AUDIO, **_FIELDS}}},
            "audio/*": {"schema": _AUDIO},
        },
    },
    "parameters": [
        {"name": name, "in": "query", "required": False, "schema": schema, "description": "If the body is audio alone."}
        for name, schema in _FIELDS.items()
    ],
}
