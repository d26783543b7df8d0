"""A saved model predicts the same in any process; nothing outside its folder is read, no partial model loaded."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pyarrow.fs as pafs
import pytest
import safetensors.torch
import soundfile
import torch
from transformers import (
    DistilBertConfig,
    DistilBertModel,
    HubertConfig,
    HubertModel,
    PreTrainedModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
)

from raysys.calibration import at_temperature
from raysys.config import LossConfig, ModelConfig
from raysys.data.audio import trim
from raysys.data.text import train_wordpiece
from raysys.data.view import View
from raysys.errors import AudioError, ModelFolderError
from raysys.inference import EmotionModel, load_model, read_waveform, save_model
from raysys.inference import folder as model_folder
from raysys.model.audio import WaveformEncoder
from raysys.model.encoders import make_tokenizer
from raysys.model.network import Network
from raysys.storage import Folder
from tests.model.encoder_folders import SIZES, TEXT_SIZES
from tests.model.test_spectrogram import write_ast, write_w2v_bert
from tests.model.test_whisper import write as write_whisper

torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parents[1]
CLASSES = ("anger", "joy", "fear")
CORPUS = ["kids are talking by the door", "dogs are sitting by the door"] * 2
LENGTHS = (16_000, 160, 3_000, 8_000)
TEXTS = ("kids are talking", None, "by the door", "dogs and kids are sitting by the door")
AUXILIARY = ("project.", "predict_audio.", "predict_text.", "predict_ahead.")

Modalities = Literal["both", "audio", "text"]


def waveforms(lengths: Sequence[int], seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.normal(0.01, 0.1, n).astype(np.float32) for n in lengths]


def config_of(**values: Any) -> ModelConfig:
    return ModelConfig(**({"audio": "light", "text": "light", "width": 16, "heads": 4, "feed_forward": 24} | values))


def make(
    config: ModelConfig | None = None, modalities: Modalities = "both", *, seed: int = 0, loss: LossConfig | None = None
) -> tuple[EmotionModel, ModelConfig]:
    """A model whose parameters all differ from their initial or loaded values, as after training."""
    config = config_of() if config is None else config
    tokenizer = None if modalities == "audio" else make_tokenizer(config, CORPUS)
    vocab_size = 0 if tokenizer is None else len(tokenizer)
    torch.manual_seed(seed)
    network = Network(config, n_classes=3, vocab_size=vocab_size, loss=loss or LossConfig(), modalities=modalities)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return EmotionModel(network=network, tokenizer=tokenizer, classes=CLASSES, modalities=modalities), config


def save(made: tuple[EmotionModel, ModelConfig], location: Path | str, frozen: Folder | None = None) -> str:
    model, config = made
    save_model(
        Folder.at(str(location)),
        model.network,
        model.tokenizer,
        model=config,
        classes=model.classes,
        modalities=model.modalities,
        trim_db=model.trim_db,
        temperature=model.temperature,
        frozen=frozen,
    )
    return str(location)


def ask(model: EmotionModel, heard: Sequence[np.ndarray], texts: Sequence[str | None] = TEXTS) -> np.ndarray:
    match model.modalities:
        case "both":
            return model.probabilities(heard, texts)
        case "audio":
            return model.probabilities(heard)
        case _:
            return model.probabilities(transcripts=[text or "" for text in texts])


def files(folder: Path | str) -> set[str]:
    return {str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file()}


def parts(folder: Folder) -> set[str]:
    """Independent of the folder's location."""
    within = {f"{part}/{name}" for part in ("audio", "text", "tokenizer") for name in (folder / part).names()}
    return within | {name for name in folder.names() if "." in name}


def rewrite(location: str, change: Callable[[dict[str, Any]], object]) -> None:
    path = Path(location) / "config.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def write_encoders(root: Path) -> dict[str, str]:
    """Folders as written by save_pretrained: wav2vec 2.0, one in half precision, HuBERT, DistilBERT."""
    audio: dict[str, PreTrainedModel] = {
        "wav2vec2": Wav2Vec2Model(Wav2Vec2Config(**SIZES)),
        "half": Wav2Vec2Model(Wav2Vec2Config(**SIZES)).half(),
        "hubert": HubertModel(HubertConfig(**SIZES)),
    }
    for name, model in audio.items():
        model.save_pretrained(root / name)
        Wav2Vec2FeatureExtractor(do_normalize=name != "hubert").save_pretrained(root / name)
    write_whisper(root / "whisper")
    write_w2v_bert(root / "w2v_bert")
    write_ast(root / "ast")
    tokenizer = train_wordpiece(["a vocabulary that no other tokenizer here has", *CORPUS] * 2)
    DistilBertModel(DistilBertConfig(vocab_size=len(tokenizer), **TEXT_SIZES)).save_pretrained(root / "distilbert")
    tokenizer.save_pretrained(root / "distilbert")
    return {path.name: str(path) for path in root.iterdir()}


@dataclass(frozen=True)
class Saved:
    """Models on disk, their predictions before saving, and those of a process that never saw another model."""

    root: Path
    before: dict[str, np.ndarray]
    after: dict[str, np.ndarray]


FRESH = """
import json, sys
from pathlib import Path
import numpy as np
import torch

torch.set_num_threads(1)
from raysys.inference import load_model

root, names, texts = Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])
heard = list(np.load(root / "heard.npz").values())
said = {}
for name in names:
    model = load_model(str(root / name))
    if model.modalities == "text":
        said[name] = model.probabilities(transcripts=[text or "" for text in texts])
    else:
        said[name] = model.probabilities(heard, texts if model.modalities == "both" else None)
np.savez(root / "said.npz", **said)
"""

MODELS: dict[str, tuple[Modalities, dict[str, Any]]] = {
    "light": ("both", {"audio": "light", "text": "light"}),
    "tiny": ("both", {"audio": "tiny", "text": "tiny"}),
    "light_alone": ("audio", {"audio": "light", "text": "light"}),
    "audio_alone": ("audio", {"audio": "tiny", "text": "tiny"}),
    "text_alone": ("text", {"audio": "tiny", "text": "light"}),
    "folders": ("both", {"audio": "wav2vec2", "text": "distilbert"}),
    "frozen": ("both", {"audio": "wav2vec2", "text": "distilbert", "freeze_audio": "all", "freeze_text": "all"}),
    "hubert": ("both", {"audio": "hubert", "text": "distilbert", "layer": "weighted_sum"}),
    "cnn": ("audio", {"audio": "hubert", "text": "distilbert", "layer": "cnn"}),
    "half": ("both", {"audio": "half", "text": "light"}),
    "whisper": (
        "both",
        {"audio": "whisper", "text": "distilbert", "layer": "weighted_sum", "pool_frames": 4, "freeze_audio": "all"},
    ),
    "w2v_bert": ("both", {"audio": "w2v_bert", "text": "distilbert", "layer": "weighted_sum", "freeze_audio": "all"}),
    "ast": ("audio", {"audio": "ast", "text": "distilbert", "freeze_audio": "none"}),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    root = tmp_path_factory.mktemp("models")
    encoders = write_encoders(tmp_path_factory.mktemp("encoders"))
    heard, before = waveforms(LENGTHS), {}
    for name, (modalities, values) in MODELS.items():
        found = {flag: encoders.get(value, value) for flag, value in values.items()}
        made = make(config_of(**found), modalities)
        before[name] = ask(made[0], heard)
        save(made, root / name)
    shutil.rmtree(Path(encoders["wav2vec2"]).parent)
    np.savez(root / "heard.npz", **{f"{i:02d}": waveform for i, waveform in enumerate(heard)})
    command = [sys.executable, "-c", FRESH, str(root), json.dumps(list(MODELS)), json.dumps(TEXTS)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(root / "cache"), "HOME": str(root / "home")}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(root / "said.npz") as said:
        return Saved(root, before, dict(said))


@pytest.mark.parametrize("name", MODELS)
def test_a_fresh_process_gives_bit_identical_predictions(saved: Saved, name: str) -> None:
    before, after = saved.before[name], saved.after[name]
    assert before.shape == (len(TEXTS), len(CLASSES))
    assert before.dtype == after.dtype == np.float32
    assert np.array_equal(after, before)
    np.testing.assert_allclose(before.sum(axis=1), 1.0, atol=1e-6)
    assert np.ptp(before, axis=0).max() > 1e-3, "the utterances must differ for the comparison to mean anything"


@pytest.mark.parametrize("name", MODELS)
def test_a_folder_contains_no_pickles_and_everything_a_model_needs(saved: Saved, name: str) -> None:
    for file in files(saved.root / name):
        assert Path(file).suffix in (".json", ".safetensors"), file
        if file.endswith(".json"):
            json.loads((saved.root / name / file).read_text())
    model = load_model(str(saved.root / name))
    assert model.classes == CLASSES
    assert model.modalities == MODELS[name][0]
    assert (model.tokenizer is None) == (model.modalities == "audio")


def test_probabilities_are_the_softmax_of_an_utterances_own_logits(saved: Saved) -> None:
    model = load_model(str(saved.root / "tiny"))
    heard = waveforms([8_000])[0]
    assert model.tokenizer is not None
    encoded = model.tokenizer([TEXTS[0]], return_tensors="pt")
    view = View(
        waveforms_BS=torch.from_numpy(heard)[None],
        lengths_B=torch.tensor([8_000]),
        tokens_BM=encoded["input_ids"],
        token_valid_BM=encoded["attention_mask"].bool(),
        has_text_B=torch.tensor([True]),
    )
    with torch.no_grad():
        logits = model.network((view,)).logits_NC[0].double().numpy()
    expected = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(model.probabilities([heard], [TEXTS[0]])[0], expected, atol=1e-6)


def test_probabilities_are_at_the_temperature_that_the_model_was_saved_with(tmp_path: Path) -> None:
    model, config = make()
    warm = load_model(save((dataclasses.replace(model, temperature=2.5), config), tmp_path / "model"))
    expected_NC = at_temperature(ask(model, waveforms(LENGTHS)), 2.5)
    np.testing.assert_allclose(ask(warm, waveforms(LENGTHS)), expected_NC, atol=1e-6)


@pytest.mark.parametrize(
    "loss",
    [LossConfig(), LossConfig(cpc="fused"), LossConfig(cpc="temporal")],
    ids=["cross_modal", "fused", "temporal"],
)
def test_only_the_heads_of_the_auxiliary_tasks_are_left_out(loss: LossConfig, tmp_path: Path) -> None:
    made = make(config_of(audio="tiny", freeze_audio="none"), loss=loss)
    location = save(made, tmp_path / "model")
    trained = made[0].network.state_dict()
    kept = safetensors.torch.load_file(Path(location) / "model.safetensors")
    left = {name for name in trained if name.startswith(AUXILIARY)}
    assert {name.split(".")[0] for name in left} > {"project"}
    assert kept.keys() == trained.keys() - left
    for name, weight in kept.items():
        assert torch.equal(weight, trained[name]), name
    heard = waveforms(LENGTHS)
    assert np.array_equal(ask(load_model(location), heard), ask(made[0], heard))


def test_frozen_encoders_are_in_the_file(saved: Saved) -> None:
    kept = safetensors.torch.load_file(saved.root / "frozen" / "model.safetensors").keys()
    assert sum(name.startswith("audio_encoder.model.feature_extractor.") for name in kept) >= 7
    assert any(name.startswith("audio_encoder.model.encoder.layers.0.") for name in kept)
    assert "text_encoder.model.embeddings.word_embeddings.weight" in kept


@pytest.mark.parametrize("audio", ["wav2vec2", "hubert", "whisper"])
@pytest.mark.parametrize("partly", [{"adapt": "lora"}, {"unfreeze_top": 1, "checkpoint_activations": True}])
def test_a_model_trained_in_part_is_saved_as_a_whole_one(
    audio: str, partly: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adapters are merged: nothing of them is in the folder, and loading does not import their package."""
    encoders = write_encoders(tmp_path)
    made = make(config_of(audio=encoders[audio], text=encoders["distilbert"], **partly))
    assert len(made[0].network.audio_encoder.learning) > 0  # type: ignore[union-attr]
    heard = waveforms(LENGTHS)
    expected = ask(made[0], heard)
    location = save(made, tmp_path / "model")
    monkeypatch.setitem(sys.modules, "peft", None)
    loaded = load_model(location)
    np.testing.assert_allclose(ask(loaded, heard), expected, rtol=0, atol=1e-5)
    written = json.loads((tmp_path / "model/config.json").read_text())["model"]
    assert (written["adapt"], written["unfreeze_top"], written["checkpoint_activations"]) == ("none", 0, False)
    assert not [name for name in loaded.network.state_dict() if "lora" in name or "base_layer" in name]
    assert "adapter" not in " ".join(files(location))


def test_a_model_of_an_earlier_version_loads_without_the_pooling_that_nothing_read(tmp_path: Path) -> None:
    made = make(config_of(pooling="attention"))
    location, heard = save(made, tmp_path / "model"), waveforms(LENGTHS)
    path = tmp_path / "model" / model_folder.WEIGHTS
    weights = safetensors.torch.load_file(path)
    assert "pool_text.score.weight" not in weights and "pool_audio.score.weight" in weights
    safetensors.torch.save_file(weights | {"pool_text.score.weight": torch.ones(1, 16)}, path)
    assert np.array_equal(ask(load_model(location), heard), ask(made[0], heard))


def test_an_encoder_that_reads_one_utterance_at_a_time_still_does(tmp_path: Path) -> None:
    made = make(config_of(audio="tiny"))
    encoder = made[0].network.audio_encoder
    assert isinstance(encoder, WaveformEncoder) and encoder.padded
    encoder.padded = False
    found = load_model(save(made, tmp_path / "model")).network.audio_encoder
    assert isinstance(found, WaveformEncoder) and not found.padded


# Predictions


def test_a_missing_transcript_is_allowed_and_changes_the_prediction(saved: Saved) -> None:
    model, heard = load_model(str(saved.root / "light")), waveforms(LENGTHS)
    known = model.probabilities(heard, ["by the door"] * 4)
    partly = model.probabilities(heard, ["by the door", None, "by the door", None])
    unknown = model.probabilities(heard)
    np.testing.assert_allclose(partly[[0, 2]], known[[0, 2]], atol=1e-5)
    np.testing.assert_allclose(partly[[1, 3]], unknown[[1, 3]], atol=1e-5)
    assert np.abs(known - unknown).max(axis=1).min() > 1e-4
    np.testing.assert_allclose(model.probabilities(heard, [None] * 4), unknown, atol=1e-5)


def test_an_empty_transcript_is_not_a_missing_one(saved: Saved) -> None:
    model, heard = load_model(str(saved.root / "light")), waveforms(LENGTHS)
    assert np.abs(model.probabilities(heard, [""] * 4) - model.probabilities(heard)).max() > 1e-4


def test_audio_alone_does_not_read_transcripts(saved: Saved) -> None:
    model, heard = load_model(str(saved.root / "audio_alone")), waveforms(LENGTHS)
    assert np.array_equal(model.probabilities(heard, TEXTS), model.probabilities(heard))


@pytest.mark.parametrize("name", ["light", "tiny", "audio_alone", "text_alone", "folders"])
def test_a_prediction_depends_on_neither_order_nor_other_utterances(saved: Saved, name: str) -> None:
    model = load_model(str(saved.root / name))
    n = 40  # More than one batch.
    heard = waveforms([160 + 400 * i for i in range(n)])
    texts = [TEXTS[i % 4] for i in range(n)]
    together = ask(model, heard, texts)
    order = np.random.default_rng(0).permutation(n)
    shuffled = ask(model, [heard[i] for i in order], [texts[i] for i in order])
    np.testing.assert_allclose(shuffled, together[order], atol=1e-5)
    for i in (0, 1, 17, n - 1):
        np.testing.assert_allclose(ask(model, [heard[i]], [texts[i]])[0], together[i], atol=1e-5)
    assert np.ptp(together, axis=0).max() > 1e-3


def test_a_network_left_in_training_mode_has_no_dropout(saved: Saved) -> None:
    model, heard = load_model(str(saved.root / "light")), waveforms(LENGTHS)
    expected = ask(model, heard)
    model.network.train()
    assert np.array_equal(ask(model, heard), expected)


@pytest.mark.parametrize("name", ["light", "tiny"])
def test_the_shortest_and_the_longest_have_probabilities(saved: Saved, name: str) -> None:
    found = load_model(str(saved.root / name)).probabilities(waveforms([160, 960_000]), ["no", None])
    assert found.shape == (2, 3)
    assert (found > 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-6)


@pytest.mark.parametrize("name", ["light", "audio_alone", "text_alone"])
def test_no_utterances_give_no_predictions(saved: Saved, name: str) -> None:
    assert ask(load_model(str(saved.root / name)), [], []).shape == (0, 3)


def test_a_missing_input_is_named(saved: Saved) -> None:
    heard = waveforms(LENGTHS)
    both, audio, text = (load_model(str(saved.root / name)) for name in ("light", "audio_alone", "text_alone"))
    with pytest.raises(ValueError, match="4 waveforms, but 3 transcripts"):
        both.probabilities(heard, TEXTS[:3])
    for model in (both, audio):
        with pytest.raises(ValueError, match=f"trained on {model.modalities}: it needs waveforms"):
            model.probabilities(transcripts=TEXTS)
    for texts in (None, TEXTS):
        with pytest.raises(ValueError, match="needs a transcript for every utterance"):
            text.probabilities(heard, texts)


@pytest.mark.parametrize("shape", [(0,), (800, 2), (2, 800), ()])
def test_a_waveform_that_is_empty_or_not_mono_is_refused(saved: Saved, shape: tuple[int, ...]) -> None:
    """An empty one would get NaN probabilities, without affecting the others."""
    model = load_model(str(saved.root / "audio_alone"))
    with pytest.raises(ValueError, match=r"waveform 1 has shape .*expected \(samples,\)"):
        model.probabilities([*waveforms([800]), np.zeros(shape, dtype=np.float32)])


@pytest.mark.parametrize("trim_db", [None, 30.0])
@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (np.full(800, np.nan, np.float32), "contains values that are not finite"),
        (np.r_[np.zeros(800), np.inf], "contains values that are not finite"),
        (np.full(800, 1e30, np.float32), "contains values as large as 1e\\+30"),
        (np.full(800, 8000, np.int16), "has type int16; expected floats in"),
        (np.zeros(800, complex), "has type complex128; expected floats in"),
        (np.array(["a", "b"]), "has type <U1; expected floats in"),
    ],
    ids=["nan", "inf", "huge", "int16", "complex", "letters"],
)
def test_a_waveform_with_invalid_values_is_refused(
    saved: Saved, samples: np.ndarray, said: str, trim_db: float | None
) -> None:
    """NaN would silently give NaN, and integers the predictions for noise."""
    model = dataclasses.replace(load_model(str(saved.root / "audio_alone")), trim_db=trim_db)
    with pytest.raises(ValueError, match=f"^waveform 1 {said}"):
        model.probabilities([*waveforms([800]), samples])


# The folder


def test_a_path_in_the_configuration_is_never_followed(saved: Saved, tmp_path: Path) -> None:
    # Encoders of the same sizes with other weights, and none at all.
    elsewhere = write_encoders(tmp_path / "elsewhere")
    location = str(shutil.copytree(saved.root / "folders", tmp_path / "copies" / "model"))
    heard = waveforms(LENGTHS)
    for audio, text in [
        (elsewhere["wav2vec2"], elsewhere["distilbert"]),
        ("../elsewhere/hubert", "../../elsewhere/distilbert"),
        ("/nowhere/wav2vec2", "/nowhere/distilbert"),
        ("someone/wav2vec2", "someone/distilbert"),
    ]:
        rewrite(location, lambda values, a=audio, t=text: values["model"].update(audio=a, text=t))  # type: ignore[misc]
        assert np.array_equal(ask(load_model(location), heard), saved.before["folders"]), audio


def test_a_crash_while_saving_over_a_model_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise OSError("No space left on device")

    location = save(make(seed=1), tmp_path / "model")
    load_model(location)
    with monkeypatch.context() as patched:
        patched.setattr(Folder, "write_json", crash)
        with pytest.raises(OSError, match="No space left"):
            save(make(seed=2), location)
    with pytest.raises(ModelFolderError, match=r"contains no config\.json"):
        load_model(location)
    made = make(seed=2)
    save(made, location)
    assert np.array_equal(ask(load_model(location), waveforms(LENGTHS)), ask(made[0], waveforms(LENGTHS)))


def test_every_file_is_complete_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is flushed and renamed, and the file that identifies a model is written last."""
    written: list[str] = []
    write_bytes = Folder.write_bytes

    def note(folder: Folder, name: str, data: bytes) -> None:
        written.append(f"{folder.location}/{name}")
        write_bytes(folder, name, data)

    monkeypatch.setattr(Folder, "write_bytes", note)
    location = save(make(config_of(audio="tiny", text="tiny")), tmp_path / "model")
    assert {str(Path(path).relative_to(location)) for path in written} == files(location)
    assert written[-1] == f"{location}/config.json"


def test_a_tokenizers_template_folder_is_included(tmp_path: Path) -> None:
    made, config = make()
    assert made.tokenizer is not None
    made.tokenizer.chat_template = {"default": "{{ 1 }}", "other": "{{ 2 }}"}
    location = save((made, config), tmp_path / "model")
    assert len({Path(file).parent for file in files(location) if file.startswith("tokenizer/")}) == 2
    tokenizer = load_model(location).tokenizer
    assert tokenizer is not None
    assert tokenizer.chat_template == made.tokenizer.chat_template


@pytest.mark.parametrize("part", ["model.safetensors", "config.json", "text/config.json", "tokenizer"])
def test_a_link_in_a_folder_is_not_followed(saved: Saved, tmp_path: Path, part: str) -> None:
    location = shutil.copytree(saved.root / "light", tmp_path / "model")
    shutil.move(location / part, tmp_path / "outside")
    (location / part).symlink_to(tmp_path / "outside")
    with pytest.raises(ModelFolderError, match=f"^{location}: {part} is a link to {tmp_path}/outside"):
        load_model(str(location))


def test_the_folder_itself_may_be_a_link(saved: Saved, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(saved.root / "light")
    heard = waveforms(LENGTHS)
    assert np.array_equal(ask(load_model(str(tmp_path / "latest")), heard), saved.before["light"])


def test_code_in_a_folder_is_neither_run_nor_prompted_for(
    saved: Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr("builtins.input", lambda *words: asked.append(words) or "y")
    location = shutil.copytree(saved.root / "light", tmp_path / "model")
    (location / "text" / "theirs.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'harm')!r})\n")
    values = {"model_type": "encoder-decoder", "auto_map": {"AutoModel": "theirs.Theirs"}}
    (location / "text" / "config.json").write_text(json.dumps(values))
    with pytest.raises(ModelFolderError, match=f"^{location}: a part cannot be read"):
        load_model(str(location))
    assert not asked
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("content", ["[]", "null", "3", '"a"'])
def test_a_configuration_that_is_not_an_object_is_named(saved: Saved, tmp_path: Path, content: str) -> None:
    location = shutil.copytree(saved.root / "light", tmp_path / "model")
    (location / "config.json").write_text(content)
    with pytest.raises(ModelFolderError, match=rf"^{location}/config\.json: contains .*, expected an object"):
        load_model(str(location))


@pytest.mark.parametrize("scheme", ["", "memory://"])
def test_saving_over_another_model_leaves_no_mixture(tmp_path: Path, scheme: str) -> None:
    """Including a tokenizer and a modality that the new one lacks."""
    location = f"memory://{uuid.uuid4().hex}/model" if scheme else str(tmp_path / "model")
    save(make(config_of(audio="tiny", text="tiny"), seed=1), location)
    (Folder.at(location) / "tokenizer").write_bytes("vocab.txt", b"of a tokenizer of another kind")
    for made in (make(modalities="audio", seed=2), make(modalities="text", seed=3)):
        save(made, location)
        alone = save(made, tmp_path / f"alone-{made[0].modalities}")
        assert parts(Folder.at(location)) == parts(Folder.at(alone)) == files(alone)
        heard = waveforms(LENGTHS)
        assert np.array_equal(ask(load_model(location), heard), ask(made[0], heard))


def test_a_model_goes_to_an_object_store_and_comes_back(saved: Saved) -> None:
    made = make(config_of(audio="tiny", text="tiny"))
    location = save(made, f"memory://{uuid.uuid4().hex}/runs/x/model")
    assert np.array_equal(ask(load_model(location), waveforms(LENGTHS)), saved.before["tiny"])


@pytest.mark.parametrize("place", ["nowhere", "file", "memory"])
def test_a_folder_without_a_model_is_named(tmp_path: Path, place: str) -> None:
    location = f"memory://{uuid.uuid4().hex}/model" if place == "memory" else str(tmp_path / place)
    if place == "file":
        location = str(tmp_path)
        (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelFolderError, match=rf"{location}: contains no config\.json"):
        load_model(location)


@pytest.mark.parametrize("scheme", ["", "memory://"])
def test_a_model_of_a_later_version_is_refused(tmp_path: Path, scheme: str) -> None:
    location = save(make(), f"memory://{uuid.uuid4().hex}/model" if scheme else tmp_path / "model")
    values = Folder.at(location).read_json("config.json")
    Folder.at(location).write_json("config.json", values | {"format": values["format"] + 1, "model": {"of": "later"}})
    said = rf"{location}/config\.json: has format 4, .* reads 2 and 3\. A newer version .* update raysys"
    with pytest.raises(ModelFolderError, match=said):
        load_model(location)


@pytest.mark.parametrize("found", [1, None, "3", True])
def test_a_model_of_a_version_that_is_no_longer_read_is_refused(tmp_path: Path, found: object) -> None:
    location = save(make(), tmp_path / "model")
    rewrite(location, lambda values: values.update(format=found))
    with pytest.raises(ModelFolderError, match=rf"config\.json: has format {found}, .* An earlier version wrote it"):
        load_model(location)


def test_a_model_of_format_2_still_loads(tmp_path: Path) -> None:
    made = make()
    location = save(made, tmp_path / "model")
    rewrite(location, lambda values: [values.update(format=2), values.pop("frozen"), values.pop("temperature")])
    assert np.array_equal(ask(load_model(location), waveforms(LENGTHS)), ask(made[0], waveforms(LENGTHS)))


def test_an_encoders_folder_is_not_a_model(tmp_path: Path) -> None:
    Wav2Vec2Model(Wav2Vec2Config(**SIZES)).save_pretrained(tmp_path)
    with pytest.raises(ModelFolderError, match=r"config\.json: has format None"):
        load_model(str(tmp_path))


@pytest.mark.parametrize(
    "part",
    [
        "config.json",
        "model.safetensors",
        "audio/config.json",
        "audio/preprocessor_config.json",
        "text/config.json",
        "tokenizer/tokenizer.json",
    ],
)
@pytest.mark.parametrize("fault", ["missing", "cut"])
def test_a_folder_with_a_missing_or_partial_file_is_named(saved: Saved, tmp_path: Path, part: str, fault: str) -> None:
    """As after an interrupted copy."""
    location = str(shutil.copytree(saved.root / "folders", tmp_path / "model"))
    path = Path(location) / part
    path.write_bytes(path.read_bytes()[:40])
    if fault == "missing":
        path.unlink()
    with pytest.raises(ModelFolderError, match=f"^{location}: (a part cannot be read|contains no config.json)"):
        load_model(location)


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.pop("classes"),
        lambda values: values.update(model=[]),
        lambda values: values["model"].update(width="wide"),
        lambda values: values["model"].update(depth=3),
        lambda values: values["model"].update(width=values["model"]["width"] * 2),
        lambda values: values["classes"].append("bored"),
        lambda values: values.update(temperature=0.0),
    ],
    ids=[
        "no classes",
        "no model",
        "a width of letters",
        "an unknown setting",
        "other sizes",
        "one class more",
        "no temperature",
    ],
)
def test_a_configuration_that_does_not_fit_is_named(
    saved: Saved, tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    location = str(shutil.copytree(saved.root / "folders", tmp_path / "model"))
    rewrite(location, change)
    with pytest.raises(ModelFolderError, match=f"^{location}: a part cannot be read"):
        load_model(location)


# read_waveform


def test_a_file_of_any_rate_and_number_of_channels_becomes_16_khz_mono(tmp_path: Path) -> None:
    seconds = np.arange(48_000) / 48_000
    tone = 0.5 * np.sin(2 * np.pi * 440 * seconds)
    soundfile.write(tmp_path / "a.flac", np.stack([tone + 0.2, tone - 0.2], axis=1), 48_000)
    found = read_waveform(str(tmp_path / "a.flac"))
    assert found.dtype == np.float32
    assert found.shape == (16_000,)
    np.testing.assert_allclose(found[200:-200], tone[::3][200:-200], atol=2e-3)


@pytest.mark.parametrize("content", [None, b"", b"not a sound"])
def test_a_file_that_does_not_decode_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AudioError, match=rf"^{path}: "):
        read_waveform(str(path))


def test_silence_is_trimmed_as_in_training(tmp_path: Path) -> None:
    made, config = make()
    location = save((dataclasses.replace(made, trim_db=40.0), config), tmp_path / "model")
    loaded = load_model(location)
    assert loaded.trim_db == 40.0
    (speech,) = waveforms([16_000])
    silent = np.zeros(12_000, np.float32)
    padded = np.concatenate([silent, speech, silent])
    heard = np.concatenate([silent[:1600], speech, silent[:1600]])
    np.testing.assert_allclose(ask(loaded, [padded], TEXTS[:1]), ask(made, [trim(padded, 40.0)], TEXTS[:1]), atol=1e-6)
    assert abs(len(trim(padded, 40.0)) - len(heard)) <= 800


@pytest.mark.parametrize(
    "key", ["b/model/../../victim/.bashrc", "b/model//etc/x", "elsewhere/x", "b/model/./x", "b/model/a\\..\\x"]
)
def test_a_key_that_leads_out_of_the_folder_is_refused_before_anything_is_written(key: str, tmp_path: Path) -> None:
    class Bucket:
        def get_file_info(self, _: object) -> list[SimpleNamespace]:
            return [SimpleNamespace(path=path, type=pafs.FileType.File) for path in ("b/model/model.json", key)]

        def open_input_stream(self, _: str) -> io.BytesIO:
            return io.BytesIO(b"written")

    folder = Folder(filesystem=Bucket(), path="b/model", location="s3://b/model")  # type: ignore[arg-type]
    with pytest.raises(ModelFolderError, match="is not a file inside the folder") as error:
        model_folder.download(folder, tmp_path / "local")
    assert repr(key) in str(error.value)
    assert list(tmp_path.rglob("*")) == []
