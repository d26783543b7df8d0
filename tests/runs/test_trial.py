"""A trial: its result counts only for its own configuration, corpus, fold and code."""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raysys.config import ExperimentConfig, RunConfig, TrainConfig
from raysys.data.folds import Fold
from raysys.data.manifest import Manifest, Utterance
from raysys.data.recordings import Recordings
from raysys.data.views import Source
from raysys.errors import StorageError
from raysys.results import PREDICTIONS, RESULT
from raysys.runs import tuner
from raysys.runs.ledger import Ledger
from raysys.runs.tested import predictions_table
from raysys.runs.trial import HISTORY, LEFT, STOPPED, Trial, read_fold, write_folds
from raysys.storage import Folder
from tests.runs.results import result_of, trial_in

NOISES = Recordings(folder="/noise", listed="/cache/recordings-00.json", digest="0a")


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
        {"source": Source(store="/cache/waveforms-0f", augment=None, crop_s=13.0, seed=0, noises=NOISES)},
        {"source": Source(store="/cache/waveforms-0f", augment=None, crop_s=13.0, seed=0, rooms=NOISES)},
        {"texts": "/cache/texts-0f.parquet"},
        {"config": ExperimentConfig(train=TrainConfig(seed=1))},
        {"config": ExperimentConfig(train=TrainConfig(epochs=1))},
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


# What a finished trial left


def finish(trial: Trial, manifest: Manifest, *, checked: bool = True) -> None:
    trial.folder.write_table(PREDICTIONS, predictions_table(manifest, 1, ["a", "b", "c"], np.full((3, 2), 0.5)))
    trial.folder.write_bytes(HISTORY, b'{"epoch": 0}\n')
    result_of(trial).write(trial.folder, LEFT if checked else ())


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", [PREDICTIONS, HISTORY, RESULT])
def test_with_any_flipped_bit_in_what_a_finished_trial_left_it_is_trained_again(
    trial: Trial, manifest: Manifest, name: str
) -> None:
    finish(trial, manifest)
    path = Path(trial.folder.path) / name
    whole = path.read_bytes()
    for at in range(0, len(whole), max(1, len(whole) // 100)):
        flip(path, at)
        ledger = Ledger([trial], keep="all")
        why = str(trial.why_again())
        # In the id itself, it is another trial's.
        other = name == RESULT and b'"trial_id"' in whole[max(0, at - 40) : at + 1]
        assert ledger.open_trials() == [trial] and (f"{path} is damaged" in why or other), (at, why)
        path.write_bytes(whole)
    assert trial.result() is not None
    path.unlink()
    assert Ledger([trial], keep="all").open_trials() == [trial]


def test_a_damaged_result_is_a_note_in_the_terminal_and_in_the_results(
    trial: Trial, manifest: Manifest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(trial, manifest)
    flip(Path(trial.folder.path) / PREDICTIONS, 100)
    monkeypatch.setattr(tuner, "_train", lambda *_, **__: {})
    cluster: Any = None
    outcome = tuner.run_trials([trial], cluster, keep="all")
    said = f"fold 2: {trial.folder.location}/{PREDICTIONS} is damaged (it does not match its checksum); it is trained"
    assert f"note      {said} again\n" in capsys.readouterr().out
    assert outcome.notes() == [f"{said} again"]


def test_a_result_of_an_early_version_is_read_and_a_damaged_file_of_it_is_named(
    trial: Trial, manifest: Manifest
) -> None:
    finish(trial, manifest, checked=False)
    path = Path(trial.folder.path) / RESULT
    values = json.loads(path.read_text())
    del values["files"], values["crc32"]
    path.write_text(json.dumps(values))
    assert trial.result() == result_of(trial)
    assert trial.predictions().num_rows == 3
    (Path(trial.folder.path) / PREDICTIONS).write_bytes(b"PAR1")
    with pytest.raises(
        StorageError, match=rf"{PREDICTIONS} cannot be read .*Remove the folder {trial.folder.location}"
    ):
        trial.predictions()


def test_a_mark_or_history_of_an_unfinished_trial_that_is_damaged_stops_nothing(trial: Trial) -> None:
    for name in (STOPPED, HISTORY):
        trial.folder.write_bytes(name, b'{"epochs"')
    assert trial.history() == [] and Ledger([trial], keep="all").open_trials() == [trial]
