"""A sweep's state: the trials' own files say what is done, and weights are kept only where they may be chosen."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.search import Searcher

from raysys.config import ExperimentConfig, LossConfig, Select, TrainConfig
from raysys.errors import ClusterError
from raysys.results import MODEL, MODEL_CONFIG, RESULT, FoldResult
from raysys.runs import tuner
from raysys.runs.follow import Failure, Follow
from raysys.runs.halving import HalvingByFold
from raysys.runs.ledger import Keep, Ledger
from raysys.runs.lines import TrialLines
from raysys.runs.trial import HISTORY, Trial, run_trial
from raysys.runs.tuner import Outcome, Queue, run_trials
from raysys.training.checkpoint_files import BEST, LAST
from tests.runs.results import fold_result, result_of, trial_in


def make_trials(run: Path, alphas: tuple[float, ...] = (1.0, 0.1, 0.01), folds: int = 2) -> list[Trial]:
    return [
        dataclasses.replace(
            trial_in(run), config=ExperimentConfig(loss=LossConfig(alpha=alpha)), fold=fold, point=f"alpha={alpha}"
        )
        for alpha in alphas
        for fold in range(folds)
    ]


def finish(own: Trial, ua: float, loss: float = 1.0) -> None:
    own.model.write_json(MODEL_CONFIG, {})
    result_of(own, validation_ua=ua, validation_loss=loss).write(own.folder)


def test_every_trial_has_a_folder_of_its_own(tmp_path: Path) -> None:
    trials = make_trials(tmp_path)
    assert len({own.place for own in trials}) == len(trials) == 6
    assert all(own.place == f"trials/{own.trial_id}" for own in trials)


@pytest.mark.parametrize("its_own", [True, False])
def test_a_trial_whose_training_fails_is_excluded_and_one_that_was_lost_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, its_own: bool
) -> None:
    trials = make_trials(tmp_path)
    for own in trials[:-1]:
        finish(own, 0.5)
    failure = Failure(message="the worker's node died", its_own=its_own)

    def train(open_trials: list[Trial], *_: object, **__: object) -> dict[str, Failure]:
        assert open_trials == trials[-1:]
        return {trials[-1].trial_id: failure}

    monkeypatch.setattr(tuner, "_train", train)
    cluster: Any = None
    if its_own:
        found = run_trials(trials, cluster, keep="best")
        assert found.failed == {trials[-1].trial_id: failure} and len(found.results) == 5
        return
    with pytest.raises(
        ClusterError, match=r"(?s)1 of 6 trials.*the worker's node died\n.*the same command retries them"
    ):
        run_trials(trials, cluster, keep="best")


@pytest.mark.parametrize("keep", ["all", "best", "none"])
def test_a_finished_sweep_trains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], keep: Keep
) -> None:
    trials = make_trials(tmp_path)
    for number, own in enumerate(trials):
        finish(own, 0.5 + number / 100)
    monkeypatch.setattr(tuner, "_train", lambda *_, **__: pytest.fail("there is nothing to train"))
    cluster: Any = None
    assert len(run_trials(trials, cluster, keep=keep).results) == 6
    assert "6 of 6 trials are finished already" in capsys.readouterr().out
    kept = [number for number, own in enumerate(trials) if own.folder.exists(MODEL)]
    assert kept == {"all": list(range(6)), "best": [4, 5], "none": []}[keep]


def test_only_trials_with_their_own_result_are_finished(tmp_path: Path) -> None:
    trials = make_trials(tmp_path)
    finish(trials[1], 0.5)
    finish(trials[4], 0.6)
    trials[2].folder.write_bytes(LAST, b"half a training")
    fold_result("of other code").write(trials[3].folder)
    ledger = Ledger(trials, keep="best")
    assert ledger.open_trials() == [trials[0], trials[2], trials[3], trials[5]]
    assert {r.validation_ua for r in ledger.results.values()} == {0.5, 0.6}


@pytest.mark.parametrize("order", [(0, 2, 4), (4, 2, 0), (2, 4, 0)])
def test_only_the_model_of_each_folds_best_trial_is_kept(order: tuple[int, ...], tmp_path: Path) -> None:
    trials = make_trials(tmp_path)
    scores = {0: (0.5, 1.0), 2: (0.7, 2.0), 4: (0.7, 1.5)}
    ledger = Ledger(trials, keep="best")
    follow = followed(trials, ledger)
    finish(trials[1], 0.1)
    follow.on_trial_complete(0, [], trial(1))
    for number in order:
        finish(trials[number], *scores[number])
        follow.on_trial_complete(0, [], trial(number))
    kept = [number for number, own in enumerate(trials) if own.folder.exists(MODEL)]
    # Fold 1: the better loss of two trials with the best UA; fold 2: its only trial.
    assert kept == [1, 4]
    # The same after a restart, which deletes what a killed sweep had not.
    trials[0].model.write_json(MODEL_CONFIG, {})
    Ledger(trials, keep="best").tidy()
    assert [number for number, own in enumerate(trials) if own.folder.exists(MODEL)] == kept


@pytest.mark.parametrize(("by", "kept"), [("ua", 0), ("wa", 2), ("macro_f1", 4), ("loss", 1)])
def test_the_model_that_is_kept_is_the_best_by_the_score_that_selects(by: Select, kept: int, tmp_path: Path) -> None:
    trials = [
        dataclasses.replace(t, config=dataclasses.replace(t.config, train=TrainConfig(select=by)), fold=0)
        for t in make_trials(tmp_path, alphas=(1.0, 0.1, 0.01, 0.001, 0.5), folds=1)
    ]
    best = {0: {"ua": 0.9}, 1: {"loss": 0.1}, 2: {"wa": 0.9}, 4: {"macro_f1": 0.9}}
    for number, own in enumerate(trials):
        scores = {"ua": 0.5, "wa": 0.5, "macro_f1": 0.5, "loss": 1.0} | best.get(number, {})
        own.model.write_json(MODEL_CONFIG, {})
        result_of(own, **{f"validation_{name}": score for name, score in scores.items()}).write(own.folder)
    Ledger(trials, keep="best").tidy()
    assert [number for number, own in enumerate(trials) if own.folder.exists(MODEL)] == [kept]


def test_without_a_choice_no_model_is_kept(tmp_path: Path) -> None:
    trials = make_trials(tmp_path)
    finish(trials[0], 0.5)
    Ledger(trials, keep="none").tidy()
    assert not trials[0].folder.exists(MODEL)
    assert trials[0].result() is not None


def trial(number: int) -> Any:
    """As reported by Tune."""
    return SimpleNamespace(config={"trial": number}, num_failures=0)


def followed(
    trials: list[Trial], ledger: Ledger, screen: io.StringIO | None = None, *, stops_early: bool = False
) -> Follow:
    return Follow(trials, ledger, TrialLines(trials), screen or io.StringIO(), stops_early=stops_early)


def test_a_stopped_trial_is_remembered_with_its_epochs_and_keeps_no_weights(tmp_path: Path) -> None:
    trials = make_trials(tmp_path)
    ledger = Ledger(trials, keep="best")
    screen = io.StringIO()
    follow = followed(trials, ledger, screen, stops_early=True)
    for name in (BEST, LAST):
        trials[3].folder.write_bytes(name, b"weights")
    for epoch in (0, 1):
        follow.on_trial_result(0, [], trial(3), {"epoch": epoch, "loss_total": 1.0, "validation_ua": 0.5})
    follow.on_trial_complete(0, [], trial(3))
    assert "alpha=0.1, fold 2  stopped after 2 epochs" in screen.getvalue()
    assert not trials[3].folder.exists(BEST) and not trials[3].folder.exists(LAST)
    again = Ledger(trials, keep="best")
    assert again.stopped == {trials[3].trial_id: 2}
    assert trials[3] not in again.open_trials()


@pytest.mark.parametrize(("stops_early", "epochs"), [(False, 2), (True, 3)])
def test_a_trial_that_ends_without_a_result_was_not_stopped_and_loses_nothing(
    tmp_path: Path, stops_early: bool, epochs: int
) -> None:
    trials = make_trials(tmp_path)
    trials = [dataclasses.replace(t, config=dataclasses.replace(t.config, train=TrainConfig(epochs=3))) for t in trials]
    ledger = Ledger(trials, keep="best")
    follow = followed(trials, ledger, stops_early=stops_early)
    trials[3].folder.write_bytes(LAST, b"weights")
    for epoch in range(epochs):
        follow.on_trial_result(0, [], trial(3), {"epoch": epoch, "loss_total": 1.0, "validation_ua": 0.5})
    follow.on_trial_complete(0, [], trial(3))
    assert ledger.stopped == {} and trials[3] in ledger.open_trials()
    assert trials[3].folder.exists(LAST)


def test_states_left_by_a_killed_finished_trial_are_removed(tmp_path: Path) -> None:
    trials = make_trials(tmp_path)
    finish(trials[0], 0.5)
    for name in (BEST, LAST):
        trials[0].folder.write_bytes(name, b"weights")
    Ledger(trials, keep="best").tidy()
    assert trials[0].folder.names() == [MODEL, RESULT]


def test_a_trial_whose_process_was_lost_after_its_result_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = make_trials(tmp_path)
    finish(trials[0], 0.5)
    trained: list[Trial] = []
    monkeypatch.setattr("raysys.runs.worker.train_fold", lambda own, **_: trained.append(own))
    for own in trials[:2]:
        run_trial(own, 0.0)
    assert trained == [trials[1]]


def test_a_failed_trial_is_retried_by_the_same_command(tmp_path: Path) -> None:
    trials = make_trials(tmp_path)
    ledger = Ledger(trials, keep="best")
    screen = io.StringIO()
    follow = followed(trials, ledger, screen)
    follow.on_trial_result(0, [], trial(0), {"error": "the loss is not finite", "its_own": True})
    follow.on_trial_error(0, [], trial(0))
    assert "failed: the loss is not finite" in screen.getvalue()
    assert ledger.stopped == {} and trials[0] in ledger.open_trials()


def outcome(results: list[FoldResult]) -> Outcome:
    by_id = {str(number): result for number, result in enumerate(results)}
    return Outcome(trials=(), results=by_id, stopped={}, failed={})


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
    assert outcome(results).seconds_beyond_training() == pytest.approx(1.0)  # of 1.0, 3.0 and 0.5
    assert outcome(results[3:4]).seconds_beyond_training() is None


def test_a_note_that_many_trials_make_is_one_note(tmp_path: Path) -> None:
    trials = make_trials(tmp_path)
    notes = {0: ("kept offline",), 1: ("damaged", "kept offline"), 5: ("kept offline",)}
    results = {own.trial_id: result_of(own, notes=notes.get(number, ())) for number, own in enumerate(trials)}
    found = Outcome(trials=tuple(trials), results=results, stopped={}, failed={}, again=("made again",)).notes()
    first, second = trials[0].title, trials[1].title
    assert found == ["made again", f"{first} and 2 more trials: kept offline", f"{second}: damaged"]


def test_halving_compares_trials_of_one_fold_only(tmp_path: Path) -> None:
    # Fold 2 is harder: all of its trials are behind all of fold 1's, and its best must continue.
    trials = make_trials(tmp_path, alphas=(1.0, 0.5, 0.1, 0.01), folds=2)
    scheduler = HalvingByFold(trials, trials)
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


def test_halving_by_loss_stops_the_highest(tmp_path: Path) -> None:
    trials = [
        dataclasses.replace(t, config=dataclasses.replace(t.config, train=TrainConfig(epochs=4, select="loss")))
        for t in make_trials(tmp_path, alphas=(1.0, 0.1), folds=1)
    ]
    # The lower loss has the lower UA, which decides nothing here.
    first, second = ({"validation_ua": ua, "validation_loss": loss} for ua, loss in ((0.4, 0.5), (0.9, 2.0)))
    scheduler = HalvingByFold(trials, trials)
    assert [scheduler.on_trial_result(None, trial(0), {"epoch": e, **first}) for e in (0, 1)] == ["CONTINUE"] * 2
    assert "STOP" in [scheduler.on_trial_result(None, trial(1), {"epoch": e, **second}) for e in (0, 1)]


def test_halving_continues_from_where_trials_were_when_the_sweep_stopped(tmp_path: Path) -> None:
    trials = make_trials(tmp_path, alphas=(1.0, 0.5, 0.1), folds=1)

    def course(ua: float, epochs: int) -> list[dict[str, float]]:
        # Scores improve by the epoch: a trial compared with another's later epoch is behind.
        return [{"epoch": epoch, "validation_ua": ua + epoch / 100} for epoch in range(epochs)]

    rung = trials[0].config.train.epochs // 4
    for own, ua in zip(trials[:2], (0.2, 0.1), strict=True):
        own.folder.write_bytes(HISTORY, "\n".join(map(json.dumps, course(ua, rung + 20))).encode())
    # The first two continue, the last starts: better than both at its first rung, but not than they were later.
    scheduler = HalvingByFold(trials, [trials[1], trials[2]])
    assert scheduler.on_trial_result(None, trial(0), course(0.1, rung + 21)[-1]) == "CONTINUE"
    for found in course(0.25, rung + 1):
        assert scheduler.on_trial_result(None, trial(1), found) == "CONTINUE"
    again = HalvingByFold(trials, [trials[2]])
    assert "STOP" in [again.on_trial_result(None, trial(0), found) for found in course(0.05, rung + 1)]


def asked(queue: Queue, *names: str) -> list[Any]:
    return [queue.suggest(name) for name in names]


def numbered(*numbers: int) -> list[Any]:
    return [{"trial": number} for number in numbers]


def test_trials_start_in_order_and_as_many_as_fit() -> None:
    queue = Queue(4, at_once=2, at_first=2)
    assert asked(queue, "a", "b", "c") == [*numbered(0, 1), None]
    queue.on_trial_complete("b")
    assert asked(queue, "c", "d") == [*numbered(2), None]
    queue.on_trial_complete("a", error=True)
    queue.on_trial_complete("c")
    assert asked(queue, "d", "e") == [*numbered(3), Searcher.FINISHED]


@pytest.mark.parametrize("event", ["epoch", "end", "minute"])
def test_trials_beyond_the_cores_wait_for_the_first_epoch_an_end_or_a_minute(
    event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    queue = Queue(5, at_once=3, at_first=2)
    assert asked(queue, "a", "b", "c") == [*numbered(0, 1), None]
    clock[0] += 59
    assert asked(queue, "c") == [None]
    if event == "epoch":
        queue.on_trial_result("a", {})
    elif event == "end":
        queue.on_trial_complete("a")
    else:
        clock[0] += 2
    expected = numbered(2, 3) if event == "end" else [*numbered(2), None]
    assert asked(queue, "c", "d") == expected
