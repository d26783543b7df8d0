"""A run's folder is a model: its final one, otherwise the ensemble of its folds, each named; all else is refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from raysys.errors import ModelFolderError, StorageError
from raysys.inference import EmotionModel, Ensemble, load_model
from raysys.inference.folder import FORMAT
from raysys.results import RESULTS
from raysys.storage import Folder
from tests.report.made_up import ablation, grid, run_result, seeds
from tests.test_inference import CLASSES, LENGTHS, TEXTS, ask, config_of, make, save, waveforms

torch.set_num_threads(1)

FOLDS = [{"fold": k, "name": f"S{k}", "trial": f"folds/{k}"} for k in (1, 2, 3)]


@pytest.fixture(scope="module")
def models() -> list[EmotionModel]:
    return [make(seed=seed)[0] for seed in (1, 2, 3)]


@pytest.fixture
def run(models: list[EmotionModel], tmp_path: Path) -> Path:
    """A finished cross-validation of three folds."""
    folder = tmp_path / "run"
    for k, model in enumerate(models, 1):
        save((model, config_of()), folder / f"folds/{k}/model")
    (folder / "run.json").write_text("{}")
    run_result(folds=FOLDS, classes=CLASSES).write(Folder.at(str(folder)))
    return folder


def write_grid(run: Path) -> EmotionModel:
    """A final model, which differs from the folds', and results that name it."""
    made = make(seed=9)
    save(made, run / "model")
    found = grid(points=[{"name": "p", "validation_ua": 0.5}], final={"point": "p", "epochs": 7, "folder": "model"})
    run_result(kind="gridsearch", folds=FOLDS, grid=found).write(Folder.at(str(run)))
    return made[0]


def test_a_run_without_a_final_model_is_the_mean_of_its_folds(run: Path, models: list[EmotionModel]) -> None:
    found = load_model(str(run))
    assert isinstance(found, Ensemble)
    heard = waveforms(LENGTHS)
    expected_NC = np.zeros((4, 3), np.float64)
    for model in models:
        expected_NC += ask(model, heard).astype(np.float64) / 3
    said_NC = found.probabilities(heard, TEXTS)
    assert said_NC.dtype == np.float32
    np.testing.assert_allclose(said_NC, expected_NC, rtol=0, atol=1e-6)
    assert np.abs(said_NC - ask(models[0], heard)).max() > 1e-3, "the folds must differ"


def test_an_ensemble_is_used_like_a_model(run: Path) -> None:
    model, together = load_model(str(run / "folds/1/model")), load_model(str(run))
    assert isinstance(model, EmotionModel) and isinstance(together, Ensemble)
    for name in ("classes", "modalities", "trim_db"):
        assert getattr(model, name) == getattr(together, name), name
    assert together.probabilities([], []).shape == (0, 3)
    with pytest.raises(ValueError, match="4 waveforms, but 3 transcripts"):
        together.probabilities(waveforms(LENGTHS), TEXTS[:3])


def test_a_run_with_a_final_model_is_that(run: Path) -> None:
    final = write_grid(run)
    found = load_model(str(run))
    assert np.array_equal(found.probabilities(waveforms(LENGTHS), TEXTS), ask(final, waveforms(LENGTHS)))


def test_what_was_loaded_is_said(run: Path) -> None:
    assert load_model(str(run)).origin == f"ensemble of 3 folds of {run}"
    assert repr(load_model(str(run))) == f"Ensemble(ensemble of 3 folds of {run}; classes: anger, joy, fear)"
    part = f"{run}/folds/2/model"
    assert repr(load_model(part)) == f"EmotionModel(model {part}; classes: anger, joy, fear)"
    run_result(folds=FOLDS, seed=3, seeds=dataclasses.asdict(seeds())).write(Folder.at(str(run)))
    assert load_model(str(run)).origin == f"ensemble of 3 folds of {run}, seed 3"
    write_grid(run)
    assert load_model(str(run)).origin == f"final model of {run}, 7 epochs on all data"


def test_a_model_that_no_result_tells_of_is_not_the_runs(run: Path) -> None:
    """Left by earlier code, whose results were replaced."""
    save(make(seed=9), run / "model")
    assert isinstance(load_model(str(run)), Ensemble)


def test_a_run_that_is_not_finished_is_refused(run: Path) -> None:
    (run / RESULTS).unlink()
    with pytest.raises(ModelFolderError, match=rf"^{run}: contains no results\.json: .*not finished\. Run its command"):
        load_model(str(run))


def test_an_empty_folder_and_none_at_all_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match=rf"^{tmp_path}: contains no config\.json, nor anything else; expected "):
        load_model(str(tmp_path))
    with pytest.raises(ModelFolderError, match=r"/x: contains no config\.json: there is no such folder; expected "):
        load_model(str(tmp_path / "x"))


def test_what_is_neither_is_told_with_what_it_contains(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ModelFolderError, match=r"contains no config\.json but notes\.txt; expected a model's folder"):
        load_model(str(tmp_path))


def test_a_folds_folder_leads_to_its_model(run: Path) -> None:
    with pytest.raises(ModelFolderError, match=rf"contains a model: give {run}/folds/1/model\.$"):
        load_model(str(run / "folds/1"))


def test_a_run_of_an_earlier_version_is_refused_with_what_to_do(run: Path) -> None:
    for k in (1, 2, 3):
        shutil.rmtree(run / f"folds/{k}/model")
        (run / f"folds/{k}/best.safetensors").write_bytes(b"weights")
    with pytest.raises(
        ModelFolderError, match=rf"^{run}: none of its 3 folds has a model; an earlier .*Run its command"
    ):
        load_model(str(run))


def test_an_ablation_is_refused(run: Path) -> None:
    run_result(kind="ablation", folds=FOLDS, ablation=ablation()).write(Folder.at(str(run)))
    with pytest.raises(ModelFolderError, match="an ablation keeps no models; expected a cross-validation"):
        load_model(str(run))


def test_a_fold_without_its_model_is_named(run: Path) -> None:
    shutil.rmtree(run / "folds/2/model")
    with pytest.raises(
        ModelFolderError, match=r"folds/2/model contains no config\.json, .* remove its folder folds/2 "
    ):
        load_model(str(run))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"classes": ["anger", "fear", "joy"]},
            "its classes are anger, fear, joy, but those of .* are anger, joy, fear",
        ),
        ({"format": FORMAT + 1}, f"has format {FORMAT + 1}, .* update raysys"),
        ({"format": 1}, "has format 1, .* An earlier version wrote it"),
    ],
)
def test_a_fold_that_does_not_fit_is_named(run: Path, values: dict[str, Any], said: str) -> None:
    path = run / "folds/3/model/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    with pytest.raises(ModelFolderError, match=rf"^{run}/folds/3/model.*{said}"):
        load_model(str(run))


def test_results_that_cannot_be_read_are_named(run: Path) -> None:
    (run / RESULTS).write_text("{}")
    with pytest.raises(StorageError, match=rf"^{run}: its results\.json cannot be read"):
        load_model(str(run))
