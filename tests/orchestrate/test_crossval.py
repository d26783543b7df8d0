"""What a cross-validation says of folds that failed. No Ray starts."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from raysys.errors import TrainingError
from raysys.orchestrate import crossval
from raysys.orchestrate.session import Cluster
from raysys.orchestrate.task import FoldTask
from raysys.orchestrate.watch import Failure
from tests.orchestrate.test_task import task_in

CLUSTER = Cluster(cpus=2, idle_cpus=2, gpus=0, nodes=1, trials_at_once=2, trials_at_first=2, gpus_per_worker=0.0)


@pytest.fixture
def tasks(tmp_path: Path) -> list[FoldTask]:
    return [dataclasses.replace(task_in(tmp_path), fold=fold) for fold in range(3)]


def test_every_fold_that_failed_is_named_with_its_message(
    tasks: list[FoldTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def run_trials(open_tasks: list[FoldTask], cluster: Cluster, callbacks: list[Any]) -> dict[str, Failure]:
        asked.extend(open_tasks)
        return {
            tasks[2].trial_id: Failure(message="its process was lost", its_own=False),
            tasks[1].trial_id: Failure(message="epoch 2, step 1: the loss is not finite", its_own=True),
        }

    monkeypatch.setattr(crossval, "run_trials", run_trials)
    with pytest.raises(TrainingError) as raised:
        crossval.run_folds(tasks, CLUSTER)
    assert str(raised.value) == "fold 3: its process was lost\nfold 2: epoch 2, step 1: the loss is not finite"
    assert asked == tasks


def test_folds_that_are_trained_raise_nothing_and_none_asks_nobody(
    tasks: list[FoldTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crossval, "run_trials", lambda *_: {})
    crossval.run_folds(tasks, CLUSTER)
    monkeypatch.setattr(crossval, "run_trials", lambda *_: pytest.fail("there is nothing to train"))
    crossval.run_folds([], CLUSTER)
