"""Run jobs as a user does, each in its own process, and monitor them from outside.

Timestamps come from a run's files (`result.json`, `history.jsonl`), memory from /proc.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_JOBS = Path(__file__).resolve().parents[2] / "jobs"
_POLL_S = 0.5
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True, kw_only=True)
class Ran:
    """A finished job.

    Attributes:
        folder: folder of the run.
        started, seconds: start of the command (seconds since 1970), and its duration.
        driver_bytes: peak memory of the command's own process, without shared memory.
        trial_bytes: peak memory of a training process, without shared memory.
        store_bytes: peak shared memory mapped by any one process: the part of Ray's object store it used.
    """

    folder: Path
    started: float
    seconds: float
    driver_bytes: int = 0
    trial_bytes: int = 0
    store_bytes: int = 0

    def results(self) -> list[dict[str, Any]]:
        """Content of every trial's result.json."""
        return [json.loads(path.read_text()) for path in sorted(self.folder.glob("*/*/result.json"))]

    def histories(self) -> list[dict[str, Any]]:
        """All epochs of all trials, from history.jsonl."""
        files = sorted(self.folder.glob("*/*/history.jsonl"))
        return [json.loads(line) for path in files for line in path.read_text().splitlines()]

    @property
    def first_step_s(self) -> float:
        """Time from the start of the command to the end of the very first training step."""
        return min(float(result["first_step"]) for result in self.results()) - self.started


def run_job(job: str, root: Path, name: str, *flags: str, before: str = "") -> Ran:
    """Run `jobs/<job>.py` to completion.

    Args:
        root, name: --run.root and --run.name.
        before: Python code to run first in its process.

    Raises:
        RuntimeError: the job failed; with the end of its output.
    """
    path = str(_JOBS / f"{job}.py")
    code = f"{before}\nimport runpy, sys\nsys.argv[0] = {path!r}\nrunpy.run_path({path!r}, run_name='__main__')"
    command = [sys.executable, *(["-c", code] if before else [path]), *flags, "--track.no-wandb"]
    command += ["--run.root", str(root), "--run.name", name]
    log = root / f"{name}.log"
    root.mkdir(parents=True, exist_ok=True)
    started = time.time()
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        watch = _Watch(process.pid)
        watch.start()
        returned = process.wait()
        watch.stop()
    ran = Ran(folder=root / name, started=started, seconds=time.time() - started)
    ran.driver_bytes, ran.trial_bytes, ran.store_bytes = watch.driver, watch.trial, watch.store
    if returned != 0:
        raise RuntimeError(f"{' '.join(command)} ended with code {returned}:\n{log.read_text()[-2000:]}")
    return ran


class _Watch(threading.Thread):
    """Peak memory of a process and all its descendants."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._done = threading.Event()
        self.driver = self.trial = self.store = 0

    def run(self) -> None:
        while not self._done.wait(_POLL_S):
            for pid in descendants(self._pid):
                own, shared, title = _memory(pid)
                self.store = max(self.store, shared)
                if pid == self._pid:
                    self.driver = max(self.driver, own)
                elif "ImplicitFunc" in title or "RayTrainWorker" in title:
                    self.trial = max(self.trial, own)

    def stop(self) -> None:
        self._done.set()
        self.join()


def descendants(root: int) -> list[int]:
    """A process and all its descendants."""
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            parents[int(entry)] = int(stat.rsplit(")", 1)[1].split()[1])
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def _memory(pid: int) -> tuple[int, int, str]:
    """Private bytes, shared bytes and command line of a process."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()
        title = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return 0, 0, ""
    resident, shared = int(pages[1]), int(pages[2])
    return (resident - shared) * _PAGE_BYTES, shared * _PAGE_BYTES, title
