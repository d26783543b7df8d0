"""Which trial Tune starts next."""

from __future__ import annotations

import os
import time
from typing import Any

from ray.tune.search import Searcher

_LATE_S = 60.0


class Queue(Searcher):
    """Hands the trials out in their order, as many at once as the cluster carries.

    On a machine that carries more trials than its cores train at once, the further ones start when a trial has trained
    an epoch, or after a minute: the imports of one process more would delay the first step of all by seconds.

    Args:
        n_trials: their configurations are {"task": 0} and so on.
        at_once: how many run at the same time.
        at_first: how many of them start at once.
    """

    def __init__(self, n_trials: int, *, at_once: int, at_first: int) -> None:
        super().__init__()
        self._n_trials = n_trials
        self._at_once = at_once
        self._limit = min(at_first, at_once)
        self._next = 0
        self._running: set[str] = set()
        self._started = time.monotonic()
        # Else Tune starts the trials of a searcher one by one, each when the process of the one before is there.
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(at_once)

    def suggest(self, trial_id: str) -> Any:
        if self._next == self._n_trials:
            return Searcher.FINISHED
        if time.monotonic() - self._started > _LATE_S:
            self._limit = self._at_once
        if len(self._running) >= self._limit:
            return None
        self._running.add(trial_id)
        self._next += 1
        return {"task": self._next - 1}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self._limit = self._at_once

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self._limit = self._at_once
        self._running.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: no run is restored by Tune, since every trial knows where it was."""
