"""Model folders with a defect: refused by name before memory is taken, or they predict as sound models do."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from raysys.errors import ModelFolderError
from raysys.inference import load_model
from tests.corpora.damage import DAMAGE, spoil
from tests.corpora.fuzzing import cases
from tests.test_inference import config_of, make, save

torch.set_num_threads(1)
FILES = ("config.json", "model.safetensors", "text/config.json", "audio/config.json", "tokenizer/tokenizer.json")
FILES += ("tokenizer/tokenizer_config.json",)
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**40), 2**40), st.floats(), st.text(max_size=8), st.lists(st.integers()),
    st.just("/etc/passwd"), st.just("someone/model"), st.just({}),
)  # fmt: skip
WAVEFORM = 0.1 * np.random.default_rng(0).standard_normal(8_000).astype(np.float32)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(save(make(config_of(audio="tiny", text="tiny")), tmp_path_factory.mktemp("models") / "tiny"))


def predicts_or_refuses(folder: Path) -> None:
    try:
        model = load_model(str(folder))
    except ModelFolderError as error:
        refusal = str(error)
    else:
        found_NC = np.asarray(model.probabilities([WAVEFORM], ["some words"]))
        assert found_NC.shape == (1, len(model.classes)) and abs(found_NC.sum() - 1) < 1e-4
        return
    assert str(folder) in refusal, f"not by name: {refusal}"


@cases("damaged model folders", file=st.sampled_from(FILES), damage=DAMAGE)
def test_a_damaged_model_folder_is_refused_by_name_or_predicts(
    original: Path, file: str, damage: tuple[Any, ...]
) -> None:
    with tempfile.TemporaryDirectory() as root:
        folder = Path(shutil.copytree(original, Path(root) / "model"))
        spoil(folder / file, *damage)
        predicts_or_refuses(folder)


@cases(
    "values of model folders",
    file=st.sampled_from([file for file in FILES if file.endswith("config.json")]),
    place=st.integers(0, 1_000),
    value=VALUES,
)
def test_a_changed_value_of_a_model_folder_is_refused_by_name_or_predicts(
    original: Path, file: str, place: int, value: Any
) -> None:
    with tempfile.TemporaryDirectory() as root:
        folder = Path(shutil.copytree(original, Path(root) / "model"))
        values = json.loads((folder / file).read_text())
        part = values["model"] if place % 2 and "model" in values else values
        part[sorted(part)[place % len(part)]] = value
        (folder / file).write_text(json.dumps(values))
        predicts_or_refuses(folder)
