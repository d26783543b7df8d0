"""The ledger of a sweep: the trials' own files say what is done, and weights stay only of what may be chosen."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raysys.config import ExperimentConfig, LossConfig, TrainConfig
from raysys.errors import ClusterError
from raysys.orchestrate import sweep
from raysys.orchestrate import trial as trial_module
from raysys.orchestrate.early_stopping import HalvingByFold
from raysys.orchestrate.result import FoldResult
from raysys.orchestrate.sweep import Housekeeping, Ledger, SweepProgress, seconds_beyond_training, tidy
from raysys.orchestrate.task import HISTORY, FoldTask
from raysys.orchestrate.trial import run_trial
from raysys.orchestrate.watch import Failure
from raysys.training.checkpoint_files import BEST, LAST
from tests.orchestrate.results import fold_result, result_of
from tests.orchestrate.test_task import task_in


def make_tasks(run: Path, alphas: tuple[float, ...] = (1.0, 0.1, 0.01), folds: int = 2) -> list[FoldTask]:
    return [
        dataclasses.replace(
            task_in(run), config=ExperimentConfig(loss=LossConfig(alpha=alpha)), fold=fold, point=f"alpha={alpha}"
        )
        for alpha in alphas
        for fold in range(folds)
    ]


def finish(task: FoldTask, ua: float, loss: float = 1.0) -> None:
    task.folder.write_bytes(BEST, b"weights")
    result_of(task, validation_ua=ua, validation_loss=loss).write(task.folder)


def test_every_trial_has_a_folder_of_its_own(tmp_path: Path) -> None:
    tasks = make_tasks(tmp_path)
    assert len({task.place for task in tasks}) == len(tasks) == 6
    assert all(task.place == f"trials/{task.trial_id}" for task in tasks)


@pytest.mark.parametrize("its_own", [True, False])
def test_a_point_whose_training_fails_is_left_out_and_one_that_was_lost_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, its_own: bool
) -> None:
    tasks = make_tasks(tmp_path)
    for task in tasks[:-1]:
        finish(task, 0.5)
    failure = Failure(message="the worker's node died", its_own=its_own)

    def run_trials(open_tasks: list[FoldTask], *_: object, **__: object) -> dict[str, Failure]:
        assert open_tasks == tasks[-1:]
        return {tasks[-1].trial_id: failure}

    monkeypatch.setattr(sweep, "run_trials", run_trials)
    cluster: Any = None
    if its_own:
        found = sweep.run_sweep(tasks, cluster, chosen_by_validation=True)
        assert found.failed == {tasks[-1].trial_id: failure} and len(found.results) == 5
        return
    with pytest.raises(
        ClusterError, match=r"(?s)1 of 6 trials.*the worker's node died\n.*the same command retries them"
    ):
        sweep.run_sweep(tasks, cluster, chosen_by_validation=True)


def test_only_trials_with_their_own_result_are_finished(tmp_path: Path) -> None:
    tasks = make_tasks(tmp_path)
    finish(tasks[1], 0.5)
    finish(tasks[4], 0.6)
    tasks[2].folder.write_bytes(LAST, b"half a training")
    fold_result("of other code").write(tasks[3].folder)
    ledger = Ledger(tasks, chosen_by_validation=True)
    assert ledger.open_tasks() == [tasks[0], tasks[2], tasks[3], tasks[5]]
    assert {r.validation_ua for r in ledger.results.values()} == {0.5, 0.6}


@pytest.mark.parametrize("order", [(0, 2, 4), (4, 2, 0), (2, 4, 0)])
def test_weights_stay_only_of_each_folds_best_so_far(order: tuple[int, ...], tmp_path: Path) -> None:
    tasks = make_tasks(tmp_path)
    scores = {0: (0.5, 1.0), 2: (0.7, 2.0), 4: (0.7, 1.5)}
    ledger = Ledger(tasks, chosen_by_validation=True)
    housekeeping = Housekeeping(tasks, ledger, stops_early=False)
    finish(tasks[1], 0.1)
    housekeeping.on_trial_complete(0, [], trial(1))
    for number in order:
        finish(tasks[number], *scores[number])
        housekeeping.on_trial_complete(0, [], trial(number))
    kept = [number for number, task in enumerate(tasks) if task.folder.exists(BEST)]
    # Of fold 1 the better loss among two of the best UA; of fold 2 its only trial.
    assert kept == [1, 4]
    # Restarted, the same; what a killed sweep had not deleted yet goes.
    tasks[0].folder.write_bytes(BEST, b"weights")
    tidy(Ledger(tasks, chosen_by_validation=True), tasks)
    assert [number for number, task in enumerate(tasks) if task.folder.exists(BEST)] == kept


def test_where_nothing_is_chosen_no_weights_stay(tmp_path: Path) -> None:
    tasks = make_tasks(tmp_path)
    finish(tasks[0], 0.5)
    tidy(Ledger(tasks, chosen_by_validation=False), tasks)
    assert not tasks[0].folder.exists(BEST)
    assert tasks[0].finished()


def trial(number: int, **last: Any) -> Any:
    return SimpleNamespace(config={"task": number}, last_result=last, trial_id=str(number))


def test_a_stopped_trial_is_remembered_with_its_epochs_and_keeps_no_weights(tmp_path: Path) -> None:
    tasks = make_tasks(tmp_path)
    ledger = Ledger(tasks, chosen_by_validation=True)
    screen = io.StringIO()
    housekeeping = Housekeeping(tasks, ledger, stops_early=True)
    for name in (BEST, LAST):
        tasks[3].folder.write_bytes(name, b"weights")
    for epoch in (0, 1):
        housekeeping.on_trial_result(0, [], trial(3), {"epoch": epoch})
    housekeeping.on_trial_complete(0, [], trial(3))
    SweepProgress(tasks, ledger, screen).on_trial_complete(0, [], trial(3))
    assert "alpha=0.1, fold 2  stopped after 2 epochs" in screen.getvalue()
    assert not tasks[3].folder.exists(BEST) and not tasks[3].folder.exists(LAST)
    again = Ledger(tasks, chosen_by_validation=True)
    assert again.stopped == {tasks[3].trial_id: 2}
    assert tasks[3] not in again.open_tasks()


@pytest.mark.parametrize(("stops_early", "epochs"), [(False, 2), (True, 3)])
def test_a_trial_that_ends_without_a_result_was_not_stopped_and_loses_nothing(
    tmp_path: Path, stops_early: bool, epochs: int
) -> None:
    tasks = make_tasks(tmp_path)
    tasks = [dataclasses.replace(t, config=dataclasses.replace(t.config, train=TrainConfig(epochs=3))) for t in tasks]
    ledger = Ledger(tasks, chosen_by_validation=True)
    housekeeping = Housekeeping(tasks, ledger, stops_early=stops_early)
    tasks[3].folder.write_bytes(LAST, b"weights")
    for epoch in range(epochs):
        housekeeping.on_trial_result(0, [], trial(3), {"epoch": epoch})
    housekeeping.on_trial_complete(0, [], trial(3))
    assert ledger.stopped == {} and tasks[3] in ledger.open_tasks()
    assert tasks[3].folder.exists(LAST)


def test_states_that_a_finished_trial_was_killed_before_removing_go(tmp_path: Path) -> None:
    tasks = make_tasks(tmp_path)
    finish(tasks[0], 0.5)
    tasks[0].folder.write_bytes(LAST, b"weights")
    tidy(Ledger(tasks, chosen_by_validation=True), tasks)
    assert not tasks[0].folder.exists(LAST) and tasks[0].folder.exists(BEST)


def test_a_trial_whose_process_was_lost_after_its_result_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = make_tasks(tmp_path)
    finish(tasks[0], 0.5)
    trained: list[FoldTask] = []
    monkeypatch.setattr(trial_module, "_in_process", lambda task, _: trained.append(task))
    for task in tasks[:2]:
        run_trial(task, 0.0)
    assert trained == [tasks[1]]


def test_a_failed_trial_is_tried_again_by_the_same_command(tmp_path: Path) -> None:
    tasks = make_tasks(tmp_path)
    ledger = Ledger(tasks, chosen_by_validation=True)
    screen = io.StringIO()
    SweepProgress(tasks, ledger, screen).on_trial_error(0, [], trial(0, error="the loss is not finite"))
    assert "failed: the loss is not finite" in screen.getvalue()
    assert ledger.stopped == {} and tasks[0] in ledger.open_tasks()


def test_the_cost_beyond_training_is_from_end_to_end_in_one_process() -> None:
    def result(process: str, started: float, fit_s: float, ended: float) -> FoldResult:
        return fold_result(process=process, started=started, fit_s=fit_s, ended=ended)

    # In process a: 10 s from end to end of which 9 trained; 12 of which 9. In b: 20 of which 19.5. The first trials,
    # whose processes start, do not count.
    results = [
        result("a", 18.5, 9.0, 30.0),
        result("a", 0.0, 7.0, 8.0),
        result("a", 9.0, 9.0, 18.0),
        result("b", 0.0, 1.0, 30.0),
        result("b", 30.2, 9.5, 40.0),
        result("c", 30.2, 9.5, 90.0),
    ]
    assert seconds_beyond_training(results) == pytest.approx(1.0)  # of 1.0, 3.0 and 0.5
    assert seconds_beyond_training(results[3:4]) is None


def test_halving_compares_trials_of_one_fold_only(tmp_path: Path) -> None:
    # Fold 2 is harder: all of its trials are behind all of fold 1's, and its best must go on.
    tasks = make_tasks(tmp_path, alphas=(1.0, 0.5, 0.1, 0.01), folds=2)
    scheduler = HalvingByFold(tasks, tasks)
    scores = {0: 0.9, 2: 0.8, 4: 0.7, 6: 0.95, 1: 0.3, 3: 0.2, 5: 0.1, 7: 0.35}
    decided: dict[int, str] = {}
    for number in (0, 1, 2, 3, 4, 5, 6, 7):
        decided[number] = "CONTINUE"
        for epoch in range(26):
            found = {"epoch": epoch, "validation_ua": scores[number]}
            decided[number] = scheduler.on_trial_result(None, trial(number), found)
            if decided[number] == "STOP":
                break
    assert decided == {number: "STOP" if number in (2, 3, 4, 5) else "CONTINUE" for number in range(8)}


def test_halving_goes_on_with_what_trials_had_reached_before_the_sweep_was_stopped(tmp_path: Path) -> None:
    tasks = make_tasks(tmp_path, alphas=(1.0, 0.5, 0.1), folds=1)

    def course(ua: float, epochs: int) -> list[dict[str, float]]:
        # It gets better by the epoch: who is compared with another's later epoch is behind.
        return [{"epoch": epoch, "validation_ua": ua + epoch / 100} for epoch in range(epochs)]

    rung = tasks[0].config.train.epochs // 4
    for task, ua in zip(tasks[:2], (0.2, 0.1), strict=True):
        task.folder.write_bytes(HISTORY, "\n".join(map(json.dumps, course(ua, rung + 20))).encode())
    # The first two go on, the last begins: better than both at its first rung, not than they were later.
    scheduler = HalvingByFold(tasks, [tasks[1], tasks[2]])
    assert scheduler.on_trial_result(None, trial(0), course(0.1, rung + 21)[-1]) == "CONTINUE"
    for found in course(0.25, rung + 1):
        assert scheduler.on_trial_result(None, trial(1), found) == "CONTINUE"
    again = HalvingByFold(tasks, [tasks[2]])
    assert "STOP" in [again.on_trial_result(None, trial(0), found) for found in course(0.05, rung + 1)]
