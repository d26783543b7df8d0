"""The soak test: the main job on the demo corpus while its processes are killed, compared with an undisturbed run.

Every 20 seconds a trial, training or data process gets SIGKILL, eight times; after the third and the sixth, the driver
is killed too, and the same command is run again. `uv run python tests/soak.py`; about 15 minutes on two cores.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq

from raysys.bench.commands import descendants

ROOT = Path(__file__).resolve().parents[1]
EVERY_S = 20.0
KILLS = 8
DRIVERS_AFTER = (3, 6)
WORKERS = (b"ray::ImplicitFunc", b"ray::MapBatches", b"ray::_make", b"ray::RayTrainWorker")


def start(root: Path, name: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(ROOT / "jobs" / "crossval.py"), "--run.root", str(root), "--run.name", name]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL)


def finish(process: subprocess.Popen[bytes]) -> None:
    if process.wait() != 0:
        raise SystemExit(f"the job ended with {process.returncode}")


def workers(driver: int) -> dict[int, str]:
    """The processes of a run that train or run its data tasks."""
    found: dict[int, str] = {}
    for pid in descendants(driver):
        try:
            title = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if title.startswith(WORKERS):
            found[pid] = title.rstrip(b"\0").decode()
    return found


def disturb(root: Path, chance: random.Random) -> None:
    process = start(root, "disturbed")
    began, done = time.monotonic(), 0
    while done < KILLS:
        time.sleep(EVERY_S)
        if process.poll() is not None:
            raise SystemExit(f"it ended with {process.returncode} after {done} kills")
        there = workers(process.pid)
        if not there:
            continue
        pid = chance.choice(sorted(there))
        os.kill(pid, signal.SIGKILL)
        done += 1
        print(f"soak      {time.monotonic() - began:.0f} s: killed {there[pid]} ({pid})", flush=True)
        if done in DRIVERS_AFTER:
            time.sleep(EVERY_S / 2)
            process.kill()
            process.wait()
            print(f"soak      {time.monotonic() - began:.0f} s: killed the driver; the same command again", flush=True)
            process = start(root, "disturbed")
    finish(process)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        disturb(root, random.Random(0))
        finish(start(root, "undisturbed"))
        one, other = (pq.read_table(root / name / "predictions.parquet") for name in ("disturbed", "undisturbed"))
        if not one.equals(other):
            raise SystemExit("soak: the predictions differ")
        print(f"soak: {one.num_rows} predictions, the same to the bit")


if __name__ == "__main__":
    main()
