"""Asynchronous successive halving (ASHA, Li et al. 2020) within each fold: folds differ too much to be rivals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler

from raysys.orchestrate.task import FoldTask

_KEPT_OF = 3
"""At each rung, a trial goes on that is among the best third of those that came there before it."""


class HalvingByFold(FIFOScheduler):
    """One bracket a fold: after a quarter of the epochs, and then at thrice that, a trial that is behind is stopped.

    Tune asks for each trial's every report and starts trials in their order.
    """

    def __init__(self, tasks: Sequence[FoldTask]) -> None:
        super().__init__()
        epochs = tasks[0].config.train.epochs if tasks else 1
        self._fold_of = {number: task.fold for number, task in enumerate(tasks)}
        self._brackets = {
            fold: AsyncHyperBandScheduler(
                time_attr="epoch",  # counts from 0
                metric="validation_ua",
                mode="max",
                grace_period=max(1, epochs // 4),
                max_t=max(2, epochs),
                reduction_factor=_KEPT_OF,
                stop_last_trials=False,
            )
            for fold in set(self._fold_of.values())
        }

    def _bracket(self, trial: Any) -> AsyncHyperBandScheduler:
        return self._brackets[self._fold_of[trial.config["task"]]]

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        self._bracket(trial).on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        decision: str = self._bracket(trial).on_trial_result(tune_controller, trial, result)
        return decision

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        self._bracket(trial).on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        self._bracket(trial).on_trial_remove(tune_controller, trial)
