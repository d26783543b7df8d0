"""Where a service may listen, and what is reported when it ends elsewhere; none of it starts Ray."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray.exceptions import ActorDiedError
from ray.serve._private import constants

from raysys.errors import ClusterError, ConfigError
from raysys.serving import running
from raysys.serving.running import allow_slow_starts, is_loopback, refuse_open_host, refuse_port_in_use, serving
from raysys.serving.settings import ServiceSettings
from raysys.serving.token import digest

LONG = "0123456789abcdef"


@pytest.mark.parametrize(
    ("host", "own"), [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("10.0.0.1", False)]
)
def test_other_machines_need_a_token(host: str, own: bool) -> None:
    assert is_loopback(host) == own
    refuse_open_host(host, digest(LONG))
    if own:
        refuse_open_host(host, None)
    else:
        with pytest.raises(ConfigError, match=f"--host {re.escape(host)}: other machines reach it"):
            refuse_open_host(host, None)


def test_an_address_of_another_machine_cannot_be_served() -> None:
    with pytest.raises(ConfigError, match="cannot be used"):
        refuse_port_in_use("192.0.2.1", 8000)


def test_a_port_in_use_is_named_before_the_start() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"--port {port}: cannot be used"):
            refuse_port_in_use("127.0.0.1", port)
    refuse_port_in_use("127.0.0.1", port)


def test_changes_are_reported_and_a_service_that_somebody_ended_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    states = [("RUNNING", ""), ("UNHEALTHY", "a copy died"), ("UNHEALTHY", "a copy died"), ("RUNNING", ""), None]
    coming = iter(states)

    def status() -> SimpleNamespace:
        state = next(coming)
        found = {} if state is None else {"raysys": SimpleNamespace(status=state[0], message=state[1])}
        return SimpleNamespace(applications=found)

    monkeypatch.setattr(running, "_POLL_S", 0.0)
    monkeypatch.setattr(running.serve, "status", status)
    with pytest.raises(ClusterError, match="was ended on its cluster"):
        running.watch()
    said = ["note      the service is unhealthy a copy died", "note      the service is running"]
    assert capsys.readouterr().out.splitlines() == said


def test_an_http_process_that_dies_at_its_start_is_an_error_and_not_a_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start(**_: object) -> None:
        raise ActorDiedError

    monkeypatch.setattr(running.serve, "status", lambda: SimpleNamespace(proxies={}, applications={}))
    monkeypatch.setattr(running.serve, "start", start)
    service = serving(ServiceSettings(model="/a/model"), None, "127.0.0.1", 8000, leave=False)
    with pytest.raises(ClusterError, match="The service does not start"), service:
        pytest.fail("it serves")


def test_an_http_process_may_take_longer_to_start_than_ray_serve_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S"
    monkeypatch.delenv(name, raising=False)
    allow_slow_starts()
    # Another name, another meaning in a later Ray: then this has no effect.
    assert name in Path(constants.__file__).read_text()
    assert float(os.environ[name]) >= 60
    monkeypatch.setenv(name, "7")
    allow_slow_starts()
    assert os.environ[name] == "7"
