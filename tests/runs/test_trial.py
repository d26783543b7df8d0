"""A trial: its result counts only for its own configuration, corpus, fold and code."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raysys.config import ExperimentConfig, RunConfig, TrainConfig
from raysys.data.folds import Fold
from raysys.data.manifest import Manifest, Utterance
from raysys.data.views import Source
from raysys.runs.trial import Trial, read_fold, write_folds
from raysys.runs.worker import predictions_table
from raysys.storage import Folder
from tests.runs.results import result_of, trial_in


@pytest.fixture
def manifest() -> Manifest:
    return Manifest(
        corpus="table",
        classes=("joy", "fear"),
        utterances=tuple(
            Utterance(utterance_id=name, audio_path="x.wav", speaker=f"S-{name}", emotion=emotion)
            for name, emotion in {"a": "joy", "b": "fear", "c": "joy"}.items()
        ),
    )


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    return trial_in(tmp_path)


def test_predictions_are_in_the_order_of_their_ids_with_a_column_a_class(manifest: Manifest) -> None:
    probabilities = np.array([[0.25, 0.75], [0.875, 0.125]])
    table = predictions_table(manifest, 2, ["c", "a"], probabilities)
    assert table.column_names == ["utterance_id", "speaker", "fold", "label", "prediction", "p_joy", "p_fear"]
    assert table.to_pydict() == {
        "utterance_id": ["a", "c"],
        "speaker": ["S-a", "S-c"],
        "fold": [3, 3],
        "label": ["joy", "joy"],
        "prediction": ["joy", "fear"],
        "p_joy": [0.875, 0.25],
        "p_fear": [0.125, 0.75],
    }


def test_a_fold_is_finished_once_its_own_result_is_there(trial: Trial) -> None:
    assert trial.result() is None
    result_of(trial).write(trial.folder)
    assert trial.result() is not None
    assert trial.folder.path.endswith("/folds/2")


@pytest.mark.parametrize(
    "other",
    [
        {"fingerprint": "ff00"},
        {"code": "n3w"},
        {"source": Source(store="/cache/waveforms-1e", augment=None, crop_s=13.0, seed=0)},
        {"texts": "/cache/texts-0f.parquet"},
        {"config": ExperimentConfig(train=TrainConfig(seed=1))},
        {"config": ExperimentConfig(train=TrainConfig(epochs=1))},
        {"stop_after": 3},
        {"test_curve": True},
        {"torch_trainer": True},
    ],
)
def test_a_result_of_another_corpus_code_or_configuration_does_not_count(trial: Trial, other: dict[str, Any]) -> None:
    result_of(dataclasses.replace(trial, **other)).write(trial.folder)
    assert trial.result() is None


def test_folds_have_their_own_ids(trial: Trial) -> None:
    assert dataclasses.replace(trial, fold=0).trial_id != trial.trial_id


@pytest.mark.parametrize(
    "moved",
    [
        {"source": Source(store="/elsewhere/waveforms-0f", augment=None, crop_s=13.0, seed=0)},
        {"config": ExperimentConfig(run=RunConfig(root="/x", name="y"))},
    ],
)
def test_a_run_that_was_moved_is_still_the_same(trial: Trial, moved: dict[str, Any]) -> None:
    assert dataclasses.replace(trial, **moved).trial_id == trial.trial_id


def test_a_trial_is_small(trial: Trial) -> None:
    assert len(pickle.dumps(trial)) < 2_000


def test_folds_read_back_one_by_one(manifest: Manifest, tmp_path: Path) -> None:
    folds = tuple(
        Fold(index=i, name=f"S-{test}", train=(train,), validation=(validation,), test=(test,))
        for i, (train, validation, test) in enumerate(["cba", "acb", "bac"])
    )
    run = Folder.at(str(tmp_path))
    write_folds(run, manifest, folds)
    for fold in folds:
        assert read_fold(run, fold.index) == (manifest, fold)
