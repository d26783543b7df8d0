"""The final model of a cross-validation: how long it is trained, with which seed, and when it need not be."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raysys.data.folds import Fold, make_folds
from raysys.presets import demo_short
from raysys.results import MODEL, MODEL_CONFIG, FinalModel
from raysys.runs import crossval as crossval_module
from raysys.runs import final as final_module
from raysys.runs.final import kept_final, train_final
from raysys.runs.inputs import whole_fold
from raysys.runs.points import Point
from raysys.runs.trial import Trial
from raysys.runs.tuner import Outcome
from raysys.storage import Folder
from tests.data.test_partition import GIVEN, ROWS, manifest_of
from tests.report.made_up import run_result
from tests.runs.results import result_of, trial_in

FINAL = {"point": "", "epochs": 3, "folder": MODEL}


def outcome_of(trials: list[Trial], epochs: tuple[int, ...] = (), n_trained: int = 0) -> Outcome:
    results = {t.trial_id: result_of(t, epoch=epoch) for t, epoch in zip(trials, epochs, strict=True)}
    return Outcome(trials=tuple(trials), results=results, stopped={}, failed={}, n_trained=n_trained)


@pytest.fixture
def ground(tmp_path: Path) -> Any:
    """Of four folds, with a final trial whose inputs are there."""
    run = SimpleNamespace(points=[Point(name="seed 5", config=demo_short())], folder=Folder.at(str(tmp_path)))
    manifest = SimpleNamespace(utterances=())
    folds = tuple(Fold(index=i, name=f"S{i}", train=(), validation=(), test=()) for i in range(4))
    return SimpleNamespace(run=run, manifest=manifest, folds=folds, cluster=None)


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Trial]:
    """Final trials that were trained; each leaves its result and its model."""
    asked: list[Trial] = []

    def run_trials(trials: list[Trial], *_: object, **__: object) -> Outcome:
        asked.extend(trials)
        for trial in trials:
            trial.model.write_json(MODEL_CONFIG, {})
            result_of(trial).write(trial.folder)
        return outcome_of(trials, (3,) * len(trials))

    def make_trials(_: Any, points: list[Point], folds: list[Any]) -> list[Trial]:
        return [dataclasses.replace(trial_in(tmp_path), config=points[0].config, fold=folds[0].index)]

    monkeypatch.setattr(final_module, "run_trials", run_trials)
    monkeypatch.setattr(final_module, "make_trials", make_trials)
    return asked


@pytest.mark.parametrize(("epochs", "median"), [((1, 5, 2, 4), 2), ((3, 3, 5, 4), 3)])
def test_it_trains_for_the_lower_median_of_the_first_seeds_best_epochs(
    ground: Any, asked: list[Trial], tmp_path: Path, epochs: tuple[int, ...], median: int
) -> None:
    own = [dataclasses.replace(trial_in(tmp_path), fold=fold, point="seed 5") for fold in range(4)]
    other = dataclasses.replace(own[0], config=demo_short(), point="seed 6")
    found = crossval_module._final_model(ground, own, outcome_of([*own, other], (*epochs, 5)))
    assert (found.point, found.epochs, found.folder, found.trial) == ("seed 5", median, MODEL, "final")
    (trial,) = asked
    assert trial.config.train.epochs == median and trial.fold == 4
    assert trial.model.location == str(tmp_path / MODEL)


def test_its_temperature_is_the_median_of_its_points_folds(ground: Any, asked: list[Trial], tmp_path: Path) -> None:
    point, trial = ground.run.points[0], trial_in(tmp_path)
    folds = [result_of(trial, temperature=value) for value in (0.5, 4.0, 0.75)]
    assert train_final(ground, point, folds, 3).temperature == asked[0].temperature == 0.75
    assert train_final(ground, point, [result_of(trial)], 3).temperature is None, "of an early version"


def test_a_finished_one_is_not_trained_again_and_one_without_its_model_is(ground: Any, asked: list[Trial]) -> None:
    point = ground.run.points[0]
    train_final(ground, point, [], 3)
    train_final(ground, point, [], 3)
    assert len(asked) == 1
    asked[0].model.delete(MODEL_CONFIG)
    train_final(ground, point, [], 3)
    assert len(asked) == 2
    train_final(ground, point, [], 4)
    assert len(asked) == 3, "other epochs are another training"


@pytest.mark.parametrize(("n_trained", "model", "kept"), [(0, True, True), (1, True, False), (0, False, False)])
def test_a_command_without_it_keeps_that_of_one_with_it_unless_folds_changed(
    tmp_path: Path, n_trained: int, model: bool, kept: bool
) -> None:
    run = Folder.at(str(tmp_path))
    run_result(final=FINAL).write(run)
    if model:
        (run / MODEL).write_json(MODEL_CONFIG, {})
    found = kept_final(run, outcome_of([], n_trained=n_trained))
    assert found == (FinalModel(point="", epochs=3, folder=MODEL) if kept else None)


def test_without_results_there_is_none_to_keep(tmp_path: Path) -> None:
    run = Folder.at(str(tmp_path))
    (run / MODEL).write_json(MODEL_CONFIG, {})
    assert kept_final(run, outcome_of([])) is None
    run.write_bytes("results.json", b"{}")
    assert kept_final(run, outcome_of([])) is None


def test_it_learns_from_everything_but_never_from_a_published_test_part() -> None:
    manifest = manifest_of(ROWS)
    whole = whole_fold(manifest, make_folds(manifest, GIVEN))
    assert (whole.index, whole.train, whole.validation, whole.test) == (1, ("a", "b", "c", "u"), (), ())
    names = [u.utterance_id for u in manifest.utterances]
    folds = [Fold(index=i, name="", train=(), validation=(), test=()) for i in range(3)]
    rotated = [
        dataclasses.replace(fold, train=tuple(names[i::3]), validation=tuple(names[(i + 1) % 3 :: 3]))
        for i, fold in enumerate(folds)
    ]
    assert whole_fold(manifest, rotated).train == tuple(names)
