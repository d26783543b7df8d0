"""A training worker's side of being watched: it says that it lives, and hears when the run is to stop."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

import ray

from raysys.errors import StorageError
from raysys.orchestrate.task import FoldTask
from raysys.storage import Folder

STOP = ".stop.json"
"""In the run's folder: whether its trials are to keep their state and end. It is there from the start: a node that has
looked for a file of NFS in vain may not see it for a minute after it is made, but rereads what it has read."""
BEATS = "beat-"
"""In a trial's folder, a file for each of its workers that trains."""
EVERY_S = 5.0


class Pulse:
    """Asked before every batch; every five seconds it looks and writes.

    Args:
        rank: of this worker.
        stops: whether it may stop within an epoch; of several workers none may stop alone.
    """

    def __init__(self, task: FoldTask, rank: int, *, stops: bool) -> None:
        self._task = task
        self._name = f"{BEATS}{rank}.json"
        self._stops = stops
        self._me: dict[str, Any] = {
            "node": ray.get_runtime_context().get_node_id(),
            "pid": os.getpid(),
            "born": born(os.getpid()),
        }
        self._write()

    def __call__(self) -> bool:
        """Whether the run is to stop."""
        now = time.monotonic()
        if now - self._last < EVERY_S:
            return False
        self.beat()
        return self._stops and to_stop(Folder.at(self._task.run))

    def beat(self) -> None:
        """Show that this worker lives. A store that does not answer now is asked again in five seconds."""
        with contextlib.suppress(OSError, StorageError):
            self._write()

    def _write(self) -> None:
        self._last = time.monotonic()
        self._task.folder.write_json(self._name, self._me | {"at": time.time()})

    def end(self) -> None:
        """Nobody need watch this worker any more."""
        self._task.folder.delete(self._name)


def tell(run: Folder, *, stop: bool) -> None:
    """Tell the workers of a run whether they are to stop."""
    run.write_json(STOP, {"stop": stop})


def to_stop(run: Folder) -> bool:
    """Whether the workers of a run are to stop; while the store does not answer they are not."""
    with contextlib.suppress(OSError):
        return bool(run.read_json(STOP)["stop"])
    return False


def born(pid: int) -> str:
    """When a process of this machine began, in the kernel's own count, so that a later one of its number is another."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except OSError:
        return ""
