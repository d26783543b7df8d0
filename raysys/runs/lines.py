"""Lines of progress: one per epoch, or one per trial, with the time left."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from raysys.data.progress import clock
from raysys.runs.trial import Trial
from raysys.selection import TITLES, shown


class EpochLines:
    """A line per epoch: fold, epoch, loss, validation score, and the time left at the pace so far.

    Args:
        names: of folds by index; others are shown by number.
    """

    def __init__(self, trials: Sequence[Trial], names: Mapping[int, str]) -> None:
        self._names = dict(names)
        self._width = max((len(name) for name in names.values()), default=0)
        self._left = sum(trial.config.train.epochs for trial in trials)
        self._started = time.monotonic()
        self._first: float | None = None
        self._done = 0

    def epoch(self, trial: Trial, metrics: Mapping[str, float]) -> str:
        now, left = time.monotonic(), ""
        self._left -= 1
        if self._first is None:
            self._first = now
        else:
            self._done += 1
            left = f"  about {clock((now - self._first) / self._done * max(self._left, 0))} left"
        name, by = self._names.get(trial.fold, str(trial.fold + 1)), trial.config.train.select
        return (
            f"[{clock(now - self._started)}] fold {name:<{self._width}}  epoch {metrics['epoch'] + 1:3d}"
            f"/{trial.config.train.epochs}  loss {metrics['loss_total']:6.3f}"
            f"  validation {TITLES[by]} {shown(metrics[f'validation_{by}'], by):>5}{left}"
        )

    def end(self, trial: Trial, said: str) -> str:
        return ""


class TrialLines:
    """A line per trial that ended: which, its validation score, and the time left at the pace so far."""

    def __init__(self, trials: Sequence[Trial]) -> None:
        self._n_trials = len(trials)
        self._started = time.monotonic()
        self._done = 0

    def epoch(self, trial: Trial, metrics: Mapping[str, float]) -> str:
        return ""

    def end(self, trial: Trial, said: str) -> str:
        self._done += 1
        spent = time.monotonic() - self._started
        left = clock(spent / self._done * (self._n_trials - self._done))
        return f"[{clock(spent)}] trial {self._done:3d}/{self._n_trials}  {trial.title}  {said}  about {left} left"


Lines = EpochLines | TrialLines
