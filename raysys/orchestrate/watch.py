"""The driver's view of its trials: what it reports of them, which it retries, what it does on SIGTERM and Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from ray import tune

from raysys.errors import StorageError
from raysys.orchestrate.task import FoldTask
from raysys.orchestrate.trial import MAX_FAILURES
from raysys.orchestrate.watchdog import tell
from raysys.storage import Folder
from raysys.termination import Terminated, note

_IDLE_S = 60.0
"""Seconds without a running trial before this is reported; normally the next one starts within seconds."""
_GRACE_S = 20.0
"""Seconds that trials have to save their state after SIGTERM; Kubernetes and most spot machines give 30 in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a trial has no result.

    Attributes:
        its_own: of the training itself, which would fail again; else machines or storage did it.
    """

    message: str
    its_own: bool

    def __str__(self) -> str:
        return self.message


class Watch(tune.Callback):
    """Tune tells it which trials run, and what they report.

    Args:
        tasks: by the number that Tune's trials have.
        screen: what has to be said goes there.

    Attributes:
        errors: what users must fix, by the trial's number.
        stopping: what is to be raised, once SIGTERM or Ctrl-C came.
    """

    def __init__(self, tasks: Sequence[FoldTask], screen: TextIO) -> None:
        self.errors: dict[int, Failure] = {}
        self._tasks = tasks
        self._screen = screen
        self.stopping: type[KeyboardInterrupt] | None = None
        self._awaited: set[int] | None = None
        self._end = 0.0
        self._running: set[int] = set()
        self._idle_since: float | None = time.monotonic()

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks into its own folder, where nobody reads them.
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._running.add(trial.config["task"])
        self._idle_since = None

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._forget(trial.config["task"])
        self._say(self._tasks[trial.config["task"]], "its process was lost; it resumes from its last checkpoint")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._forget(trial.config["task"])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._forget(trial.config["task"])

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if "epoch" in result:
            # It gets on: only faults without an epoch between them are too many.
            trial.max_failures = trial.num_failures + MAX_FAILURES
        if "error" in result:
            # What a user must fix fails again the next time. The process ends: its state is unknown.
            trial.max_failures = 0
            self.errors[trial.config["task"]] = Failure(message=result["error"], its_own=result["its_own"])
        if said := result.get("note"):
            self._say(self._tasks[trial.config["task"]], said)

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if self.stopping:
            self._pause()
        self._say_idleness()

    def _say_idleness(self) -> None:
        """Once each time: a cluster may be on its way to more nodes, or wait for what will never come."""
        if self._idle_since is None or time.monotonic() - self._idle_since < _IDLE_S:
            return
        self._idle_since = None
        settings = self._tasks[0].config.cluster
        print(
            f"note      no trial runs for {_IDLE_S:.0f} s: processes are slow to start here, or wait for a node with "
            f"{settings.reserved_cpus} free CPUs, and GPUs, for a worker (`ray status` shows what is free)",
            file=self._screen,
            flush=True,
        )

    def stop(self, which: int, *_: object) -> None:
        """Handle SIGTERM and Ctrl-C. `on_step_begin` acts on it, between two steps of Tune's loop: raised within
        Ray's code, an exception may be lost. A second Ctrl-C does not wait.
        """
        if which == signal.SIGTERM:
            note()
            self.stopping = Terminated
        else:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self.stopping = self.stopping or KeyboardInterrupt

    def _pause(self) -> None:
        """Ask all trials to save their state; Tune continues until single-process trials have, or time is up.

        Raises:
            KeyboardInterrupt: then; for SIGTERM as `Terminated`.
        """
        assert self.stopping is not None
        if self._awaited is None:
            print(
                f"note      saving the state of all trials, {_GRACE_S:.0f} s at most",
                file=self._screen,
                flush=True,
            )
            # On a full disk the request gets lost, and each trial resumes from its last complete epoch.
            with contextlib.suppress(StorageError):
                tell(Folder.at(self._tasks[0].run), stop=True)
            self._awaited = {n for n in self._running if self._tasks[n].config.cluster.workers_per_trial == 1}
            self._end = time.monotonic() + _GRACE_S
        self._awaited &= self._running
        if not self._awaited or time.monotonic() > self._end:
            raise self.stopping

    def _forget(self, number: int) -> None:
        self._running.discard(number)
        if not self._running:
            self._idle_since = time.monotonic()

    def _say(self, task: FoldTask, what: str) -> None:
        named = ", ".join(filter(None, [task.point, f"fold {task.fold + 1}"]))
        print(f"note      {named}: {what}", file=self._screen, flush=True)
