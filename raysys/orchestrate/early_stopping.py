"""Asynchronous successive halving (ASHA, Li et al. 2020) within each fold: folds differ too much to be rivals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler

from raysys.orchestrate.task import FoldTask, read_history

_KEPT_OF = 3
"""At each rung, a trial goes on that is among the best third of those that came there before it."""


@dataclass(frozen=True, slots=True)
class _Rival:
    """A trial as a bracket knows it; by our own name, which is the same when the sweep goes on."""

    trial_id: str


class HalvingByFold(FIFOScheduler):
    """One bracket a fold: after a quarter of the epochs, and then at thrice that, a trial that is behind is stopped.

    Tune asks for each trial's every report and starts trials in their order. Of a sweep that goes on, the epochs that
    its trials have behind them count too, at their rungs.

    Args:
        tasks: of the sweep.
        open_tasks: those that Tune trains, by the number that its trials have.
    """

    def __init__(self, tasks: Sequence[FoldTask], open_tasks: Sequence[FoldTask]) -> None:
        super().__init__()
        epochs = tasks[0].config.train.epochs
        self._open = tuple(open_tasks)
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
            for fold in {task.fold for task in tasks}
        }
        for task in tasks:
            bracket, rival = self._brackets[task.fold], _Rival(task.trial_id)
            bracket.on_trial_add(None, rival)
            for record in read_history(task):
                bracket.on_trial_result(None, rival, record)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        task = self._open[trial.config["task"]]
        decision: str = self._brackets[task.fold].on_trial_result(tune_controller, _Rival(task.trial_id), result)
        return decision
