"""Predictions on a real Ray cluster: killed, then terminated, they end with the file of an undisturbed run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from raysys.cli import TERMINATED
from raysys.inference import load_model, read_waveform
from tests.ray.conftest import ROOT, Head
from tests.test_inference import CLASSES, make, save

pytestmark = pytest.mark.cluster
N = 600
LIMIT_S = 300.0


def _start(head: Head, model: str, recordings: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "jobs" / "predict.py"), model, str(recordings), "--out", str(out)]
    return subprocess.Popen(
        command,
        env=head.environment | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _wait_for_shards(process: subprocess.Popen[str], parts: Path, n: int) -> None:
    end = time.monotonic() + LIMIT_S
    while len(list(parts.glob("shard-*"))) < n:
        assert process.poll() is None, process.communicate()[0][-4000:]
        assert time.monotonic() < end
        time.sleep(0.005)


def test_killed_and_terminated_it_ends_with_what_the_model_says_of_each_recording(head: Head, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    recordings = tmp_path / "recordings é"
    recordings.mkdir()
    for i in range(N):
        # Resampled, so that a shard takes a while.
        soundfile.write(recordings / f"{i:03d}.wav", 0.1 * generator.standard_normal(48_000), 48_000)
    (recordings / "100.wav").write_bytes(b"")
    model, out = save(make(modalities="audio"), tmp_path / "model"), tmp_path / "out.parquet"
    parts = Path(f"{out}.parts")

    process = _start(head, model, recordings, out)
    _wait_for_shards(process, parts, 2)
    process.kill()
    process.communicate()
    killed = {path.name: os.stat(path).st_mtime_ns for path in parts.glob("shard-*")}
    assert 2 <= len(killed) < 13 and not out.exists()

    process = _start(head, model, recordings, out)
    _wait_for_shards(process, parts, len(killed) + 1)
    process.terminate()
    said, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == TERMINATED, said[-4000:]
    assert "stopped by SIGTERM; the same command resumes where it stopped" in said
    after = {path.name: os.stat(path).st_mtime_ns for path in parts.glob("shard-*")}
    assert killed.items() <= after.items(), "what was done was not done again"

    process = _start(head, model, recordings, out)
    said, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, said[-4000:]
    begun = re.search(rf"files     {N} in 13 shards, (\d+) of them done before", said)
    assert begun is not None and int(begun[1]) >= 3 * 24, said
    assert re.search(r"time .* files/s, \d+ h of audio per hour", said)
    found = pq.read_table(out).to_pylist()
    assert [row["path"] for row in found] == [f"{recordings}/{i:03d}.wav" for i in range(N)]
    assert [row["path"] for row in found if row["note"]] == [f"{recordings}/100.wav"]
    loaded = load_model(model)
    for row in found[::67]:
        (alone_C,) = loaded.probabilities([read_waveform(row["path"])])
        np.testing.assert_allclose([row[f"p_{name}"] for name in CLASSES], alone_C, rtol=0, atol=1e-6)
    assert not parts.exists()
