"""Which trials of a run are done, according to their own folders, and whose models are still wanted."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Literal

from raysys.results import FoldResult
from raysys.runs.trial import STOPPED, Trial
from raysys.selection import merit
from raysys.training import checkpoint_files

Keep = Literal["all", "best", "none"]
"""Which models of finished trials are kept: of all, of each fold's best by its validation part, or of none."""


class Ledger:
    """Which trials are done, according to their own folders, and whose models are still wanted.

    Attributes:
        results, stopped: as in `tuner.Outcome`.
    """

    def __init__(self, trials: Sequence[Trial], *, keep: Keep) -> None:
        self._trials = tuple(trials)
        self._keep = keep
        self._best: dict[int, tuple[float, float, Trial]] = {}
        self.results: dict[str, FoldResult] = {}
        self.stopped: dict[str, int] = {}
        for trial in trials:
            self.read(trial)

    def open_trials(self) -> list[Trial]:
        return [t for t in self._trials if t.trial_id not in self.results and t.trial_id not in self.stopped]

    def read(self, trial: Trial) -> Trial | None:
        """Take in what a trial left. Returns: the trial whose model no selection can want from now on, if any."""
        result = trial.result()
        if result is None:
            if trial.folder.exists(STOPPED):
                # Damaged, it is as if it were not there, and the trial is trained again.
                with contextlib.suppress(ValueError, KeyError):
                    self.stopped[trial.trial_id] = trial.folder.read_json(STOPPED)["epochs"]
            return None
        self.results[trial.trial_id] = result
        if self._keep != "best":
            return None if self._keep == "all" else trial
        rank = merit(result, trial.config.train.select)
        rival = self._best.get(trial.fold)
        if rival is not None and (rank <= rival[:2] or rival[2] is trial):
            return None if rival[2] is trial else trial
        self._best[trial.fold] = (*rank, trial)
        return None if rival is None else rival[2]

    def tidy(self) -> None:
        """Delete checkpoints and models that a run killed between a trial's result and their deletion left behind."""
        wanted = {trial.trial_id for _, _, trial in self._best.values()}
        for trial in self._trials:
            if trial.trial_id in self.results:
                checkpoint_files.delete_all(trial.folder)
                if self._keep != "all" and trial.trial_id not in wanted:
                    trial.delete_model()
