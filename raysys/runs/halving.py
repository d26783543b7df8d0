"""Early stopping of a sweep's trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler

from raysys.runs.trial import Trial


@dataclass(frozen=True, slots=True)
class _Rival:
    """A trial as a bracket knows it, by our own id, which is the same when a sweep is resumed."""

    trial_id: str


class HalvingByFold(FIFOScheduler):
    """Asynchronous successive halving (ASHA, Li et al. 2020) within each fold: folds differ too much to be rivals.

    After a quarter of the epochs, and again at three times that, a trial continues if it is among the best third of
    those that got there before it. In a resumed sweep, epochs trained earlier count too.

    Args:
        trials: of the sweep.
        open_trials: those that Tune trains, in its numbering.
    """

    def __init__(self, trials: Sequence[Trial], open_trials: Sequence[Trial]) -> None:
        super().__init__()
        epochs, by = trials[0].config.train.epochs, trials[0].config.train.select
        self._open = tuple(open_trials)
        self._brackets = {
            fold: AsyncHyperBandScheduler(
                time_attr="epoch",  # counts from 0
                metric=f"validation_{by}",
                mode="min" if by == "loss" else "max",
                grace_period=max(1, epochs // 4),
                max_t=max(2, epochs),
                reduction_factor=3,
                stop_last_trials=False,
            )
            for fold in {trial.fold for trial in trials}
        }
        for trial in trials:
            bracket, rival = self._brackets[trial.fold], _Rival(trial.trial_id)
            bracket.on_trial_add(None, rival)
            for record in trial.history():
                bracket.on_trial_result(None, rival, record)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        own = self._open[trial.config["trial"]]
        decision: str = self._brackets[own.fold].on_trial_result(tune_controller, _Rival(own.trial_id), result)
        return decision
