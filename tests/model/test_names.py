"""Models that people know by name: the table in jobs/README.md against what is built from their configurations.

The configurations are written here as they are on the Hub, which tests do not reach; weights are on the meta device.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTModel,
    BertConfig,
    BertModel,
    Data2VecAudioConfig,
    Data2VecAudioModel,
    DebertaV2Config,
    DebertaV2ForMaskedLM,
    DebertaV2Model,
    DistilBertConfig,
    DistilBertModel,
    HubertConfig,
    HubertModel,
    PreTrainedConfig,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertConfig,
    Wav2Vec2BertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from raysys.config import LossConfig, ModelConfig
from raysys.data.text import load_tokenizer, tokenize, train_wordpiece
from raysys.data.view import View
from raysys.errors import EncoderError
from raysys.model.encoders import build_text_encoder, make_tokenizer
from raysys.model.network import Network
from raysys.model.parts import audio_encoder_of
from raysys.model.probe import probe_audio, probe_masked_lm, probe_text
from tests.model.encoder_folders import SIZES, TEXT_SIZES
from tests.model.test_whisper import small_config as small_whisper

torch.set_num_threads(1)
JOBS = (Path(__file__).resolve().parents[2] / "jobs" / "README.md").read_text()
SECTION = JOBS.split("\n## Encoders\n")[1].split("\n## ")[0]
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
NORMED = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
WAV2VEC2_LARGE = Wav2Vec2Config(**LARGE, **NORMED, conv_bias=True)
WAVEFORMS, WHISPER = Wav2Vec2FeatureExtractor(), WhisperFeatureExtractor()
WHISPER_128 = WhisperFeatureExtractor(feature_size=128)


def whisper(width: int, layers: int, heads: int, mels: int = 80) -> PreTrainedConfig:
    return WhisperConfig(
        d_model=width,
        encoder_layers=layers,
        encoder_attention_heads=heads,
        encoder_ffn_dim=4 * width,
        num_mel_bins=mels,
        decoder_layers=1,
        decoder_attention_heads=heads,
    )


AUDIO: dict[str, tuple[PreTrainedConfig, Any]] = {
    "facebook/wav2vec2-base": (Wav2Vec2Config(), WAVEFORMS),
    "facebook/wav2vec2-base-960h": (Wav2Vec2Config(), WAVEFORMS),
    "facebook/wav2vec2-large": (Wav2Vec2Config(**LARGE), WAVEFORMS),
    "facebook/wav2vec2-large-960h": (Wav2Vec2Config(**LARGE), WAVEFORMS),
    "facebook/wav2vec2-large-lv60": (WAV2VEC2_LARGE, WAVEFORMS),
    "facebook/wav2vec2-large-960h-lv60-self": (WAV2VEC2_LARGE, WAVEFORMS),
    "facebook/wav2vec2-large-xlsr-53": (WAV2VEC2_LARGE, WAVEFORMS),
    "facebook/wav2vec2-xls-r-300m": (WAV2VEC2_LARGE, WAVEFORMS),
    "facebook/wav2vec2-large-robust": (WAV2VEC2_LARGE, WAVEFORMS),
    "facebook/hubert-base-ls960": (HubertConfig(), WAVEFORMS),
    "facebook/hubert-large-ll60k": (HubertConfig(**LARGE, **NORMED, conv_bias=True), WAVEFORMS),
    "microsoft/wavlm-base": (WavLMConfig(), WAVEFORMS),
    "microsoft/wavlm-base-plus": (WavLMConfig(), WAVEFORMS),
    "microsoft/wavlm-large": (WavLMConfig(**LARGE, **NORMED), WAVEFORMS),
    "facebook/data2vec-audio-base": (Data2VecAudioConfig(), WAVEFORMS),
    "openai/whisper-tiny": (whisper(384, 4, 6), WHISPER),
    "openai/whisper-base": (whisper(512, 6, 8), WHISPER),
    "openai/whisper-small": (whisper(768, 12, 12), WHISPER),
    "openai/whisper-medium": (whisper(1024, 24, 16), WHISPER),
    "openai/whisper-large-v2": (whisper(1280, 32, 20), WHISPER),
    "openai/whisper-large-v3": (whisper(1280, 32, 20, 128), WHISPER_128),
    "openai/whisper-large-v3-turbo": (whisper(1280, 32, 20, 128), WHISPER_128),
    "facebook/w2v-bert-2.0": (Wav2Vec2BertConfig(), SeamlessM4TFeatureExtractor()),
    "MIT/ast-finetuned-audioset-10-10-0.4593": (ASTConfig(), ASTFeatureExtractor()),
}
DEBERTA: dict[str, Any] = {
    "type_vocab_size": 0,
    "relative_attention": True,
    "position_buckets": 256,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": "p2c|c2p",
    # Positions are relative only.
    "position_biased_input": False,
}
BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
MINILM = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
ROBERTA = {"max_position_embeddings": 514, "type_vocab_size": 1}
TEXT: dict[str, PreTrainedConfig] = {
    "distilbert/distilbert-base-uncased": DistilBertConfig(),
    "google-bert/bert-base-uncased": BertConfig(),
    "FacebookAI/roberta-base": RobertaConfig(**ROBERTA, vocab_size=50_265),
    "FacebookAI/xlm-roberta-base": XLMRobertaConfig(**ROBERTA, vocab_size=250_002),
    "sentence-transformers/all-MiniLM-L6-v2": BertConfig(**MINILM),
    "microsoft/deberta-v3-base": DebertaV2Config(**BASE, **DEBERTA, vocab_size=128_100),
}


def rows() -> dict[str, tuple[str, ...]]:
    """By name: frames a second, width, layers, parameters."""
    found = {}
    for line in SECTION.splitlines():
        if re.match(r"\| `[\w.-]+/", line):
            names, *sizes, _ = (cell.strip() for cell in line.strip("|").split("|"))
            found |= {name: tuple(sizes) for name in re.findall(r"`(.*?)`", names)}
    return found


def in_millions(model: nn.Module) -> str:
    return f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M"


def test_every_name_is_in_the_table_and_no_other() -> None:
    assert rows().keys() == {*AUDIO, *TEXT}


@pytest.mark.parametrize("name", AUDIO)
def test_sizes_of_audio_encoders_are_those_of_what_is_built(name: str, tmp_path: Path) -> None:
    config, extractor = AUDIO[name]
    config.save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    every = audio_encoder_of(ModelConfig(audio=str(tmp_path), freeze_audio="all", layer="weighted_sum"))
    found = f"{every.frames_per_s:g}", str(every.width), str(every.states - 1), in_millions(every)
    assert found == rows()[name]


@pytest.mark.parametrize("name", TEXT)
def test_sizes_of_text_encoders_are_those_of_what_is_built(name: str, tmp_path: Path) -> None:
    TEXT[name].save_pretrained(tmp_path)
    with torch.device("meta"):
        encoder = build_text_encoder(ModelConfig(text=str(tmp_path), weights="random"), TEXT[name].vocab_size)
    layers = TEXT[name].num_hidden_layers
    assert ("", str(encoder.width), str(layers), in_millions(encoder)) == rows()[name]


# One step of each family.

TOKENIZER = train_wordpiece(["dogs are sitting by the door", "kids are talking by the door"] * 2)
AST_SIZES = {name: SIZES[name] for name in ("hidden_size", "num_hidden_layers", "num_attention_heads")}
CONFORMER: dict[str, Any] = AST_SIZES | {"intermediate_size": 32}
BERT: dict[str, Any] = CONFORMER | {"vocab_size": len(TOKENIZER)}
SMALL_AUDIO: dict[str, tuple[Any, Any]] = {
    "wav2vec2": (lambda: Wav2Vec2Model(Wav2Vec2Config(**SIZES)), WAVEFORMS),
    "hubert": (lambda: HubertModel(HubertConfig(**SIZES)), WAVEFORMS),
    "wavlm": (lambda: WavLMModel(WavLMConfig(**SIZES)), WAVEFORMS),
    "data2vec": (lambda: Data2VecAudioModel(Data2VecAudioConfig(**SIZES)), WAVEFORMS),
    "whisper": (lambda: WhisperModel(small_whisper()), WHISPER),
    "w2v-bert": (lambda: Wav2Vec2BertModel(Wav2Vec2BertConfig(**CONFORMER)), SeamlessM4TFeatureExtractor()),
    "ast": (lambda: ASTModel(ASTConfig(**CONFORMER, max_length=64)), ASTFeatureExtractor(max_length=64)),
}
SMALL_TEXT: dict[str, Any] = {
    "distilbert": lambda: DistilBertModel(DistilBertConfig(vocab_size=len(TOKENIZER), **TEXT_SIZES)),
    "bert": lambda: BertModel(BertConfig(**BERT)),
    "roberta": lambda: RobertaModel(RobertaConfig(**BERT, max_position_embeddings=66)),
    "xlm-roberta": lambda: XLMRobertaModel(XLMRobertaConfig(**BERT, max_position_embeddings=66)),
    "deberta": lambda: DebertaV2Model(DebertaV2Config(**BERT, **DEBERTA)),
}


def save(folder: Path, model: PreTrainedModel, other: Any) -> str:
    for part in (model, other):
        part.save_pretrained(folder)
    return str(folder)


def trains_for_a_step(config: ModelConfig, modalities: Any) -> None:
    torch.manual_seed(0)
    network = Network(config, n_classes=2, vocab_size=len(TOKENIZER), loss=LossConfig(), modalities=modalities).train()
    waveforms_BS, lengths_B = 0.1 * torch.randn(2, 16_000), torch.tensor([16_000, 5_000])
    tokens_BM, valid_BM, has_text_B = tokenize(TOKENIZER, ["dogs are sitting", "kids"])
    heard = modalities == "audio"
    view = View(
        waveforms_BS=waveforms_BS if heard else None,
        lengths_B=lengths_B if heard else None,
        tokens_BM=None if heard else tokens_BM,
        token_valid_BM=None if heard else valid_BM,
        has_text_B=None if heard else has_text_B,
    )
    encoder = network.audio_encoder if heard else network.text_encoder
    assert encoder is not None
    trained = {name: p for name, p in encoder.named_parameters() if p.requires_grad}
    before: dict[str, Tensor] = {name: p.detach().clone() for name, p in trained.items()}
    cross_entropy(network((view,)).logits_NC, torch.tensor([0, 1])).backward()
    torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.1).step()
    assert trained
    for name, parameter in trained.items():
        assert parameter.grad is not None and parameter.isfinite().all(), name
    assert sum(not torch.equal(before[name], p) for name, p in trained.items()) > len(trained) / 2


@pytest.mark.parametrize("layer", ["last", "weighted_sum"])
@pytest.mark.parametrize("family", SMALL_AUDIO)
def test_each_family_of_audio_encoders_trains_for_a_step(family: str, layer: Any, tmp_path: Path) -> None:
    model, extractor = SMALL_AUDIO[family]
    folder = save(tmp_path, model(), extractor)
    config = ModelConfig(audio=folder, freeze_audio="none", layer=layer, width=16, heads=2, feed_forward=16)
    assert len(probe_audio(config)) == (family == "data2vec"), "padding changes a data2vec's frames, which is noted"
    trains_for_a_step(config, "audio")


@pytest.mark.parametrize("family", SMALL_TEXT)
def test_each_family_of_text_encoders_trains_for_a_step(family: str, tmp_path: Path) -> None:
    folder = save(tmp_path, SMALL_TEXT[family](), TOKENIZER)
    config = ModelConfig(text=folder, width=16, heads=2, feed_forward=16)
    assert probe_text(config, ["dogs are sitting by the door"]) == []
    trains_for_a_step(config, "text")


def test_deberta_v3_loads_as_it_is_on_the_hub(tmp_path: Path) -> None:
    """Its file has the heads of its pretraining and is no safetensors; it has no positions but relative ones."""
    torch.manual_seed(0)
    whole = DebertaV2ForMaskedLM(DebertaV2Config(**BERT, **DEBERTA))
    state = {name: weight for name, weight in whole.state_dict().items() if name.startswith("deberta.")}
    wanted = {name.removeprefix("deberta."): weight.clone() for name, weight in state.items()}
    assert not [name for name in wanted if "position" in name]
    for head in ("mask_predictions.dense", "mask_predictions.classifier", "lm_predictions.lm_head.dense"):
        state |= {f"{head}.weight": torch.randn(16, 16), f"{head}.bias": torch.randn(16)}
    whole.config.save_pretrained(tmp_path)
    torch.save(state, tmp_path / "pytorch_model.bin")
    TOKENIZER.save_pretrained(tmp_path)
    config = ModelConfig(text=str(tmp_path))
    assert probe_text(config, ["dogs are sitting by the door"]) == []
    tokenizer = make_tokenizer(config, [])
    assert tokenizer.model_max_length == 512
    encoder = build_text_encoder(config, len(tokenizer))
    for name, weight in encoder.model.state_dict().items():
        assert torch.equal(weight, wanted[name]), name
    with pytest.raises(EncoderError, match=r"^--model\.text .*cls\.predictions.*--augment\.cbca-model light"):
        probe_masked_lm(str(tmp_path), ["dogs are sitting"], implied=True)


@pytest.mark.skipif(importlib.util.find_spec("sentencepiece") is not None, reason="sentencepiece is installed")
def test_a_sentencepiece_tokenizer_names_the_package_that_reads_it(tmp_path: Path) -> None:
    """transformers asks for tiktoken, which does not."""
    DebertaV2Config(**BERT, **DEBERTA).save_pretrained(tmp_path)
    (tmp_path / "spm.model").write_bytes(b"\n")
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false, "vocab_type": "spm"}')
    with pytest.raises(
        EncoderError, match=r"^--model\.text .*needs the package sentencepiece\. Install it on every node"
    ):
        load_tokenizer(str(tmp_path))
