"""Encoders that learn in part: which parameters, with which gradients, and the same numbers as without."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from torch import Tensor, nn

from raysys.config import ModelConfig
from raysys.errors import EncoderError
from raysys.model import adapt
from raysys.model.adapt import ADAPTER, depths, layers_of, merged_state
from raysys.model.encoders import build_audio_encoder, build_text_encoder, check_encoders
from raysys.model.text import TokenEncoder
from tests.model.encoder_folders import SIZES, TEXT_SIZES

torch.set_num_threads(1)
N_LAYERS = 3
_SPEECH = SIZES | {"num_hidden_layers": N_LAYERS}
_LAYERS = {"hidden_size": 16, "num_hidden_layers": N_LAYERS, "num_attention_heads": 2, "intermediate_size": 32}
_BERT = _LAYERS | {"vocab_size": 20}
_WHISPER = {"d_model": 16, "encoder_layers": N_LAYERS, "encoder_attention_heads": 2, "encoder_ffn_dim": 32}
_WHISPER |= {"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 16, "vocab_size": 8}
_WHISPER |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}

FAMILIES = {
    "wav2vec2": lambda: hf.Wav2Vec2Model(hf.Wav2Vec2Config(**_SPEECH)),
    "wav2vec2 large": lambda: hf.Wav2Vec2Model(
        hf.Wav2Vec2Config(**_SPEECH, do_stable_layer_norm=True, feat_extract_norm="layer")
    ),
    "hubert": lambda: hf.HubertModel(hf.HubertConfig(**_SPEECH)),
    "wavlm": lambda: hf.WavLMModel(hf.WavLMConfig(**_SPEECH)),
    "whisper": lambda: hf.WhisperModel(hf.WhisperConfig(**_WHISPER, suppress_tokens=None, begin_suppress_tokens=None)),
    "w2v-bert": lambda: hf.Wav2Vec2BertModel(hf.Wav2Vec2BertConfig(**_LAYERS, feature_projection_input_dim=160)),
    "ast": lambda: hf.ASTModel(hf.ASTConfig(**_LAYERS, max_length=64, num_mel_bins=128)),
    "distilbert": lambda: hf.DistilBertModel(
        hf.DistilBertConfig(vocab_size=20, **(TEXT_SIZES | {"n_layers": N_LAYERS}))
    ),
    "bert": lambda: hf.BertModel(hf.BertConfig(**_BERT)),
    "roberta": lambda: hf.RobertaModel(hf.RobertaConfig(**_BERT)),
    "deberta": lambda: hf.DebertaV2Model(hf.DebertaV2Config(**_BERT)),
    "mpnet": lambda: hf.MPNetModel(hf.MPNetConfig(**_BERT)),
}
EXTRACTORS = {
    "whisper": lambda: hf.WhisperFeatureExtractor(),
    "w2v-bert": lambda: hf.SeamlessM4TFeatureExtractor(),
    "ast": lambda: hf.ASTFeatureExtractor(max_length=64),
}
AUDIO = ("wav2vec2", "wav2vec2 large", "hubert", "wavlm", *EXTRACTORS)
RECOMPUTED = [family for family in FAMILIES if family != "mpnet"]
"""Transformers cannot recompute MPNet's layers."""


def encoder_of(family: str, folder: Path, **model: Any) -> Any:
    """The encoder, loaded from a folder that is written once."""
    if not folder.joinpath("config.json").exists():
        torch.manual_seed(0)
        FAMILIES[family]().save_pretrained(folder)
        if family in AUDIO:
            EXTRACTORS.get(family, hf.Wav2Vec2FeatureExtractor)().save_pretrained(folder)
    torch.manual_seed(1)
    if family in AUDIO:
        return build_audio_encoder(ModelConfig(audio=str(folder), **({"freeze_audio": "none"} | model)))
    return build_text_encoder(ModelConfig(text=str(folder), **model), 20)


def features(encoder: nn.Module, rows: int = 3) -> Tensor:
    """Of so many utterances of different lengths."""
    generator = torch.Generator().manual_seed(2)
    if isinstance(encoder, TokenEncoder):
        valid_BM = torch.arange(7) < torch.tensor([7, 4, 1])[:, None]
        tokens_BM = torch.randint(3, 20, (3, 7), generator=generator) * valid_BM
        return encoder(tokens_BM[:rows], valid_BM[:rows])[valid_BM[:rows]]
    lengths_B = torch.tensor([9_000, 4_000, 3_210])
    waveforms_BS = 0.1 * torch.randn(3, 9_000, generator=generator) * (torch.arange(9_000) < lengths_B[:, None])
    heard = encoder(waveforms_BS[:rows], lengths_B[:rows])
    return heard.frames_BJD[heard.valid_BJ]


def gradients(encoder: nn.Module) -> dict[str, Tensor]:
    """Of every trainable parameter, after one pass in training; the draws of dropout are always the same."""
    encoder.train()
    torch.manual_seed(3)
    features(encoder).square().mean().backward()
    found = {name: p.grad for name, p in encoder.named_parameters() if p.requires_grad}
    assert [name for name, gradient in found.items() if gradient is None] == []
    return found  # type: ignore[return-value]


def trained(encoder: nn.Module) -> set[str]:
    return {name for name, p in encoder.named_parameters() if p.requires_grad}


def move(encoder: nn.Module) -> None:
    """Trained parameters elsewhere, as after training; a new adapter changes nothing."""
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layers", [0, 1])
def test_adapters_alone_are_trained_and_all_of_them_get_gradients(family: str, layers: int, tmp_path: Path) -> None:
    encoder = encoder_of(family, tmp_path, adapt="lora", lora_rank=2, lora_layers=layers)
    found = gradients(encoder)
    assert found and all(ADAPTER in name for name in found)
    tops = {i for i, layer in enumerate(layers_of(encoder.model)) if any(p.requires_grad for p in layer.parameters())}
    assert tops == ({2} if layers else {0, 1, 2})
    assert {p.shape[0] for name, p in encoder.named_parameters() if "lora_A" in name} == {2}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_new_adapter_changes_nothing_and_a_trained_one_does(family: str, tmp_path: Path) -> None:
    plain = encoder_of(family, tmp_path).eval()
    adapted = encoder_of(family, tmp_path, adapt="lora").eval()
    with torch.no_grad():
        assert (features(plain) - features(adapted)).abs().max() < 1e-6
        move(adapted)
        assert not torch.allclose(features(plain), features(adapted), atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_merged_adapters_give_the_same_features_and_names(family: str, tmp_path: Path) -> None:
    adapted = encoder_of(family, tmp_path, adapt="lora").eval()
    move(adapted)
    plain = encoder_of(family, tmp_path).eval()
    merged = merged_state(adapted)
    assert merged.keys() == plain.state_dict().keys()
    plain.load_state_dict(merged)
    with torch.no_grad():
        assert (features(plain) - features(adapted)).abs().max() < 1e-5


def test_a_merged_weight_by_hand(tmp_path: Path) -> None:
    """W + 2 B A, whatever the rank."""
    adapted = encoder_of("bert", tmp_path, adapt="lora", lora_rank=4)
    move(adapted)
    name = "model.encoder.layer.0.attention.self.query"
    state = adapted.state_dict()
    b, a = state[f"{name}.lora_B.default.weight"], state[f"{name}.lora_A.default.weight"]
    expected = state[f"{name}.base_layer.weight"] + 2 * b @ a
    torch.testing.assert_close(merged_state(adapted)[f"{name}.weight"], expected)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("partly", [{"adapt": "lora"}, {"unfreeze_top": 2}])
def test_features_stay_independent_of_the_batch(family: str, partly: dict[str, Any], tmp_path: Path) -> None:
    encoder = encoder_of(family, tmp_path, **partly).eval()
    move(encoder)
    with torch.no_grad():
        alone, together = features(encoder, rows=1), features(encoder)[: len(features(encoder, rows=1))]
    assert (alone - together).abs().max() < 1e-4 * alone.abs().max()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_top_layers_alone_are_trained(family: str, tmp_path: Path) -> None:
    encoder = encoder_of(family, tmp_path, unfreeze_top=2)
    top = {id(p) for layer in layers_of(encoder.model)[-2:] for p in layer.parameters()}
    assert {id(p) for p in encoder.parameters() if p.requires_grad} == top
    gradients(encoder)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_below_the_top_runs_as_in_evaluation(family: str, tmp_path: Path) -> None:
    """No dropout and no masked frames there; in the layers that learn there is dropout."""
    encoder = encoder_of(family, tmp_path, unfreeze_top=1).train()
    features(encoder)
    drops = [m for m in encoder.model.modules() if isinstance(m, nn.Dropout) and m.training]
    top = [m for m in layers_of(encoder.model)[-1].modules() if isinstance(m, nn.Dropout)]
    assert set(drops) == set(top)
    assert [layer.training for layer in layers_of(encoder.model)] == [False, False, True]
    encoder.eval()
    features(encoder)
    assert not any(module.training for module in encoder.modules())


@pytest.mark.parametrize("family", RECOMPUTED)
@pytest.mark.parametrize("partly", [{}, {"unfreeze_top": 2}, {"adapt": "lora"}])
def test_recomputed_activations_give_equal_gradients(family: str, partly: dict[str, Any], tmp_path: Path) -> None:
    """With dropout: its draws are repeated."""
    kept = gradients(encoder_of(family, tmp_path, **partly))
    again = encoder_of(family, tmp_path, **partly, checkpoint_activations=True)
    layers = layers_of(again.model)
    norms = [next(m for m in layer.modules() if isinstance(m, nn.LayerNorm)) for layer in layers]
    counts = [0] * N_LAYERS

    def count(norm: nn.Module, *_: Any) -> None:
        counts[next(i for i, own in enumerate(norms) if own is norm)] += 1

    for norm in norms:
        norm.register_forward_hook(count)
    found = gradients(again)
    assert found.keys() == kept.keys()
    for name, gradient in kept.items():
        assert (found[name] - gradient).abs().max() <= 1e-6, name
    n = partly.get("unfreeze_top", N_LAYERS)
    assert counts == [1] * (N_LAYERS - n) + [2] * n


def test_convolutions_are_not_recomputed(tmp_path: Path) -> None:
    """After other forward passes their group norm would use the lengths of another batch."""
    encoder = encoder_of("wav2vec2", tmp_path, checkpoint_activations=True)
    recomputed = {m for m in encoder.modules() if getattr(m, "gradient_checkpointing", False)}
    assert recomputed == set(layers_of(encoder.model))


def test_layers_that_cannot_be_recomputed_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"cannot compute a MPNetLayer again .* leave out --model.checkpoint-act"):
        encoder_of("mpnet", tmp_path, checkpoint_activations=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_depth_is_counted_from_the_top(family: str, tmp_path: Path) -> None:
    encoder = encoder_of(family, tmp_path)
    found = depths(encoder)
    for depth, layer in enumerate(reversed(layers_of(encoder.model))):
        assert {found[p] for p in layer.parameters()} == {depth}
    inside = {id(p) for layer in layers_of(encoder.model) for p in layer.parameters()}
    assert {found[p] for p in encoder.parameters() if id(p) not in inside} == {N_LAYERS}


@pytest.mark.parametrize("family", ["wav2vec2", "whisper", "distilbert"])
@pytest.mark.parametrize("partly", [{"unfreeze_top": 4}, {"adapt": "lora", "lora_layers": 4}])
def test_more_layers_than_there_are_is_an_error(family: str, partly: dict[str, Any], tmp_path: Path) -> None:
    encoder_of(family, tmp_path)
    asked = "--model.unfreeze-top" if "unfreeze_top" in partly else "--model.lora-layers"
    flag = "audio" if family in AUDIO else "text"
    said = f"{asked} is 4, but --model.{flag} {tmp_path} has 3 layers; give at most 3"
    with pytest.raises(EncoderError, match=said):
        encoder_of(family, tmp_path, **partly)
    # On the driver, from the configuration alone; of an encoder that stays frozen nothing is asked.
    config = ModelConfig(**{flag: str(tmp_path)}, **partly)
    with pytest.raises(EncoderError, match=said):
        check_encoders(config, flag)  # type: ignore[arg-type]
    check_encoders(dataclasses.replace(config, **{f"freeze_{flag}": "all"}), flag)  # type: ignore[arg-type]


def test_shared_layers_are_refused(tmp_path: Path) -> None:
    hf.AlbertModel(hf.AlbertConfig(**_BERT, embedding_size=16)).save_pretrained(tmp_path)
    with pytest.raises(EncoderError, match="has no list of separate layers"):
        build_text_encoder(ModelConfig(text=str(tmp_path), unfreeze_top=1), 20)


@pytest.mark.parametrize("family", ["wav2vec2", "distilbert"])
def test_an_encoder_that_is_frozen_stays_so(family: str, tmp_path: Path) -> None:
    frozen = {"freeze_audio": "all", "freeze_text": "all"}
    for partly in ({"adapt": "lora"}, {"unfreeze_top": 1}, {"checkpoint_activations": True}):
        assert trained(encoder_of(family, tmp_path, **frozen, **partly)) == set()


def test_without_peft_the_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapt.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EncoderError, match=r"needs the package peft.*pip install 'raysys\[lora\]', on all nodes"):
        check_encoders(ModelConfig(adapt="lora"))
    check_encoders(ModelConfig(audio="tiny", text="tiny"))
