"""The final model of a grid search: which configuration it is trained with, without a cluster."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raysys.data.folds import Fold
from raysys.data.manifest import Manifest, Utterance
from raysys.data.plan import total_updates
from raysys.presets import demo_short
from raysys.runs import final as final_module
from raysys.runs import grid
from raysys.runs.points import Point
from raysys.runs.trial import Trial
from raysys.runs.tuner import Outcome
from raysys.storage import Folder
from raysys.training.optim import rate_factor
from tests.runs.results import result_of, trial_in


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Trial]:
    """What `_final_model` returns and trains, for a point whose three folds chose epochs 5, 2 and 4 of 5."""
    config = demo_short()
    utterances = tuple(
        Utterance(utterance_id=f"u{i:02}", audio_path="x.wav", speaker="S", emotion="joy") for i in range(32)
    )
    own = [dataclasses.replace(trial_in(tmp_path), config=config, fold=fold, point="p") for fold in range(3)]
    results = {t.trial_id: result_of(t, epoch=epoch) for t, epoch in zip(own, (5, 2, 4), strict=True)}
    outcome = Outcome(trials=tuple(own), results=results, stopped={}, failed={})
    run = SimpleNamespace(points=[Point(name="p", config=config)], folder=Folder.at(str(tmp_path)))
    manifest = Manifest(corpus="table", classes=("joy",), utterances=utterances)
    ids = tuple(u.utterance_id for u in utterances)
    folds = tuple(
        Fold(index=k, name=str(k), train=ids[k::3], validation=ids[(k + 1) % 3 :: 3], test=ids[(k + 2) % 3 :: 3])
        for k in range(3)
    )
    ground: Any = SimpleNamespace(run=run, manifest=manifest, folds=folds, cluster=None)
    asked: list[Trial] = []

    def make_trials(_: Any, points: list[Point], folds: list[Fold]) -> list[Trial]:
        (point,), (fold,) = points, folds
        return [dataclasses.replace(trial_in(tmp_path), config=point.config, fold=fold.index, point=point.name)]

    def run_trials(trials: list[Trial], *_: object, **__: object) -> Outcome:
        asked.extend(trials)
        found = {t.trial_id: result_of(t, n_validation=0, validation_ua=None, parameters=7) for t in trials}
        return Outcome(trials=tuple(trials), results=found, stopped={}, failed={})

    monkeypatch.setattr(final_module, "make_trials", make_trials)
    monkeypatch.setattr(final_module, "run_trials", run_trials)
    final = grid._final_model(ground, outcome)
    (trial,) = asked
    return final, trial


def test_the_final_model_is_trained_for_the_median_epoch_and_nothing_else_of_its_point_changes(
    trained: tuple[Any, Trial],
) -> None:
    final, trial = trained
    expected = demo_short()
    assert (final.point, final.epochs, final.trial) == ("p", 4, "final")
    assert trial.config == dataclasses.replace(expected, train=dataclasses.replace(expected.train, epochs=4))
    assert trial.final and trial.keeps_model


def test_its_rate_has_decayed_at_its_last_update(trained: tuple[Any, Trial]) -> None:
    """32 utterances in updates of 16: 8 updates, of which one warms up; the last has 1/7 of the peak rate.

    In the folds' schedule of 5 epochs it would have 3/9.
    """
    _, trial = trained
    updates = total_updates(32, trial.config.train)
    assert updates == 8
    assert rate_factor(updates - 1, updates, trial.config.optim.warmup) == pytest.approx(1 / 7)
    assert rate_factor(updates - 1, total_updates(32, demo_short().train), 0.1) == pytest.approx(3 / 9)
