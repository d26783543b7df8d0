"""What can be set about the service: flags of `raysys serve`, and `args` in a configuration file of Ray Serve."""

from __future__ import annotations

from typing import Annotated, Self

import tyro
from pydantic import BaseModel, ConfigDict, model_validator

from raysys.config.check import require


class ServiceSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    """A model's folder, or a finished run's, or its address in an object store; every node must see it."""
    replicas: tuple[int, int] = (1, 1)
    """Copies of the model: at least, and at most, between which Serve scales by load."""
    gpus_per_replica: float | None = None
    """GPUs of each copy; 0.5 puts two on one. Default: 1 if the cluster has any, otherwise 0."""
    max_batch: int = 16
    """Requests that are computed together; 1: none are. It changes no probability."""
    batch_wait_ms: float = 10.0
    """How long a batch waits for more requests after its first."""
    max_seconds: float = 300.0
    """Longest recording, in seconds. Without segments, at most 40 of them are predicted as one."""
    max_megabytes: float = 25.0
    """Largest body of a request, in megabytes."""
    rate: float = 0.0
    """Predictions per minute for each client address; more are answered with 429. 0: any number."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        least, most = self.replicas
        require(
            1 <= least <= most, f"--replicas {least} {most}: expected two numbers, such as 1 4, the first at least 1."
        )
        for name in ("gpus_per_replica", "batch_wait_ms", "rate"):
            value = getattr(self, name)
            require(value is None or value >= 0, f"--{_flag(name)} is {value}; it cannot be negative.")
        require(self.max_batch >= 1, f"--max-batch is {self.max_batch}; at least 1 is needed.")
        for name in ("max_seconds", "max_megabytes"):
            value = getattr(self, name)
            require(value > 0, f"--{_flag(name)} is {value}; expected more than 0.")
        return self


def _flag(name: str) -> str:
    return name.replace("_", "-")
