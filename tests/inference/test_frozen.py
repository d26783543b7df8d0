"""Models of a run store the weights of their frozen encoders once, and load no others in their place."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from raysys.errors import ModelFolderError
from raysys.inference import EmotionModel, load_model
from raysys.inference.frozen import FROZEN
from raysys.storage import Folder
from tests.test_inference import LENGTHS, ask, config_of, make, save, waveforms

torch.set_num_threads(1)

FROZEN_AUDIO = {"audio": "tiny", "text": "tiny", "freeze_audio": "all"}


def write_folds(run: str, **values: Any) -> list[EmotionModel]:
    """Two folds' models, which differ in all that is trained."""
    made = [make(config_of(**values)), make(config_of(**values))]
    with torch.no_grad():
        for parameter in made[1][0].network.parameters():
            if parameter.requires_grad:
                parameter += 0.1
    for fold, one in enumerate(made, 1):
        save(one, f"{run}/folds/{fold}/model", frozen=Folder.at(f"{run}/{FROZEN}"))
    return [model for model, _ in made]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_folds(str(tmp_path / "run"), **FROZEN_AUDIO)
    return tmp_path / "run"


@pytest.mark.parametrize("place", ["disk", "memory"])
def test_two_folds_share_a_file_and_each_predicts_as_before(tmp_path: Path, place: str) -> None:
    run = str(tmp_path / "run") if place == "disk" else f"memory://{uuid.uuid4().hex}/run"
    models = write_folds(run, **FROZEN_AUDIO)
    assert len(Folder.at(f"{run}/{FROZEN}").names()) == 1
    heard = waveforms(LENGTHS)
    for fold, model in enumerate(models, 1):
        assert np.array_equal(ask(load_model(f"{run}/folds/{fold}/model"), heard), ask(model, heard))


def test_each_weight_is_stored_once_and_what_is_trained_is_the_folds_own(run: Path) -> None:
    (shared,) = (run / FROZEN).iterdir()
    elsewhere = safetensors.torch.load_file(shared)
    network = load_model(str(run / "folds/1/model")).network
    encoder = {name for name, _ in network.named_parameters() if name.startswith("audio_encoder.")}
    assert elsewhere.keys() == encoder and len(encoder) > 10
    own = safetensors.torch.load_file(run / "folds/1/model/model.safetensors").keys()
    assert own | encoder == network.state_dict().keys() and not own & encoder


def test_a_model_with_nothing_frozen_is_a_folder_of_its_own(tmp_path: Path) -> None:
    write_folds(str(tmp_path / "run"), audio="light", text="light")
    assert not (tmp_path / "run" / FROZEN).exists()
    moved = shutil.move(tmp_path / "run/folds/1/model", tmp_path / "moved")
    assert load_model(str(moved)).classes


def test_adapted_weights_are_the_folds_own(tmp_path: Path) -> None:
    """Merged, they are no longer what was loaded."""
    models = write_folds(str(tmp_path / "run"), audio="tiny", text="light", adapt="lora")
    (shared,) = (tmp_path / "run" / FROZEN).iterdir()
    elsewhere = safetensors.torch.load_file(shared).keys()
    assert not [name for name in elsewhere if "attention.q_proj.weight" in name]
    assert [name for name in elsewhere if "feature_extractor" in name]
    heard = waveforms(LENGTHS)
    for fold, model in enumerate(models, 1):
        found = ask(load_model(str(tmp_path / f"run/folds/{fold}/model")), heard)
        np.testing.assert_allclose(found, ask(model, heard), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("fault", "said"), [("gone", "missing"), ("fifo", "missing"), ("other", "damaged")])
def test_frozen_weights_that_are_not_there_or_others_are_named(run: Path, fault: str, said: str) -> None:
    (shared,) = (run / FROZEN).iterdir()
    weights = safetensors.torch.load_file(shared)
    shared.unlink()
    if fault == "fifo":
        os.mkfifo(shared)
    if fault == "other":
        safetensors.torch.save_file({name: value + 1 for name, value in weights.items()}, shared)
    model = run / "folds/1/model"
    with pytest.raises(ModelFolderError, match=rf"^{model}: its frozen .*{said}.*expected them in {shared}\. Copy the"):
        load_model(str(model))


def test_a_model_copied_without_its_run_is_refused(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "folds/1/model", tmp_path / "a/b/c/model")
    with pytest.raises(ModelFolderError, match="are missing: expected them in"):
        load_model(str(tmp_path / "a/b/c/model"))


@pytest.mark.parametrize("frozen", [{"audio": "../../x"}, {"audio": "a" * 63}, {"head": "a" * 64}, ["a" * 64], "x"])
def test_a_name_that_is_no_digest_is_never_opened(run: Path, frozen: object) -> None:
    path = run / "folds/1/model/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"frozen": frozen}))
    with pytest.raises(ModelFolderError, match=r"config\.json: frozen is .*expected digests"):
        load_model(str(path.parent))


def test_a_damaged_file_is_written_again(run: Path) -> None:
    (shared,) = (run / FROZEN).iterdir()
    whole = shared.read_bytes()
    shared.write_bytes(whole[:100])
    write_folds(str(run), **FROZEN_AUDIO)
    assert shared.read_bytes() == whole
