"""A training worker's watchdog: a worker that makes no step ends itself, and one that is asked to stop does."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import ray

from raysys.errors import StorageError
from raysys.orchestrate.task import FoldTask
from raysys.storage import Folder

STOP = ".stop.json"
"""In the run's folder: whether its trials are to save their state and end. It is there from the start: a node that has
looked for a file of NFS in vain may not see it for a minute after it is made, but rereads what it has read."""
WORKER = "worker-{rank}.json"
"""In a trial's folder, while it trains: node and process of each of its workers."""
HUNG = "hung-{rank}.txt"
"""In a trial's folder: where each thread of a worker stood when its watchdog ended it."""
EVERY_S = 5.0


class Watchdog:
    """Asked before every batch. Enter it to arm it; it is disarmed on the way out.

    The interpreter's own watchdog does the work, from a thread that needs none of the interpreter's locks, so a step
    that hangs in C is ended too. It writes where each thread stood, and Tune starts the trial again, which then says
    so. A process that is stopped from outside (SIGSTOP) is not noticed; a lost node is Ray's to notice.

    Args:
        rank: of this worker.
        stops: whether it may stop within an epoch; of several workers none may stop alone.
    """

    def __init__(self, task: FoldTask, rank: int, *, stops: bool) -> None:
        self._task = task
        self._stops = stops
        self._limit_s = task.config.cluster.hang_limit_s
        self._worker = WORKER.format(rank=rank)
        self._trace = Path(task.folder.path) / HUNG.format(rank=rank) if task.folder.is_local else None
        self._asked = time.monotonic()

    def __enter__(self) -> Watchdog:
        me = {"node": ray.get_runtime_context().get_node_id(), "pid": os.getpid(), "at": time.time()}
        # For people, and tests: nothing here reads it.
        with contextlib.suppress(OSError, StorageError):
            self._task.folder.write_json(self._worker, me)
        self._file = self._opened()
        self.step()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None) -> None:
        faulthandler.cancel_dump_traceback_later()
        if self._file is not sys.__stderr__:
            self._file.close()
            assert self._trace is not None
            with contextlib.suppress(OSError):
                if self._trace.stat().st_size == 0:
                    self._trace.unlink()
        if kind is None:
            self._task.folder.delete(self._worker)

    def _opened(self) -> TextIO:
        assert sys.__stderr__ is not None
        if self._trace is None:
            return sys.__stderr__
        try:
            # Another attempt's traceback stays until it is reported.
            return self._trace.open("a")
        except OSError:
            return sys.__stderr__

    def __call__(self) -> bool:
        """A step is done. Returns: whether the run is to stop."""
        self.step()
        if time.monotonic() - self._asked < EVERY_S:
            return False
        self._asked = time.monotonic()
        return self._stops and to_stop(Folder.at(self._task.run))

    def step(self) -> None:
        """From now on the whole limit counts again."""
        faulthandler.dump_traceback_later(self._limit_s, exit=True, file=self._file)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """While the worker waits for the driver, which may stand still for as long as it likes."""
        faulthandler.cancel_dump_traceback_later()
        yield
        self.step()

    def earlier(self) -> str | None:
        """What the user should know of an earlier attempt that hung; once."""
        with contextlib.suppress(OSError):
            if self._trace is not None and (text := self._trace.read_text()):
                kept = self._trace.with_name(f"{self._trace.stem}-{time.time_ns()}.txt")
                kept.write_text(text)
                os.truncate(self._trace, 0)
                return (
                    f"no step for {self._limit_s:.0f} s; its process ended itself and was restarted. Where it stood is "
                    f"in {kept}"
                )
        return None


def tell(run: Folder, *, stop: bool) -> None:
    """Tell the workers of a run whether they are to stop."""
    run.write_json(STOP, {"stop": stop})


def to_stop(run: Folder) -> bool:
    """Whether the workers of a run are to stop; while the store does not answer they are not."""
    with contextlib.suppress(OSError):
        return bool(run.read_json(STOP)["stop"])
    return False
