"""Encoders from folders: weights load completely, or an error names the flag and what is missing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
import transformers
from torch import nn
from transformers import (
    ASTConfig,
    AutoModel,
    HubertConfig,
    HubertModel,
    PreTrainedModel,
    ViTConfig,
    Wav2Vec2BertConfig,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
)

from raysys.config import LossConfig, ModelConfig
from raysys.data.text import tokenize, train_wordpiece
from raysys.errors import EncoderError
from raysys.model.audio import WaveformEncoder
from raysys.model.encoders import build_audio_encoder, build_text_encoder, check_encoders, make_tokenizer
from raysys.model.parts import count_parameters, empty_network
from tests.model.encoder_folders import SIZES, write_encoders

torch.set_num_threads(1)

TEXTS = ["kids are talking by the door", "dogs are sitting by the door"] * 2


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_encoders(tmp_path_factory.mktemp("encoders"), TEXTS)


@pytest.fixture(scope="module")
def audio_folder(folders: tuple[Path, Path]) -> Path:
    return folders[0]


@pytest.fixture(scope="module")
def text_folder(folders: tuple[Path, Path]) -> Path:
    return folders[1]


def save_audio(model: PreTrainedModel, folder: Path, *, normalise: bool = True) -> Path:
    model.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=normalise).save_pretrained(folder)
    return folder


def audio(folder: Path | str, **others: object) -> ModelConfig:
    return ModelConfig(audio=str(folder), text="tiny", **others)  # type: ignore[arg-type]


def text(folder: Path | str, **others: object) -> ModelConfig:
    return ModelConfig(audio="tiny", text=str(folder), **others)  # type: ignore[arg-type]


def without(folder: Path, weight: str, copy: Path) -> Path:
    """A copy of a saved model without the first weight whose name has this ending."""
    shutil.copytree(folder, copy, dirs_exist_ok=True)
    tensors = safetensors.torch.load_file(copy / "model.safetensors")
    tensors.pop(next(name for name in tensors if name.endswith(weight)))
    safetensors.torch.save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    return copy


def assert_weights_of(folder: Path, model: nn.Module) -> None:
    saved = safetensors.torch.load_file(folder / "model.safetensors")
    loaded = model.state_dict()
    assert saved.keys() == loaded.keys()
    for name, weight in saved.items():
        assert torch.equal(weight, loaded[name]), name


def test_audio_weights_are_those_of_the_folder(audio_folder: Path) -> None:
    encoder = build_audio_encoder(audio(audio_folder))
    assert isinstance(encoder, WaveformEncoder)
    assert encoder.normalise
    assert encoder.width == 16
    assert_weights_of(audio_folder, encoder.model)


def test_a_wavlm_folder_loads_although_it_has_no_fused_attention(tmp_path: Path) -> None:
    folder = save_audio(WavLMModel(WavLMConfig(**SIZES)), tmp_path)
    encoder = build_audio_encoder(audio(folder))
    assert isinstance(encoder, WaveformEncoder)
    assert_weights_of(folder, encoder.model)


def test_a_network_drawn_after_a_half_precision_configuration_is_in_single_precision(
    audio_folder: Path, tmp_path: Path
) -> None:
    AutoModel.from_pretrained(audio_folder, dtype=torch.float16).save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    encoder = build_audio_encoder(audio(tmp_path, weights="random"))
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}


def test_normalisation_is_the_one_of_the_preprocessor(tmp_path: Path) -> None:
    save_audio(Wav2Vec2Model(Wav2Vec2Config(**SIZES)), tmp_path, normalise=False)
    encoder = build_audio_encoder(audio(tmp_path))
    assert isinstance(encoder, WaveformEncoder) and not encoder.normalise


def test_text_weights_and_tokenizer_are_those_of_the_folder(text_folder: Path) -> None:
    config = text(text_folder)
    tokenizer = make_tokenizer(config, ["a text that is not to be learned"] * 9)
    encoder = build_text_encoder(config, len(tokenizer))
    assert_weights_of(text_folder, encoder.model)
    tokens_BM, valid_BM, _ = tokenize(tokenizer, [TEXTS[0], None])
    assert tokens_BM.tolist() == tokenize(train_wordpiece(TEXTS), [TEXTS[0], None])[0].tolist()
    assert encoder(tokens_BM, valid_BM).shape == (*tokens_BM.shape, 16)


@pytest.mark.parametrize("weight", ["attention.q_proj.weight", "feature_projection.projection.bias"])
def test_missing_audio_weight_is_named(audio_folder: Path, tmp_path: Path, weight: str) -> None:
    without(audio_folder, weight, tmp_path)
    with pytest.raises(EncoderError, match=rf"--model\.audio .*{weight}"):
        build_audio_encoder(audio(tmp_path))


def test_missing_text_weight_is_named(text_folder: Path, tmp_path: Path) -> None:
    without(text_folder, "word_embeddings.weight", tmp_path)
    with pytest.raises(EncoderError, match=r"--model\.text .*word_embeddings\.weight"):
        build_text_encoder(text(tmp_path), 10)


def test_weight_of_another_shape_is_refused(audio_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(audio_folder, tmp_path, dirs_exist_ok=True)
    Wav2Vec2Config(**(SIZES | {"intermediate_size": 48})).save_pretrained(tmp_path)
    with pytest.raises(EncoderError, match=r"--model\.audio .*intermediate_dense"):
        build_audio_encoder(audio(tmp_path))


def test_broken_file_is_an_error(audio_folder: Path, tmp_path: Path) -> None:
    """For example a Git LFS pointer instead of the weights."""
    shutil.copytree(audio_folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(EncoderError, match=r"--model\.audio .*cannot be loaded"):
        build_audio_encoder(audio(tmp_path))


@pytest.mark.parametrize(
    ("flag", "look"),
    [
        ("audio", lambda folder: build_audio_encoder(audio(folder))),
        ("audio", lambda folder: check_encoders(audio(folder))),
        ("text", lambda folder: build_text_encoder(text(folder), 10)),
        ("text", lambda folder: make_tokenizer(text(folder), [])),
        ("text", lambda folder: check_encoders(text(folder))),
    ],
)
def test_missing_folder_names_its_flag(tmp_path: Path, flag: str, look: Callable[[Path], object]) -> None:
    with pytest.raises(EncoderError, match=rf"--model\.{flag} .*nowhere"):
        look(tmp_path / "nowhere")


def test_missing_preprocessor_is_an_error(tmp_path: Path) -> None:
    """Whether to normalise waveforms must not be guessed."""
    Wav2Vec2Model(Wav2Vec2Config(**SIZES)).save_pretrained(tmp_path)
    with pytest.raises(EncoderError, match=r"preprocessor_config\.json"):
        build_audio_encoder(audio(tmp_path))


def test_an_encoder_of_text_given_as_audio_and_the_reverse_are_refused_from_their_configurations(
    audio_folder: Path, text_folder: Path, tmp_path: Path
) -> None:
    """Before the corpus is read."""
    with pytest.raises(EncoderError, match=r"--model\.audio .* type distilbert reads text\. Give it as --model\.text"):
        check_encoders(audio(text_folder))
    for config in (Wav2Vec2Config(), WhisperConfig(), Wav2Vec2BertConfig(), ASTConfig()):
        config.save_pretrained(tmp_path)
        with pytest.raises(
            EncoderError,
            match=rf"--model\.text .* type {config.model_type} reads audio\. .*, and this one as --model\.audio",
        ):
            check_encoders(text(tmp_path))
    ViTConfig().save_pretrained(tmp_path)
    with pytest.raises(EncoderError, match=r"a model of type vit reads no text, but pixel_values\. .*MiniLM\.$"):
        check_encoders(text(tmp_path))


@pytest.mark.parametrize("freeze", ["none", "cnn", "all"])
def test_hubert_folder_builds(tmp_path: Path, freeze: str) -> None:
    save_audio(HubertModel(HubertConfig(**SIZES)), tmp_path)
    encoder = build_audio_encoder(audio(tmp_path, freeze_audio=freeze))
    assert isinstance(encoder, WaveformEncoder)
    assert isinstance(encoder.model, HubertModel)
    frames_BJD, valid_BJ, *_ = encoder(torch.randn(2, 2_000), torch.tensor([2_000, 900]))
    assert frames_BJD.shape == (2, 6, 16)
    assert valid_BJ.sum(dim=1).tolist() == [6, 2]


@pytest.mark.parametrize(("freeze", "trained"), [("none", {True}), ("cnn", {False, True}), ("all", {False})])
def test_frozen_parts_are_not_trained(audio_folder: Path, freeze: str, trained: set[bool]) -> None:
    encoder = build_audio_encoder(audio(audio_folder, freeze_audio=freeze)).train()
    frames_BJD, *_ = encoder(torch.randn(1, 8_000), torch.tensor([8_000]))
    if frames_BJD.requires_grad:
        frames_BJD.square().sum().backward()
    by_name = dict(encoder.named_parameters())
    assert {p.requires_grad for p in by_name.values()} == trained
    convolutions = [n for n in by_name if ".feature_extractor." in n]
    assert convolutions
    for name, parameter in by_name.items():
        learns = freeze == "none" or (freeze == "cnn" and name not in convolutions)
        assert (parameter.grad is not None) == learns, name


def test_padding_changes_no_token_of_a_pretrained_text_encoder(text_folder: Path) -> None:
    encoder = build_text_encoder(text(text_folder), 10).eval()
    tokens_BM = torch.tensor([[2, 5, 6, 3, 7, 8], [2, 5, 3, 9, 9, 9]])
    valid_BM = torch.arange(6) < torch.tensor([[6], [3]])
    alone_BMD = encoder(tokens_BM[1:, :3], valid_BM[1:, :3])
    torch.testing.assert_close(encoder(tokens_BM, valid_BM)[1:, :3], alone_BMD, atol=1e-5, rtol=0)


def test_frozen_text_encoder_has_no_gradient_and_no_dropout(text_folder: Path) -> None:
    encoder = build_text_encoder(text(text_folder, freeze_text="all"), 10)
    tokens_BM, valid_BM = torch.tensor([[2, 5, 6, 3]]), torch.ones(1, 4, dtype=torch.bool)
    found_BMD = encoder.train()(tokens_BM, valid_BM)
    assert not found_BMD.requires_grad
    assert torch.equal(found_BMD, encoder.eval()(tokens_BM, valid_BM))


def test_random_weights_of_the_base_encoders_need_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parameter count of the paper's network given in METHOD, without a download."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was read")

    for name in ("AutoConfig", "AutoModel", "AutoFeatureExtractor", "AutoTokenizer"):
        monkeypatch.setattr(getattr(transformers, name), "from_pretrained", refuse)
    config = ModelConfig(weights="random")
    check_encoders(config)
    assert len(make_tokenizer(config, TEXTS)) < 100
    with torch.device("meta"):
        encoders = build_audio_encoder(config), build_text_encoder(config, 30_522)
    sizes = [sum(p.numel() for p in encoder.parameters()) for encoder in encoders]
    assert sizes == [94_371_712, 66_362_880]
    assert isinstance(encoders[0], WaveformEncoder) and encoders[0].normalise
    parts = count_parameters(empty_network(config, 4, "both", LossConfig()))
    assert sum(parts.values()) == 180_526_724
    assert parts["CPC scores"] == 2 * 768 * 768
    assert parts["stand-in for a missing modality"] == 768


def test_random_weights_of_a_folder_are_drawn(audio_folder: Path) -> None:
    torch.manual_seed(3)
    encoder = build_audio_encoder(audio(audio_folder, weights="random"))
    saved = safetensors.torch.load_file(audio_folder / "model.safetensors")
    assert isinstance(encoder, WaveformEncoder)
    name = "feature_projection.projection.weight"
    drawn = encoder.model.state_dict()[name]
    assert drawn.shape == saved[name].shape and not torch.equal(drawn, saved[name])
