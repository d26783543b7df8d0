"""What a trial is told and leaves: a result counts for its configuration, corpus and fold only."""

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
from raysys.orchestrate.task import FoldTask, predictions_table, read_plan, write_plan
from raysys.storage import Folder
from tests.orchestrate.results import result_of


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


def task_in(run: Path) -> FoldTask:
    """The second fold of a run in this folder."""
    source = Source(store="/cache/waveforms-0f", augment=None, crop_s=13.0, seed=0)
    return FoldTask(config=ExperimentConfig(), run=str(run), source=source, fold=1, fingerprint="00ff", code="c0de")


@pytest.fixture
def task(tmp_path: Path) -> FoldTask:
    return task_in(tmp_path)


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


def test_a_fold_is_finished_once_its_own_result_is_there(task: FoldTask) -> None:
    assert not task.finished()
    result_of(task).write(task.folder)
    assert task.finished()
    assert task.folder.path.endswith("/folds/2")


@pytest.mark.parametrize(
    "other",
    [
        {"fingerprint": "ff00"},
        {"code": "n3w"},
        {"source": Source(store="/cache/waveforms-1e", augment=None, crop_s=13.0, seed=0)},
        {"texts": "/cache/texts-0f.parquet"},
        {"config": ExperimentConfig(train=TrainConfig(seed=1))},
        {"config": ExperimentConfig(train=TrainConfig(epochs=1))},
    ],
)
def test_a_result_of_another_corpus_code_or_configuration_does_not_count(task: FoldTask, other: dict[str, Any]) -> None:
    result_of(dataclasses.replace(task, **other)).write(task.folder)
    assert not task.finished()


def test_folds_have_their_own_ids(task: FoldTask) -> None:
    assert dataclasses.replace(task, fold=0).trial_id != task.trial_id


@pytest.mark.parametrize(
    "moved",
    [
        {"source": Source(store="/elsewhere/waveforms-0f", augment=None, crop_s=13.0, seed=0)},
        {"config": ExperimentConfig(run=RunConfig(root="/x", name="y"))},
    ],
)
def test_a_run_that_was_moved_is_still_the_same(task: FoldTask, moved: dict[str, Any]) -> None:
    assert dataclasses.replace(task, **moved).trial_id == task.trial_id


def test_a_task_is_small(task: FoldTask) -> None:
    assert len(pickle.dumps(task)) < 2_000


def test_a_plan_reads_back_fold_by_fold(manifest: Manifest, tmp_path: Path) -> None:
    folds = tuple(
        Fold(index=i, name=f"S-{test}", train=(train,), validation=(validation,), test=(test,))
        for i, (train, validation, test) in enumerate(["cba", "acb", "bac"])
    )
    run = Folder.at(str(tmp_path))
    write_plan(run, manifest, folds)
    for fold in folds:
        assert read_plan(run, fold.index) == (manifest, fold)
