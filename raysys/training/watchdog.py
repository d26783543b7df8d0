"""A training worker's watchdog: ends a worker that makes no progress, and tells it when the run is to stop."""

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

from raysys.errors import StorageError
from raysys.storage import Folder

STOP = ".stop.json"
"""In the run's folder: whether its trials are to save their state and end. It exists from the start: over NFS a node
that looked for a file in vain may not see it for a minute after it appears, but it rereads a file that it knows."""
WORKER = "worker-{rank}.json"
"""In a trial's folder while it trains: node and process of each worker."""
HUNG = "hung-{rank}.txt"
"""In a trial's folder: where each thread of a worker was when its watchdog ended it."""
EVERY_S = 5.0


class Watchdog:
    """Called before every batch. Entering it arms it, leaving it disarms it.

    Python's faulthandler does the work, in a thread that needs no interpreter lock, so a step that hangs in C is ended
    too. It dumps the stack of each thread; Tune restarts the trial, which then reports the hang. A process that is
    stopped from outside (SIGSTOP) is not noticed; a lost node is noticed by Ray.

    Args:
        trial, run: folders of the trial and of its run.
        rank, node: this worker, and the node it is on.
        limit_s: seconds without progress after which the process ends.
        stops: whether it may stop within an epoch; one of several workers must not stop alone.
    """

    def __init__(self, trial: Folder, run: Folder, *, rank: int, node: str, limit_s: float, stops: bool) -> None:
        self._trial = trial
        self._run = run
        self._node = node
        self._stops = stops
        self._limit_s = limit_s
        self._worker = WORKER.format(rank=rank)
        self._trace = Path(trial.path) / HUNG.format(rank=rank) if trial.is_local else None
        self._asked = time.monotonic()

    def __enter__(self) -> Watchdog:
        # For people and tests: nothing here reads it.
        with contextlib.suppress(OSError, StorageError):
            self._trial.write_json(self._worker, {"node": self._node, "pid": os.getpid(), "at": time.time()})
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
            with contextlib.suppress(OSError, StorageError):
                self._trial.delete(self._worker)

    def _opened(self) -> TextIO:
        assert sys.__stderr__ is not None
        if self._trace is None:
            return sys.__stderr__
        try:
            # The dump of an earlier attempt stays until it is reported.
            return self._trace.open("a")
        except OSError:
            return sys.__stderr__

    def __call__(self) -> bool:
        """Report a step. Returns: whether the run is to stop."""
        self.step()
        if time.monotonic() - self._asked < EVERY_S:
            return False
        self._asked = time.monotonic()
        return self._stops and to_stop(self._run)

    def step(self) -> None:
        """Report progress: the time limit starts again."""
        faulthandler.dump_traceback_later(self._limit_s, exit=True, file=self._file)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Suspend the limit while the worker waits for the driver, which may take as long as it likes."""
        faulthandler.cancel_dump_traceback_later()
        yield
        self.step()

    def earlier(self) -> str | None:
        """A note for the user on an earlier attempt that hung; once."""
        with contextlib.suppress(OSError):
            if self._trace is not None and (text := self._trace.read_text()):
                kept = self._trace.with_name(f"{self._trace.stem}-{time.time_ns()}.txt")
                kept.write_text(text)
                os.truncate(self._trace, 0)
                return (
                    f"no step for {self._limit_s:.0f} s; the process ended itself and was restarted. Its stack is in "
                    f"{kept}"
                )
        return None


def tell(run: Folder, *, stop: bool) -> None:
    """Tell the workers of a run whether they are to stop."""
    run.write_json(STOP, {"stop": stop})


def to_stop(run: Folder) -> bool:
    """Whether the workers of a run are to stop; not while the store does not respond."""
    with contextlib.suppress(OSError, StorageError):
        return bool(run.read_json(STOP)["stop"])
    return False
