"""Serve a trained model over HTTP, with a page to try it, until it is stopped.

Example: serve runs/mine --port 8080
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import tyro

from raysys.cli import TERMINATED, exit_codes
from raysys.config import ClusterConfig, ExperimentConfig
from raysys.errors import ConfigError
from raysys.serving.settings import ServiceSettings
from raysys.termination import came

if TYPE_CHECKING:
    from raysys.inference import EmotionModel, Ensemble


@dataclass(frozen=True, kw_only=True)
class Serve:
    settings: Annotated[ServiceSettings, tyro.conf.arg(name="")]
    host: str = "127.0.0.1"
    """Address to listen on. Any but this machine's own needs a token. In a cluster it is the head's."""
    port: int = 8000
    """Port to listen on."""
    token_file: str | None = None
    """File with the token that clients must send. Default: $RAYSYS_SERVE_TOKEN, otherwise none."""
    address: str | None = None
    """Address of a running Ray cluster. Default: the cluster that a submitted job runs in; otherwise start one here."""


def run(command: Serve) -> None:
    """Raises: ConfigError, ModelFolderError, StorageError, ClusterError: before anything is served."""
    refuse_missing_packages()
    from raysys.runs.cluster import in_submitted_job, running
    from raysys.serving.running import allow_slow_starts, refuse_open_host, refuse_port_in_use, serving, watch
    from raysys.serving.token import token_digest
    from raysys.storage import absolute

    token = token_digest(command.token_file)
    refuse_open_host(command.host, token)
    settings = command.settings.model_copy(update={"model": absolute(command.settings.model)})
    if command.address is None and not in_submitted_job():
        refuse_port_in_use(command.host, command.port)
    print(f"model     {_checked(settings.model)!r}", flush=True)
    allow_slow_starts()
    with (
        running(ExperimentConfig(cluster=ClusterConfig(address=command.address))) as cluster,
        # A cluster that may grow is not this process's own.
        serving(settings, token, command.host, command.port, leave=cluster.may_grow),
    ):
        host = f"[{command.host}]" if ":" in command.host else command.host
        print(f"serving   http://{host}:{command.port}  (Ctrl-C stops)", flush=True)
        watch()


def refuse_missing_packages() -> None:
    """Raises: ConfigError: the extra `serve` is not installed."""
    missing = [name for name in ("fastapi", "uvicorn", "python_multipart") if find_spec(name) is None]
    if missing:
        raise ConfigError(f"serve needs {', '.join(missing)}: pip install 'raysys[serve]', on all nodes.")


def _checked(location: str) -> EmotionModel | Ensemble:
    """Load the model here first: what is wrong with it is said at once, and not by every node."""
    from raysys.inference import load_model

    return load_model(location)


def main() -> None:
    with exit_codes():
        command = tyro.cli(Serve, description=__doc__, config=(tyro.conf.AvoidSubcommands,))
        try:
            run(command)
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
            raise SystemExit(TERMINATED if came() else 130) from None
