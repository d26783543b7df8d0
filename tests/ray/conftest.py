"""One Ray cluster with token authentication for all full-stack tests, private to the test session."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Head:
    """A running head: where it is, and the environment that its clients need."""

    address: str
    dashboard: str
    environment: dict[str, str]


def _free_ports(n: int) -> list[int]:
    sockets = [socket.socket() for _ in range(n)]
    try:
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]
    finally:
        for s in sockets:
            s.close()


def _wait(dashboard: str, process: subprocess.Popen[bytes], log: Path, limit_s: float = 120) -> None:
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(f"{dashboard}/api/version", timeout=2)
            return
        except urllib.error.HTTPError:
            return  # it answers, and wants the token
        except OSError:
            time.sleep(0.5)
    raise RuntimeError(f"the head did not start:\n{log.read_text()[-2000:]}")


@pytest.fixture(scope="session")
def head() -> Iterator[Head]:
    """`ray start --head` with token authentication, 4 logical CPUs, its own temporary folder and home."""
    # Unix sockets below it: the path must be short.
    folder = Path(tempfile.mkdtemp(prefix="rs", dir="/tmp"))
    port, dashboard_port, client_port, agent_port = _free_ports(4)
    environment = os.environ | {
        "HOME": str(folder),
        "RAY_ADDRESS": f"127.0.0.1:{port}",
        "RAY_worker_niceness": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "180",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "WANDB_MODE": "offline",
        # Nobody's, to be looked for where it must not be.
        "WANDB_API_KEY": secrets.token_hex(20),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    command = ["ray", "start", "--head", "--block", f"--port={port}", "--dashboard-host=127.0.0.1"]
    command += [f"--dashboard-port={dashboard_port}", f"--ray-client-server-port={client_port}"]
    command += [f"--dashboard-agent-listen-port={agent_port}", "--num-cpus=4", f"--temp-dir={folder / 'ray'}"]
    command += ["--object-store-memory=500000000", "--node-ip-address=127.0.0.1"]
    log = folder / "head.log"
    started = {k: v for k, v in environment.items() if k != "RAY_ADDRESS"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            # A job that brings no working directory runs in the head's.
            command,
            env=started,
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    dashboard = f"http://127.0.0.1:{dashboard_port}"
    try:
        _wait(dashboard, process, log)
        yield Head(f"127.0.0.1:{port}", dashboard, environment)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        # What the head started outlives it otherwise, for some seconds.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def joined(head: Head, monkeypatch: pytest.MonkeyPatch) -> Head:
    """This process's environment set so that `crossval` joins the test session's head."""
    for name, value in head.environment.items():
        if name != "HOME":
            monkeypatch.setenv(name, value)
    return head
