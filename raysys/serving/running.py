"""Start the service on the cluster that this process has joined, and keep it until it is told to stop."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import socket
import time
from collections.abc import Iterator

from ray import serve
from ray.exceptions import RayError

from raysys.errors import ClusterError, ConfigError
from raysys.serving.app import application
from raysys.serving.settings import ServiceSettings

_NAME = "raysys"
_POLL_S = 2.0
_KEEP_ALIVE_S = 15


def allow_slow_starts() -> None:
    """Have Ray Serve, which kills an HTTP process that is not up after 5 s, wait for a minute; before Ray starts."""
    os.environ.setdefault("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "60")


def refuse_open_host(host: str, token: str | None) -> None:
    """Raises: ConfigError: other machines reach the address, and no token is asked of them."""
    if token is None and not is_loopback(host):
        raise ConfigError(
            f"--host {host}: other machines reach it, so clients must send a token. Add --token-file FILE, or set "
            f"RAYSYS_SERVE_TOKEN (openssl rand -hex 32 makes one); or leave out --host for this machine alone."
        )


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refuse_port_in_use(host: str, port: int) -> None:
    """Raises: ConfigError: this machine has no such address, or another program uses the port."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"--host {host} --port {port}: cannot be used ({error}). Give another --port, such as {port % 60000 + 1}, "
            f"or an address of this machine."
        ) from error


@contextlib.contextmanager
def serving(settings: ServiceSettings, token: str | None, host: str, port: int, *, leave: bool) -> Iterator[None]:
    """Serve for the duration of the block.

    Args:
        token: SHA-256 of what clients must send; None: they need none.
        leave: the cluster outlives this process, so Serve is ended there.

    Raises:
        ClusterError: Serve already runs on the cluster, or the service does not start.
    """
    if serve.status().proxies:
        raise ClusterError(
            "Ray Serve already runs on this cluster, and its address cannot be changed. End it there (`serve "
            "shutdown`), or add this service to its configuration file: cluster/kuberay/ray-service.yaml shows how."
        )
    # Where it runs and what becomes of it are reported here, in this command's own words.
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    quiet = {"log_level": "WARNING", "enable_access_log": False}
    try:
        try:
            serve.start(
                proxy_location="HeadOnly",
                http_options={"host": host, "port": port, "keep_alive_timeout_s": _KEEP_ALIVE_S},
                logging_config=quiet,
            )
            serve.run(application(settings, token), name=_NAME, logging_config=quiet)
        # Serve has no class for what keeps a deployment from starting.
        except (RuntimeError, TimeoutError, RayError) as error:
            raise ClusterError(f"The service does not start ({error}). {_why()}".rstrip()) from error
        yield
    finally:
        if leave:
            serve.shutdown()


def watch() -> None:
    """Report what becomes of the service, until this process is told to stop.

    Raises:
        ClusterError: it was ended on the cluster, not by this process.
    """
    said = "RUNNING"
    while True:
        time.sleep(_POLL_S)
        state = serve.status().applications.get(_NAME)
        if state is None:
            raise ClusterError(
                "The service was ended on its cluster (`serve shutdown`?). The same command serves again."
            )
        if state.status != said:
            said = state.status
            print(f"note      the service is {said.lower().replace('_', ' ')} {state.message}".rstrip(), flush=True)


def _why() -> str:
    found = serve.status().applications.get(_NAME)
    messages = [] if found is None else [found.message, *(d.message for d in found.deployments.values())]
    return " ".join(filter(None, messages))[-600:]
