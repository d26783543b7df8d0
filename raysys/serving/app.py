"""The service on Ray Serve: one deployment that answers HTTP, and one, in copies, that holds the model.

`build` is for configuration files of Serve (`import_path: raysys.serving.app:build`). Serve looks at the type of its
argument itself, so annotations here are not strings.
"""

import asyncio
from typing import Any

import ray
from fastapi import FastAPI
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from raysys.errors import ConfigError
from raysys.inference import load_model
from raysys.serving.http import OPEN_REQUESTS, build_api
from raysys.serving.predictor import ModelInfo, Piece, Predicted, info, predict_together
from raysys.serving.refusals import busy, unavailable
from raysys.serving.settings import ServiceSettings
from raysys.serving.token import VARIABLE, token_digest

PREDICTOR = "model"
_ATTEMPTS = 3
_ANSWER_S = 120.0
_QUEUED_BATCHES, _QUEUED = 8, 64
"""Batches, and at least so many requests, that may wait for the model; further ones would wait too long."""


class Predictor:
    """Holds the model, and computes the requests that arrive together as one batch."""

    def __init__(self, settings: ServiceSettings, on_gpu: bool) -> None:
        self._location = settings.model
        self._model = load_model(settings.model, "cuda" if on_gpu else "cpu")
        self._together.set_max_batch_size(settings.max_batch)
        self._together.set_batch_wait_timeout_s(settings.batch_wait_ms / 1000)

    async def predict(self, pieces: list[Piece]) -> Predicted:
        found: Predicted = await self._together(pieces)
        return found

    async def describe(self) -> ModelInfo:
        return await asyncio.to_thread(info, self._model, self._location)

    @serve.batch
    async def _together(self, requests: list[list[Piece]]) -> list[Predicted]:
        # In a thread, so that the next batch gathers meanwhile.
        return await asyncio.to_thread(predict_together, self._model, requests)


def build(settings: ServiceSettings) -> serve.Application:
    """The service for a configuration file, whose Serve listens to other machines: it needs a token.

    Raises:
        ConfigError: RAYSYS_SERVE_TOKEN is not set where Serve builds it.
    """
    token = token_digest(None)
    if token is None:
        raise ConfigError(
            f"{VARIABLE} is not set on the cluster's nodes, and everybody could use the service. Set it to a secret, "
            f"such as the output of openssl rand -hex 32."
        )
    return application(settings, token)


def application(settings: ServiceSettings, token: str | None) -> serve.Application:
    """Args: token: SHA-256 of what clients must send; None: they need none."""
    gpus = settings.gpus_per_replica
    if gpus is None:
        gpus = 1.0 if ray.cluster_resources().get("GPU") else 0.0
    least, most = settings.replicas
    copies: dict[str, Any] = {"num_replicas": least}
    if least < most:
        target = 2 * settings.max_batch
        copies = {
            "autoscaling_config": {"min_replicas": least, "max_replicas": most, "target_ongoing_requests": target}
        }
    model = serve.deployment(Predictor).options(
        name=PREDICTOR,
        ray_actor_options={"num_cpus": 1, "num_gpus": gpus},
        # One batch is computed, another gathers, and one more is on its way.
        max_ongoing_requests=3 * settings.max_batch,
        max_queued_requests=max(_QUEUED, _QUEUED_BATCHES * settings.max_batch),
        **copies,
    )

    def api() -> FastAPI:
        return build_api(settings, token, *_asking(serve.get_deployment_handle(PREDICTOR)))

    http = serve.deployment(serve.ingress(api)()).options(
        # One process, which counts all requests; it computes nothing but audio.
        name="http",
        num_replicas=1,
        # It refuses requests itself, with a message, before Serve would.
        max_ongoing_requests=4 * OPEN_REQUESTS,
    )
    return http.bind(model.bind(settings, gpus > 0))


def _asking(handle: Any) -> tuple[Any, Any]:
    """Functions that ask the model's deployment, and refuse where it cannot answer."""

    async def ask(method: str, *arguments: Any) -> Any:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return await asyncio.wait_for(getattr(handle, method).remote(*arguments), _ANSWER_S)
            except BackPressureError as error:
                raise busy("More requests are waiting for the model than it can answer soon.") from error
            except TimeoutError as error:
                raise unavailable(f"The model did not answer within {_ANSWER_S:g} s.") from error
            # Its process died. Asking again changes nothing but the time.
            except (RayActorError, DeploymentUnavailableError) as error:
                if attempt == _ATTEMPTS:
                    raise unavailable("The model's process died; it is being started again.") from error
        raise AssertionError("unreachable")

    async def predict(pieces: list[Piece]) -> Predicted:
        found: Predicted = await ask("predict", pieces)
        return found

    async def describe() -> ModelInfo:
        found: ModelInfo = await ask("describe")
        return found

    return predict, describe
