"""A line an epoch while the folds train."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, TextIO

from ray import tune


class Progress(tune.Callback):
    """Prints fold, epoch, loss, validation score, and the time left as the epochs so far suggest.

    Args:
        names: of the folds, by their index.
    """

    def __init__(self, n_trials: int, epochs: int, screen: TextIO, names: Mapping[int, str]) -> None:
        self._screen = screen
        self._names = dict(names)
        self._width = max((len(name) for name in names.values()), default=0)
        self._epochs_left = n_trials * epochs
        self._epochs = epochs
        self._started = time.monotonic()
        self._first: float | None = None
        self._done = 0

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks into its own folder; a screen cannot be.
        return {name: value for name, value in vars(self).items() if name != "_screen"}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if "epoch" not in result:
            return
        now = time.monotonic()
        if self._first is None:
            self._first = now
            self._epochs_left -= 1
            left = ""
        else:
            self._done += 1
            self._epochs_left -= 1
            seconds = (now - self._first) / self._done * max(self._epochs_left, 0)
            left = f"  about {clock(seconds)} left"
        name = self._names.get(result["fold"], str(result["fold"] + 1))
        print(
            f"[{clock(now - self._started)}] fold {name:<{self._width}}  epoch {result['epoch'] + 1:3d}/{self._epochs}"
            f"  loss {result['loss_total']:6.3f}  validation UA {100 * result['validation_ua']:5.1f}{left}",
            file=self._screen,
            flush=True,
        )


def clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
