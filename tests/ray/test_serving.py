"""A served model on a real Ray cluster: batches, bad bodies, a copy that is killed under load, and its end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from raysys.bench.serving import load, replicas
from raysys.inference import load_model, read_waveform
from tests.ray.conftest import ROOT, Head, _free_ports
from tests.serving.client import encoded, speech
from tests.test_inference import make, save

pytestmark = pytest.mark.cluster
SECONDS = (0.3, 1.0, 2.2, 0.7, 3.1, 1.6, 5.0, 0.5)


def _start(head: Head, model: str, port: int, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "jobs/serve.py", model, "--port", str(port), "--replicas", "2", "2"]
    command += ["--max-batch", "8", "--batch-wait-ms", "100", "--max-megabytes", "1"]
    with log.open("wb") as output:
        return subprocess.Popen(command, cwd=ROOT, env=head.environment, stdout=output, stderr=subprocess.STDOUT)


def _wait(process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 300
    while "\nserving   http://127.0.0.1:" not in log.read_text():
        assert process.poll() is None and time.monotonic() < end, log.read_text()[-2000:]
        time.sleep(0.5)


def _said(port: int, chunks: list[bytes]) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        for chunk in chunks:
            connection.sendall(chunk)
        return connection.recv(4096)


def _models(head: Head) -> list[int]:
    home = f"HOME={head.environment['HOME']}".encode()
    return [pid for pid in replicas("model") if home in Path(f"/proc/{pid}/environ").read_bytes()]


def test_a_served_model_answers_like_the_model_until_it_is_told_to_stop(head: Head, tmp_path: Path) -> None:
    location = save(make(modalities="audio"), tmp_path / "model")
    (port,), log = _free_ports(1), tmp_path / "log"
    process = _start(head, location, port, log)
    try:
        _wait(process, log)
        bodies = [encoded(speech(seconds, seed=i)) for i, seconds in enumerate(SECONDS)]
        _check_answers(location, port, bodies, tmp_path)
        headers = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: audio/wav\r\n"
        million = b"f4240\r\n" + bytes(1_000_000) + b"\r\n"
        assert b" 413 " in _said(port, [headers + b"Transfer-Encoding: chunked\r\n\r\n", million, million])
        assert b" 413 " in _said(port, [headers + b"Content-Length: 9999999\r\n\r\n"])
        second = subprocess.run(
            [sys.executable, "jobs/serve.py", location, "--port", str(port + 1)],
            cwd=ROOT,
            env=head.environment,
            capture_output=True,
            text=True,
        )
        assert second.returncode == 2 and "Ray Serve already runs on this cluster" in second.stderr
        _check_kill(head, location, port, bodies, tmp_path)
        process.send_signal(signal.SIGTERM)
        assert process.wait(90) == 75
        assert log.read_text().rstrip().endswith("stopped")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)
    finally:
        process.kill()


def _expected(location: str, bodies: list[bytes], folder: Path) -> np.ndarray:
    model = load_model(location)
    rows = []
    for body in bodies:
        (folder / "body.wav").write_bytes(body)
        rows.append(model.probabilities([read_waveform(str(folder / "body.wav"))])[0])
    return np.stack(rows)


def _check_answers(location: str, port: int, bodies: list[bytes], folder: Path) -> None:
    """Requests of unlike length share batches, and each has the probabilities that it has alone."""
    expected_NC = _expected(location, bodies, folder)
    answered = load(port, bodies, clients=16, requests=64)
    assert {answer.status for answer in answered} == {200} and len(answered) == 64
    for answer in answered:
        np.testing.assert_allclose(list(answer.probabilities.values()), expected_NC[answer.which], rtol=0, atol=1e-6)
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    values = {
        name: float(value) for name, value in (line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    }
    assert values['raysys_requests_total{status="200"}'] == values["raysys_batch_size_count"] == 64
    assert values["raysys_batch_size_sum"] > 2 * 64, "hardly any request shared a batch"
    assert values["raysys_audio_seconds_total"] == pytest.approx(8 * sum(SECONDS))


def _check_kill(head: Head, location: str, port: int, bodies: list[bytes], folder: Path) -> None:
    """One of two copies is killed under load: no answer is wrong, and few requests are not answered."""
    expected_NC = _expected(location, bodies, folder)
    victim = _models(head)[0]
    killing = threading.Timer(1.0, os.kill, (victim, signal.SIGKILL))
    killing.start()
    answered = load(port, bodies, clients=8, requests=400)
    assert not killing.is_alive(), "nothing was asked any more when it was killed"
    assert victim not in _models(head)
    for answer in answered:
        assert answer.status in (200, 503)
        if answer.status == 200:
            np.testing.assert_allclose(
                list(answer.probabilities.values()), expected_NC[answer.which], rtol=0, atol=1e-6
            )
    assert sum(answer.status == 503 for answer in answered) <= 8
    end = time.monotonic() + 180
    while len(_models(head)) < 2:
        assert time.monotonic() < end, "the copy was not started again"
        time.sleep(1)
