"""How many requests a served model answers, and how long each takes: batched and one by one."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from raysys.bench.measure import Row, row_of

CLIENTS = (1, 8, 32)
_START_S = 600.0
_WARM = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """Attributes:
    which: number of the body that was sent.
    status: of the response; 0: the connection failed.
    """

    which: int
    seconds: float
    status: int
    probabilities: dict[str, float]


def serving_rows(model: str, bodies: Sequence[bytes], *, requests: int) -> Iterator[list[Row]]:
    """Rows for each way to serve.

    Args:
        model: as `raysys serve` takes it.
        bodies: audio files, all sent equally often.
        requests: in each measurement.
    """
    for name, max_batch in (("batched", 16), ("one_by_one", 1)):
        with served(model, "--max-batch", str(max_batch)) as port:
            load(port, bodies, clients=8, requests=_WARM)
            before = _replica_bytes()
            for clients in CLIENTS:
                yield _rows(f"serve_{name}_{clients}", port, bodies, clients, requests)
            grown = (_replica_bytes() - before) / 2**20
            note = f"of the replicas, over {requests * len(CLIENTS)} requests"
            yield [row_of(f"serve_{name}_memory_growth", [grown], "MiB", note)]


def _rows(name: str, port: int, bodies: Sequence[bytes], clients: int, requests: int) -> list[Row]:
    started = time.perf_counter()
    answered = load(port, bodies, clients=clients, requests=requests)
    seconds = time.perf_counter() - started
    failed = sum(answer.status != 200 for answer in answered)
    times_ms = [1000 * answer.seconds for answer in answered]
    cuts = statistics.quantiles(times_ms, n=100, method="inclusive")
    note = f"{clients} clients, {failed} of {requests} not answered"
    rows = [row_of(name, [(requests - failed) / seconds], "requests/s", note)]
    return rows + [row_of(f"{name}_p{p}", [cuts[p - 1]], "ms") for p in (50, 95, 99)]


@contextlib.contextmanager
def served(model: str, *flags: str) -> Iterator[int]:
    """`raysys serve` on a free port, as a user starts it, until the block ends.

    Raises:
        RuntimeError: it does not start; with its output.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "raysys", "serve", model, "--port", str(port), *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    said: list[str] = []
    # Read to the end, or the process would wait for its reader.
    reader = threading.Thread(target=lambda: said.extend(process.stdout or ()), daemon=True)
    reader.start()
    try:
        end = time.monotonic() + _START_S
        while not any(line.startswith("serving") for line in said):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the service did not start:\n{''.join(said)[-2000:]}")
            time.sleep(0.2)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def load(port: int, bodies: Sequence[bytes], *, clients: int, requests: int) -> list[Answered]:
    """Ask for predictions by several clients at once, each with one connection and one request at a time."""
    found: list[Answered] = []
    turns = itertools.count()
    lock = threading.Lock()

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        while True:
            with lock:
                turn = next(turns)
            if turn >= requests:
                connection.close()
                return
            answer = _ask(connection, turn % len(bodies), bodies)
            with lock:
                found.append(answer)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def _ask(connection: http.client.HTTPConnection, which: int, bodies: Sequence[bytes]) -> Answered:
    started = time.perf_counter()
    try:
        connection.request("POST", "/v1/predict", bodies[which], {"Content-Type": "audio/wav"})
        response = connection.getresponse()
        status, said = response.status, json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError):
        connection.close()
        status, said = 0, {}
    seconds = time.perf_counter() - started
    return Answered(which=which, seconds=seconds, status=status, probabilities=said.get("probabilities", {}))


def replicas(deployment: str = "") -> list[int]:
    """Processes on this machine that are copies of one of the service's deployments."""
    title = f"ray::ServeReplica:raysys:{deployment}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        # It may end meanwhile.
        with contextlib.suppress(OSError):
            if (folder / "cmdline").read_bytes().startswith(title):
                found.append(int(folder.name))
    return found


def _replica_bytes() -> int:
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in replicas()]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE")
