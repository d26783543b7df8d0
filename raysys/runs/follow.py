"""The driver's view of its trials: what it prints of them, retries and deletes, and what SIGTERM and Ctrl-C do."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from ray import tune

from raysys.errors import StorageError
from raysys.runs.ledger import Ledger
from raysys.runs.lines import Lines
from raysys.runs.trial import STOPPED, Trial
from raysys.selection import TITLES, score_of, shown
from raysys.storage import Folder
from raysys.termination import Terminated, note
from raysys.training import checkpoint_files
from raysys.training.watchdog import tell

MAX_FAILURES = 8
"""Restarts of a trial after faults of its machine, without an epoch between them. It resumes from its last checkpoint;
a trial that makes progress may lose any number of spot machines."""
_IDLE_S = 60.0
"""Seconds without a running trial before this is reported; normally the next one starts within seconds."""
_GRACE_S = 20.0
"""Seconds that trials have to save their state after SIGTERM; Kubernetes and most spot machines give 30 in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a trial has no result.

    Attributes:
        its_own: the training itself failed and would fail again; otherwise machines or storage did.
    """

    message: str
    its_own: bool

    def __str__(self) -> str:
        return self.message


class Follow(tune.Callback):
    """What Tune tells of its trials: which run, what they report, how they end.

    Args:
        trials: in Tune's numbering.
        ledger: brought up to date as trials end.
        lines: prints progress.
        screen: where notes are printed.
        stops_early: a trial that ends early without a result was stopped by the scheduler.

    Attributes:
        errors: what would come again, by trial id.
        stopping: raised once SIGTERM or Ctrl-C came.
    """

    def __init__(
        self, trials: Sequence[Trial], ledger: Ledger, lines: Lines, screen: TextIO, *, stops_early: bool = False
    ) -> None:
        self.errors: dict[str, Failure] = {}
        self.stopping: type[KeyboardInterrupt] | None = None
        self._trials = trials
        self._ledger = ledger
        self._lines = lines
        self._screen = screen
        self._stops_early = stops_early
        self._epochs: dict[str, int] = {}
        self._faults: dict[str, str] = {}
        self._awaited: set[str] | None = None
        self._end = 0.0
        self._running: set[str] = set()
        self._idle_since: float | None = time.monotonic()

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks into its own folder, where nobody reads them.
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._running.add(self._own(trial).trial_id)
        self._idle_since = None

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        own = self._ended(trial)
        fault = self.fault(own) or "its process was lost"
        self._print(f"note      {own.title}: {fault}; it resumes from its last checkpoint")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        own = self._own(trial)
        self._faults[own.trial_id] = result.get("fault", "")
        if "epoch" in result:
            # It makes progress: only faults without an epoch between them count.
            trial.max_failures = trial.num_failures + MAX_FAILURES
            self._epochs[own.trial_id] = result["epoch"] + 1
            self._print(self._lines.epoch(own, result))
        if "error" in result:
            # It would fail again. The process ends: its state is unknown.
            trial.max_failures = 0
            self.errors[own.trial_id] = Failure(message=result["error"], its_own=result["its_own"])
        if said := result.get("note"):
            self._print(f"note      {own.title}: {said}")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        own = self._ended(trial)
        unwanted, epochs = self._ledger.read(own), self._epochs.get(own.trial_id, 0)
        if (result := self._ledger.results.get(own.trial_id)) is not None:
            checkpoint_files.delete_all(own.folder)
            said, by = "finished", own.config.train.select
            if result.n_validation:
                said = f"validation {TITLES[by]} {shown(score_of(result, by), by):>5} at epoch {result.epoch}"
        elif self._stops_early and epochs < own.config.train.epochs:
            # Out of every selection. Without this mark it was not stopped and is retried: nothing of it is deleted.
            own.folder.write_json(STOPPED, {"trial_id": own.trial_id, "epochs": epochs})
            self._ledger.stopped[own.trial_id] = epochs
            checkpoint_files.delete_all(own.folder)
            said = f"stopped after {epochs} epochs"
        else:
            said = "ended, and its result cannot be read"
        if unwanted is not None:
            unwanted.delete_model()
        self._print(self._lines.end(own, said))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        own = self._ended(trial)
        if self.stopping:
            # It has saved its state, as it was asked to.
            return
        said = f"failed: {self.errors.get(own.trial_id, 'see the end')}"
        self._print(self._lines.end(own, said) or f"note      {own.title} {said}")

    def fault(self, trial: Trial) -> str:
        """The last fault of its machine that a trial told of; empty if its process was lost without a word."""
        return self._faults.get(trial.trial_id, "")

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if self.stopping:
            self._pause()
        if self._idle_since is None or time.monotonic() - self._idle_since < _IDLE_S:
            return
        # Reported once each time: the cluster may be scaling up, or the wait may never end.
        self._idle_since = None
        self._print(
            f"note      no trial has been running for {_IDLE_S:.0f} s: processes are slow to start here, or wait for a "
            f"node with {self._trials[0].config.cluster.reserved_cpus} free CPUs, and GPUs, for a worker (`ray status` "
            f"shows what is free)"
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
        """Ask all trials to save their state; Tune continues until those of one worker have, or time is up.

        Raises:
            KeyboardInterrupt: then; for SIGTERM as `Terminated`.
        """
        assert self.stopping is not None
        if self._awaited is None:
            self._print(f"note      saving the state of all trials, {_GRACE_S:.0f} s at most")
            # On a full disk the request is lost, and each trial resumes from its last complete epoch.
            with contextlib.suppress(StorageError):
                tell(Folder.at(self._trials[0].run), stop=True)
            alone = {t.trial_id for t in self._trials if t.config.cluster.workers_per_trial == 1}
            self._awaited = self._running & alone
            self._end = time.monotonic() + _GRACE_S
        self._awaited &= self._running
        if not self._awaited or time.monotonic() > self._end:
            raise self.stopping

    def _own(self, trial: Any) -> Trial:
        return self._trials[trial.config["trial"]]

    def _ended(self, trial: Any) -> Trial:
        own = self._own(trial)
        self._running.discard(own.trial_id)
        if not self._running:
            self._idle_since = time.monotonic()
        return own

    def _print(self, line: str) -> None:
        if line:
            print(line, file=self._screen, flush=True)
