"""A model exported as ONNX predicts as with PyTorch, whatever the batch; its README's example works word for word."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from raysys.commands import export as command
from raysys.errors import ExportError
from raysys.export import export_onnx, write
from raysys.export.inputs import inputs_of
from raysys.export.runtime import session
from raysys.inference import EmotionModel, Ensemble, load_model, read_waveform
from raysys.model.audio import WaveformEncoder
from raysys.storage import Folder
from tests.model.encoder_folders import write_encoders
from tests.model.test_spectrogram import write_ast
from tests.model.test_whisper import write as write_whisper
from tests.test_inference import Modalities, config_of, make, save, waveforms

torch.set_num_threads(1)

LENGTHS = (12_345, 399, 30_000, 170, 8_000)
TEXTS = ("kids are talking by the door", None, "dogs", "", "by the door kids and dogs are sitting " * 3)
LIGHT: tuple[Modalities, ...] = ("both", "audio", "text")
MODELS: dict[str, tuple[dict[str, Any], Modalities]] = {
    **{f"light, {modalities}": ({}, modalities) for modalities in LIGHT},
    "GRUs of their own, attention pooling": ({"bigru": "per_stream", "pooling": "attention"}, "both"),
    "wav2vec 2.0 and DistilBERT": ({"audio": "wav2vec2", "text": "distilbert"}, "both"),
    "Whisper, all states": (
        {"audio": "whisper", "layer": "weighted_sum", "freeze_audio": "all", "pool_frames": 4, "pooling": "statistics"},
        "audio",
    ),
}


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("encoders")
    audio, text = write_encoders(root)
    write_whisper(root / "whisper")
    write_ast(root / "ast")
    return {"wav2vec2": str(audio), "distilbert": str(text), "whisper": str(root / "whisper"), "ast": str(root / "ast")}


def built(encoders: dict[str, str], values: dict[str, Any], modalities: Modalities) -> EmotionModel:
    named = {key: encoders.get(value, value) for key, value in values.items()}
    return dataclasses.replace(make(config_of(**named), modalities)[0], temperature=1.5)


@pytest.mark.parametrize("name", MODELS)
def test_every_batch_has_the_probabilities_that_pytorch_gives_each_utterance(
    encoders: dict[str, str], tmp_path: Path, name: str
) -> None:
    values, modalities = MODELS[name]
    model = built(encoders, values, modalities)
    export_onnx(model, Folder.at(str(tmp_path)))
    heard = waveforms(LENGTHS, seed=1)
    texts = [text or "" for text in TEXTS] if modalities == "text" else list(TEXTS)
    alone_NC = np.concatenate(
        [
            model.probabilities(None if modalities == "text" else [waveform], [text])
            for waveform, text in zip(heard, texts, strict=True)
        ]
    )
    graph = session((tmp_path / "model.onnx").read_bytes())
    for rows in ([0, 1, 2, 3, 4], [3], [1, 0], [4, 4, 2]):
        found_BC = graph(inputs_of(model, [heard[i] for i in rows], [texts[i] for i in rows]))
        np.testing.assert_allclose(found_BC, alone_NC[rows], atol=1e-5, rtol=0)
    assert np.ptp(alone_NC, axis=0).max() > 1e-3, "all utterances alike would prove nothing"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder, with its export and two recordings in `onnx`; silence is trimmed."""
    model, config = make(config_of())
    folder = Path(
        save((dataclasses.replace(model, trim_db=40.0), config), tmp_path_factory.mktemp("exported") / "model")
    )
    export_onnx(load_model(str(folder)), Folder.at(str(folder / "onnx")))
    for name, seed in (("a", 0), ("b", 1)):
        (speech,) = waveforms((20_000 + 3_000 * seed,), seed=seed)
        soundfile.write(folder / f"onnx/{name}.wav", np.pad(speech, (9_000, 12_000)), 16_000, subtype="FLOAT")
    return folder


def test_the_readmes_example_predicts_the_same_without_pytorch(exported: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (exported / "onnx/README.md").read_text(), re.DOTALL)
    without = "import sys\nsys.modules.update(dict.fromkeys(['torch', 'transformers', 'raysys']))\n"
    answer = subprocess.run(
        [sys.executable, "-c", f"{without}{example}print(found.tolist())"],
        cwd=exported / "onnx",
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    heard = [read_waveform(str(exported / f"onnx/{name}.wav")) for name in "ab"]
    wanted_NC = load_model(str(exported)).probabilities(heard, ["so glad to see you", None])
    found_NC = np.array(json.loads(answer.stdout.splitlines()[-1]))
    np.testing.assert_allclose(found_NC, wanted_NC, atol=1e-5, rtol=0)
    assert f"'joy': {wanted_NC[0, 1]:.3f}"[:-1] in answer.stdout


@pytest.mark.parametrize("modalities", ["audio", "text"])
def test_the_example_reads_what_the_model_reads(tmp_path: Path, modalities: Modalities) -> None:
    export_onnx(make(config_of(), modalities)[0], Folder.at(str(tmp_path)))
    readme = (tmp_path / "README.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    compile(example, "README.md", "exec")
    assert ("soundfile" in readme) == (modalities == "audio")
    assert ("tokenizer" in readme) == (modalities == "text") == (tmp_path / "tokenizer.json").exists()
    assert "has_text" not in readme and "trim" not in example


def test_programs_find_classes_inputs_and_shapes(exported: Path) -> None:
    about = json.loads((exported / "onnx/onnx.json").read_text())
    assert about["classes"] == ["anger", "joy", "fear"] and about["trim_db"] == 40.0 and about["opset"] == 17
    shapes = {row["name"]: (row["type"], row["shape"]) for row in about["inputs"]}
    assert shapes == {
        "waveforms": ("float32", ["batch", "samples"]),
        "lengths": ("int64", ["batch"]),
        "tokens": ("int64", ["batch", "tokens"]),
        "token_mask": ("int64", ["batch", "tokens"]),
        "has_text": ("bool", ["batch"]),
    }
    assert about["output"] == {"name": "probabilities", "type": "float32", "shape": ["batch", 3]}
    assert about["largest_difference"]["model.onnx"] <= 1e-4


def test_eight_bits_round_weights_and_little_else(exported: Path) -> None:
    model = load_model(str(exported))
    assert isinstance(model, EmotionModel)
    inputs = inputs_of(model, waveforms(LENGTHS), list(TEXTS))
    float32_NC, int8_NC = (
        session((exported / f"onnx/{name}").read_bytes())(inputs) for name in ("model.onnx", "model.int8.onnx")
    )
    assert 1e-6 < np.abs(float32_NC - int8_NC).max() < 0.02


def test_a_graph_that_predicts_otherwise_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "largest_difference", lambda model, graph: 2e-4)
    with pytest.raises(ExportError, match=r"differ from PyTorch's by up to 0\.0002, expected at most 0\.0001"):
        export_onnx(make()[0], Folder.at(str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


def test_an_ensemble_is_refused_with_a_model_to_give_instead() -> None:
    folds = tuple(dataclasses.replace(make(seed=k)[0], origin=f"runs/x/folds/{k}/model") for k in range(2))
    with pytest.raises(ExportError, match=r"such as runs/x/folds/0/model, or .*crossval --final-model"):
        export_onnx(Ensemble(models=folds, origin="ensemble of 2 folds of runs/x"), Folder.at("unused"))


def test_an_encoder_that_padding_changes_is_refused(encoders: dict[str, str]) -> None:
    model = built(encoders, {"audio": "wav2vec2"}, "audio")
    assert isinstance(model.network.audio_encoder, WaveformEncoder)
    model.network.audio_encoder.padded = False
    with pytest.raises(ExportError, match=r"padding changes its audio encoder \(wav2vec2\)"):
        export_onnx(model, Folder.at("unused"))


def test_an_encoder_that_onnx_cannot_express_is_named(encoders: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"ONNX cannot express it .* Its encoders are ASTModel"):
        export_onnx(built(encoders, {"audio": "ast"}, "audio"), Folder.at(str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["raysys export", *arguments])
    command.main()


def test_without_the_packages_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if "onnx" in name else find(name, *rest))
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, "nowhere", "--onnx")
    assert "needs onnx and onnxruntime, which are not installed: pip install 'raysys[onnx]'" in capsys.readouterr().err


def test_the_command_writes_beside_the_model_and_needs_a_format(
    exported: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (exported / "onnx/README.md").unlink()
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, str(exported))
    assert "add --onnx" in capsys.readouterr().err and not (exported / "onnx/README.md").exists()
    run(monkeypatch, str(exported), "--onnx")
    assert capsys.readouterr().out.splitlines()[-1] == str(exported / "onnx/README.md")
    assert (exported / "onnx/README.md").exists()
