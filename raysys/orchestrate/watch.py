"""The driver's side of watching trials: those that hang are restarted, and all are given time when SIGTERM comes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TextIO

import ray
from ray import tune
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raysys.errors import StorageError
from raysys.orchestrate.pulse import BEATS, born, tell
from raysys.orchestrate.task import FoldTask
from raysys.orchestrate.trial import MAX_FAILURES
from raysys.storage import Folder
from raysys.termination import Terminated, note

_LOOK_S = 5.0
_LOOKS = 60
"""How often a worker is looked at, at most, before it counts as hanging: for hundreds of trials in an object store each
look takes seconds, in which Tune stands still."""
_IDLE_S = 60.0
"""So long may pass without a trial before it is said; one ends and the next starts within seconds."""
_GRACE_S = 20.0
"""How long trials may take to keep their state after SIGTERM; Kubernetes and most spot machines give 30 s in all."""


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
    """Tune tells it which trials run; their files tell it how.

    Args:
        tasks: by the number that Tune's trials have.
        limit_s: longest time between two signs of life of a training worker.
        screen: what has to be said goes there.

    Attributes:
        errors: what users must fix, by the trial's number.
        stopping: what is to be raised, once SIGTERM or Ctrl-C came.
    """

    def __init__(self, tasks: Sequence[FoldTask], limit_s: float, screen: TextIO) -> None:
        self.errors: dict[int, Failure] = {}
        self._tasks = tasks
        self._limit_s = limit_s
        self._every_s = max(_LOOK_S, limit_s / _LOOKS)
        self._screen = screen
        self.stopping: type[KeyboardInterrupt] | None = None
        self._awaited: set[int] | None = None
        self._end = 0.0
        self._stepped = self._looked = time.monotonic()
        self._lived_s = 0.0
        self._running: set[int] = set()
        self._idle_since: float | None = self._looked
        self._seen: dict[tuple[int, str], tuple[bytes, float]] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks into its own folder, where nobody reads them.
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._running.add(trial.config["task"])
        self._idle_since = None

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._forget(trial.config["task"])
        self._say(self._tasks[trial.config["task"]], "its process was lost; it goes on from its last checkpoint")

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
        now = time.monotonic()
        # While this process stood still, trials may have waited for it.
        self._lived_s += min(now - self._stepped, self._limit_s / 4)
        self._stepped = now
        if now - self._looked < self._every_s:
            return
        self._looked = now
        for number in self._running:
            # A store that does not answer for a while is no reason to end a run.
            with contextlib.suppress(OSError, StorageError):
                self._look(number)

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
        """Ask all trials to keep their state; Tune goes on until those of one process have, or the grace is over.

        Raises:
            KeyboardInterrupt: then; for SIGTERM as `Terminated`.
        """
        assert self.stopping is not None
        if self._awaited is None:
            print(
                f"note      trials are asked to keep their state, {_GRACE_S:.0f} s at most",
                file=self._screen,
                flush=True,
            )
            # On a full disk nobody hears of it, and each goes on from its last whole epoch.
            with contextlib.suppress(StorageError):
                tell(Folder.at(self._tasks[0].run), stop=True)
            self._awaited = {n for n in self._running if self._tasks[n].config.cluster.workers_per_trial == 1}
            self._end = time.monotonic() + _GRACE_S
        self._awaited &= self._running
        if not self._awaited or time.monotonic() > self._end:
            raise self.stopping

    def _look(self, number: int) -> None:
        folder, now = self._tasks[number].folder, self._lived_s
        for name in folder.names():
            if not name.startswith(BEATS):
                continue
            try:
                beat = folder.read_bytes(name)
            except FileNotFoundError:
                continue  # it has just ended
            before, since = self._seen.get((number, name), (b"", now))
            if beat != before:
                self._seen[number, name] = beat, now
            elif now - since > self._limit_s:
                self._say(self._tasks[number], f"no step for {now - since:.0f} s; its process is killed and restarted")
                del self._seen[number, name]
                folder.delete(name)
                _end(json.loads(beat))

    def _forget(self, number: int) -> None:
        self._running.discard(number)
        if not self._running:
            self._idle_since = time.monotonic()
        for key in [key for key in self._seen if key[0] == number]:
            del self._seen[key]

    def _say(self, task: FoldTask, what: str) -> None:
        named = ", ".join(filter(None, [task.point, f"fold {task.fold + 1}"]))
        print(f"note      {named}: {what}", file=self._screen, flush=True)


def _end(worker: dict[str, Any]) -> None:
    """Kill a worker on its node. A process that does not answer answers no softer signal either."""
    if worker["node"] == ray.get_runtime_context().get_node_id():
        _kill(worker["pid"], worker["born"])
        return
    strategy = NodeAffinitySchedulingStrategy(worker["node"], soft=False)
    remote = ray.remote(num_cpus=0)(_kill).options(scheduling_strategy=strategy)
    # A node that is gone took the worker with it.
    with contextlib.suppress(RayError):
        ray.get(remote.remote(worker["pid"], worker["born"]), timeout=_GRACE_S)


def _kill(pid: int, its_birth: str) -> None:
    if born(pid) == its_birth:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
