"""A saved model from elsewhere: its values are checked, and sizes before memory is taken; no FIFO is opened."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from raysys.errors import ModelFolderError
from raysys.inference import folder as model_folder
from raysys.inference import load_model
from tests.test_inference import config_of, make, save

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(save(make(config_of(audio="tiny", text="tiny")), tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "model"))


def rewrite(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("classes", "joy"),
        ("classes", ["joy", "joy", "anger"]),
        ("classes", ["joy", 1, "anger"]),
        ("classes", ["joy", "", "anger"]),
        ("classes", []),
        ("modalities", "video"),
        ("modalities", ["both"]),
        ("sample_rate_hz", 8_000),
        ("sample_rate_hz", "16000"),
        ("trim_db", -3),
        ("trim_db", "40"),
        ("trim_db", True),
        ("trim_db", float("nan")),
        ("trim_db", float("inf")),
        ("padded", "no"),
        ("padded", None),
        ("model", []),
    ],
)
def test_a_value_that_was_never_written_is_named(folder: Path, name: str, value: object) -> None:
    """Each would silently change predictions, or fail at the first."""
    rewrite(folder / "config.json", **{name: value})
    with pytest.raises(
        ModelFolderError, match=rf"^{folder}: a part cannot be read \(config\.json: {name} is .*expected"
    ):
        load_model(str(folder))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("width", "16"),
        ("width", 16.0),
        ("heads", True),
        ("dropout", "0"),
        ("layer", "first"),
        ("bigru", None),
        ("ccb1", 1),
        ("audio", ["tiny"]),
        ("depth", 3),
    ],
)
def test_a_setting_of_the_wrong_type_is_named(folder: Path, name: str, value: object) -> None:
    model = json.loads((folder / "config.json").read_text())["model"]
    rewrite(folder / "config.json", model=model | {name: value})
    with pytest.raises(ModelFolderError, match=rf"config\.json: (model has an unknown setting )?'?{name}'?"):
        load_model(str(folder))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(folder: Path, value: float) -> None:
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    tensors["head.1.bias"][1] = value
    safetensors.torch.save_file(tensors, folder / "model.safetensors")
    with pytest.raises(ModelFolderError, match=r"head\.1\.bias contains values that are not finite"):
        load_model(str(folder))


HUGE: dict[str, tuple[str, dict[str, Any], str]] = {
    "width": ("config.json", {"width": 16_000, "feed_forward": 64_000}, "has shape .*, expected"),
    "blocks": ("config.json", {"n_layers": 10**9}, "n_layers is 1000000000, but the weights' file has only"),
    "audio width": ("audio/config.json", {"intermediate_size": 10**9}, "has shape .*, expected"),
    "audio layers": ("audio/config.json", {"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000"),
    "positions": ("text/config.json", {"max_position_embeddings": 10**12}, "has shape .*, expected"),
    "text layers": ("text/config.json", {"n_layers": 10**9}, "text/config.json: n_layers is 1000000000"),
    "vocabulary": ("text/config.json", {"vocab_size": 10**11}, "has shape .*, expected"),
}


@pytest.mark.parametrize("what", HUGE)
def test_a_small_folder_that_asks_for_a_huge_network_is_refused_before_memory_is_taken(
    folder: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """456 kB once asked for 3.1 GB."""
    file, values, said = HUGE[what]
    if file == "config.json":
        values = {"model": json.loads((folder / file).read_text())["model"] | values}
    rewrite(folder / file, **values)
    empty = model_folder._empty

    def on_meta(*args: Any, device: str = "meta") -> Any:
        assert device == "meta", "a network was built in memory"
        return empty(*args, device=device)

    monkeypatch.setattr(model_folder, "_empty", on_meta)
    with pytest.raises(ModelFolderError, match=said):
        load_model(str(folder))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: rewrite(folder / "tokenizer_config.json", pad_token=None), "has no padding token"),
        (lambda folder: rewrite(folder / "tokenizer_config.json", model_max_length="16"), "a model_max_length of 16"),
        (lambda folder: renumber(folder / "tokenizer.json"), "has 1001 tokens, but the model has embeddings for"),
    ],
    ids=["no padding", "a limit of letters", "a token beyond the embeddings"],
)
def test_a_tokenizer_that_would_fail_at_the_first_text_is_refused(folder: Path, change: Any, said: str) -> None:
    change(folder / "tokenizer")
    with pytest.raises(ModelFolderError, match=rf"^{folder}: .*its tokenizer.*{said}"):
        load_model(str(folder))


def renumber(path: Path) -> None:
    values = json.loads(path.read_text())
    vocabulary = values["model"]["vocab"]
    vocabulary[max(vocabulary, key=vocabulary.get)] = 1000
    path.write_text(json.dumps(values))


def test_a_saved_model_reads_texts_up_to_its_positions_whatever_its_tokenizer_says(folder: Path) -> None:
    rewrite(folder / "tokenizer" / "tokenizer_config.json", model_max_length=100_000)
    tokenizer = load_model(str(folder)).tokenizer
    assert tokenizer is not None and tokenizer.model_max_length == 512


@pytest.mark.parametrize("change", ["one more", "one less"])
def test_a_tensor_too_many_or_too_few_is_named(folder: Path, change: str) -> None:
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    if change == "one more":
        tensors["head.2.bias"] = torch.zeros(3)
    else:
        tensors["head.2.bias"] = tensors.pop("head.1.bias")
    safetensors.torch.save_file(tensors, folder / "model.safetensors")
    with pytest.raises(ModelFolderError, match=r"head\.[12]\.bias is (not expected|missing)"):
        load_model(str(folder))


@pytest.mark.parametrize("part", ["model.safetensors", "text/config.json", "tokenizer/tokenizer.json", "new"])
def test_a_fifo_is_not_opened(folder: Path, part: str) -> None:
    """Opening one without a writer never returns."""
    (folder / part).unlink(missing_ok=True)
    os.mkfifo(folder / part)
    with pytest.raises(ModelFolderError, match=f"^{folder}: {part} is a FIFO, socket or device"):
        load_model(str(folder))


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("tokenizer/tokenizer_config.json", "vocab", "/etc/passwd"),
        ("tokenizer/tokenizer_config.json", "init_inputs", ["vocab.txt"]),
        ("text/config.json", "backbone", "resnet50"),
    ],
)
def test_a_saved_model_does_not_lead_out_of_its_folder(folder: Path, file: str, key: str, value: object) -> None:
    rewrite(folder / file, **{key: value})
    with pytest.raises(ModelFolderError, match=rf"^{folder}: .*{Path(file).name}: '{key}' is "):
        load_model(str(folder))
