"""Encoders that a trial could not train are refused on the driver, with their name; odd ones are noted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    CLIPTextConfig,
    CLIPTextModel,
    Data2VecAudioConfig,
    Data2VecAudioModel,
    GPT2Config,
    GPT2Model,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
    SEWConfig,
    SEWDConfig,
    SEWDModel,
    SEWModel,
    SpeechT5Config,
    SpeechT5Model,
    T5Config,
    T5Model,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Model,
)

from raysys.config import ModelConfig
from raysys.data.text import tokenize, train_wordpiece
from raysys.errors import EncoderError
from raysys.model.audio import WaveformEncoder
from raysys.model.encoders import build_audio_encoder, build_text_encoder, make_tokenizer
from raysys.model.probe import probe_audio, probe_masked_lm, probe_text
from tests.model.encoder_folders import SIZES

torch.set_num_threads(1)

TEXTS = ["dogs are sitting by the door", "kids are talking by the door"]
TOKENIZER = train_wordpiece(TEXTS * 2)
LONG = "kids are talking " * 300
BERT: dict[str, Any] = {
    "vocab_size": len(TOKENIZER),
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


def save(folder: Path, model: PreTrainedModel, *others: Any) -> Path:
    for part in (model, *others):
        part.save_pretrained(folder)
    return folder


def save_audio(folder: Path, model: PreTrainedModel, rate: int = 16_000) -> Path:
    return save(folder, model, Wav2Vec2FeatureExtractor(do_normalize=True, sampling_rate=rate))


def audio(folder: Path, **others: Any) -> ModelConfig:
    return ModelConfig(audio=str(folder), text="light", **others)


def text(folder: Path, **others: Any) -> ModelConfig:
    return ModelConfig(audio="light", text=str(folder), **others)


def drop(folder: Path, *endings: str) -> None:
    """Remove weights from a saved model."""
    path = folder / "model.safetensors"
    kept = {name: t for name, t in safetensors.torch.load_file(path).items() if not name.endswith(endings)}
    safetensors.torch.save_file(kept, path, metadata={"format": "pt"})


# Audio


@pytest.mark.parametrize("freeze", ["none", "cnn", "all"])
@pytest.mark.parametrize("layer", ["last", "cnn", "weighted_sum"])
def test_an_encoder_that_trains_is_not_remarked_on(tmp_path: Path, freeze: str, layer: str) -> None:
    config = audio(save_audio(tmp_path, Wav2Vec2Model(Wav2Vec2Config(**SIZES))), freeze_audio=freeze, layer=layer)
    before = torch.get_rng_state()
    assert probe_audio(config) == []
    assert torch.equal(torch.get_rng_state(), before)


def test_an_encoder_that_padding_changes_is_noted(tmp_path: Path) -> None:
    folder = save_audio(tmp_path, Data2VecAudioModel(Data2VecAudioConfig(**SIZES)))
    (note,) = probe_audio(audio(folder))
    assert "it reads one utterance at a time, unpadded" in note


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (lambda: Wav2Vec2Model(Wav2Vec2Config(**SIZES, add_adapter=True)), "sets add_adapter"),
        (
            lambda: SpeechT5Model(
                SpeechT5Config(
                    hidden_size=16,
                    encoder_layers=1,
                    decoder_layers=1,
                    encoder_attention_heads=2,
                    decoder_attention_heads=2,
                    encoder_ffn_dim=16,
                    decoder_ffn_dim=16,
                    conv_dim=(8,) * 7,
                    num_conv_pos_embeddings=8,
                    num_conv_pos_embedding_groups=2,
                    vocab_size=20,
                )
            ),
            "a SpeechT5Model does not read raw waveforms",
        ),
        (
            lambda: BertModel(BertConfig(**BERT)),
            "a model of type bert reads text. Give it as --model.text, and as",
        ),
    ],
    ids=["an adapter", "SpeechT5", "a text model"],
)
def test_an_audio_model_of_another_kind_is_refused(tmp_path: Path, model: Any, said: str) -> None:
    folder = save_audio(tmp_path, model())
    with pytest.raises(EncoderError, match=rf"^--model\.audio {folder}: .*{said}"):
        probe_audio(audio(folder))


def test_what_only_a_pass_shows_is_refused_with_the_flags(tmp_path: Path) -> None:
    """A SEW's hidden states have half as many frames as its output."""
    folder = save_audio(tmp_path, SEWModel(SEWConfig(**(SIZES | {"conv_dim": (8,) * 13}))))
    assert probe_audio(audio(folder)) == []
    with pytest.raises(EncoderError, match=rf"^--model\.audio {folder} with --model\.layer weighted_sum: a forward"):
        probe_audio(audio(folder, layer="weighted_sum"))


def test_another_sample_rate_is_refused(tmp_path: Path) -> None:
    """It would be fed 16 kHz without a word."""
    folder = save_audio(tmp_path, Wav2Vec2Model(Wav2Vec2Config(**SIZES)), rate=8_000)
    with pytest.raises(EncoderError, match=r"--model\.audio .*sampling_rate of 8000, but waveforms are at 16000 Hz"):
        probe_audio(audio(folder))


@pytest.mark.parametrize("value", [float("nan"), 1e38])
def test_damaged_weights_are_refused(tmp_path: Path, value: float) -> None:
    model = Wav2Vec2Model(Wav2Vec2Config(**SIZES))
    with torch.no_grad():
        model.encoder.layers[1].attention.q_proj.weight.fill_(value)
    with pytest.raises(EncoderError, match=r"--model\.audio .*are not finite"):
        probe_audio(audio(save_audio(tmp_path, model)))


def test_the_most_used_checkpoint_loads_although_its_file_lacks_a_weight(tmp_path: Path) -> None:
    """facebook/wav2vec2-base-960h: saved with a CTC head, old names of a normed weight, no masked_spec_embed."""
    folder = save_audio(tmp_path, Wav2Vec2ForCTC(Wav2Vec2Config(**SIZES, vocab_size=9)))
    path = folder / "model.safetensors"
    saved = safetensors.torch.load_file(path)
    old = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): tensor
        for name, tensor in saved.items()
        if not name.endswith("masked_spec_embed")
    }
    assert len(old) == len(saved) - 1
    safetensors.torch.save_file(old, path, metadata={"format": "pt"})
    (note,) = probe_audio(audio(folder))
    assert note.startswith(f"--model.audio {folder}: masked_spec_embed not in the checkpoint")
    encoder = build_audio_encoder(audio(folder))
    assert isinstance(encoder, WaveformEncoder)
    for name, tensor in encoder.model.state_dict().items():
        if name != "masked_spec_embed":
            assert torch.equal(tensor, saved[f"wav2vec2.{name}"]), name


@pytest.mark.parametrize("kind", [(Wav2Vec2Model, Wav2Vec2Config, 7), (SEWDModel, SEWDConfig, 13)])
def test_a_drawn_weight_is_the_same_in_every_process(tmp_path: Path, kind: tuple[Any, Any, int]) -> None:
    """Workers, and the features of a frozen encoder, which are stored under a hash of its weights.

    transformers leaves a SEW-D's as uninitialised memory.
    """
    model, config, convolutions = kind
    folder = save_audio(tmp_path, model(config(**(SIZES | {"conv_dim": (8,) * convolutions}))))
    drop(folder, "masked_spec_embed")
    drawn = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        encoder = build_audio_encoder(audio(folder))
        assert isinstance(encoder, WaveformEncoder)
        assert encoder.drawn == ("masked_spec_embed",)
        drawn.append(encoder.model.masked_spec_embed.detach())
    assert torch.equal(*drawn)
    assert 0 <= drawn[0].min() < drawn[0].max() < 1


def test_a_pooler_that_nothing_reads_may_be_missing(tmp_path: Path) -> None:
    """As in the file of roberta-base."""
    folder = save(tmp_path, RobertaModel(RobertaConfig(**BERT)), TOKENIZER)
    drop(folder, "pooler.dense.weight", "pooler.dense.bias")
    (note,) = probe_text(text(folder), TEXTS)
    assert "pooler.dense.bias, pooler.dense.weight not in the checkpoint" in note
    drop(folder, "query.weight")
    with pytest.raises(EncoderError, match=r"1 weights are missing .*query\.weight"):
        probe_text(text(folder), TEXTS)


# Text


def bert_of(positions: int) -> PreTrainedModel:
    return BertModel(BertConfig(**BERT, max_position_embeddings=positions))


@pytest.mark.parametrize(
    ("model", "limit"),
    [
        (lambda: bert_of(512), 512),
        (lambda: bert_of(128), 128),
        # Positions are numbered from 2.
        (lambda: RobertaModel(RobertaConfig(**BERT, max_position_embeddings=130)), 128),
        (lambda: CLIPTextModel(CLIPTextConfig(**BERT)), 77),
    ],
    ids=["BERT", "BERT of 128", "RoBERTa of 130", "CLIP"],
)
def test_texts_are_cut_to_the_models_positions_and_counted(tmp_path: Path, model: Any, limit: int) -> None:
    TOKENIZER.model_max_length = 512
    folder = save(tmp_path, model(), TOKENIZER)
    (note,) = probe_text(text(folder), [*TEXTS, LONG])
    assert note.endswith(f"1 of 3 transcripts are longer than {limit} tokens; their end is not read")
    tokenizer = make_tokenizer(text(folder), [])
    tokens_BM, valid_BM, _ = tokenize(tokenizer, [LONG])
    assert tokens_BM.shape == (1, limit)
    assert build_text_encoder(text(folder), len(tokenizer))(tokens_BM, valid_BM).shape == (1, limit, 16)


def test_a_text_of_exactly_the_models_positions_is_not_cut(tmp_path: Path) -> None:
    folder = save(tmp_path, bert_of(16), TOKENIZER)
    assert probe_text(text(folder), [" ".join(["door"] * 14)]) == []
    assert len(probe_text(text(folder), [" ".join(["door"] * 15)])) == 1


def gpt2(folder: Path) -> Path:
    """A tokenizer as GPT-2's: without padding, and without marks around a text."""
    save(folder, GPT2Model(GPT2Config(vocab_size=len(TOKENIZER), n_embd=16, n_layer=1, n_head=2)), TOKENIZER)
    for name, old in (("tokenizer_config.json", '"[PAD]"'), ("tokenizer.json", "never")):
        path = folder / name
        path.write_text(path.read_text().replace(f'"pad_token": {old}', '"pad_token": null'))
    return folder


def added(folder: Path) -> Path:
    tokenizer = train_wordpiece(TEXTS * 2)
    tokenizer.add_tokens(["<laughter>"])
    return save(folder, bert_of(64), tokenizer)


T5 = T5Config(vocab_size=len(TOKENIZER), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: save(folder, bert_of(64)), r"contains no tokenizer \(none of tokenizer.json, vocab.txt\)"),
        (added, f"its tokenizer has {len(TOKENIZER) + 1} tokens, but the model has embeddings for {len(TOKENIZER)}"),
        (gpt2, "its tokenizer has no padding token"),
        (lambda folder: save(folder, T5Model(T5), TOKENIZER), "a t5 is an encoder and a decoder"),
        (lambda folder: save_audio(folder, Wav2Vec2Model(Wav2Vec2Config(**SIZES))), "tokenizer"),
    ],
    ids=["no tokenizer", "added tokens", "GPT-2", "T5", "an audio model"],
)
def test_a_text_model_that_cannot_read_the_corpus_is_refused(tmp_path: Path, make: Any, said: str) -> None:
    folder = make(tmp_path)
    with pytest.raises(EncoderError, match=rf"^--model\.text {folder}: .*{said}"):
        probe_text(text(folder), TEXTS)


@pytest.mark.parametrize("value", ["16", 0.5, {}, -1, 0, 2, True])
def test_a_limit_that_is_no_number_of_tokens_is_refused(tmp_path: Path, value: object) -> None:
    folder = save(tmp_path, bert_of(64), TOKENIZER)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": value}))
    with pytest.raises(
        EncoderError, match=r"^--model\.text .*has a model_max_length of .*, expected a number of tokens"
    ):
        probe_text(text(folder), TEXTS)


def test_a_tokenizer_that_never_ends_is_named(tmp_path: Path) -> None:
    """transformers looks for an empty unknown token without end."""
    folder = save(tmp_path, bert_of(64), TOKENIZER)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"unk_token": ""}))
    with pytest.raises(EncoderError, match=rf"^--model\.text {folder}: .*RecursionError"):
        probe_text(text(folder), TEXTS)


def probe_on(folder: Path, texts: Sequence[str]) -> list[str]:
    return probe_text(text(save(folder, bert_of(64), TOKENIZER)), texts)


def test_words_that_all_become_unknown_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"knows only 0% of the words in 2 transcripts, such as 'собаки сидят'"):
        probe_on(tmp_path, ["собаки сидят", "дети"])


@pytest.mark.parametrize(("known", "noted"), [(9, "10.0%"), (39, None), (1, "50.0%")])
def test_a_few_unknown_words_are_noted(tmp_path: Path, known: int, noted: str | None) -> None:
    notes = probe_on(tmp_path, ["door " * known + "собаки"])
    assert [note.split(": ")[1].split(" of ")[0] for note in notes] == ([] if noted is None else [noted])


def test_a_corpus_without_transcripts_needs_no_words(tmp_path: Path) -> None:
    assert probe_on(tmp_path, []) == []


# CBCA


def test_a_text_encoder_without_a_head_names_the_flag_that_helps(tmp_path: Path) -> None:
    """The user did not name a masked language model: it is --model.text."""
    folder = str(save(tmp_path, bert_of(64), TOKENIZER))
    with pytest.raises(
        EncoderError, match=r"^--model\.text .*missing.*--augment\.cbca-model light .*--augment\.cbca none"
    ):
        probe_masked_lm(folder, TEXTS, implied=True)
    with pytest.raises(EncoderError, match=rf"^--augment\.cbca-model {folder}: .*missing"):
        probe_masked_lm(folder, TEXTS, implied=False)


def test_a_masked_language_model_of_few_positions_reads_long_texts(tmp_path: Path) -> None:
    folder = save(tmp_path, BertForMaskedLM(BertConfig(**BERT, max_position_embeddings=32)), TOKENIZER)
    probe_masked_lm(str(folder), [*TEXTS, LONG], implied=True)


MINILM = Path(__file__).resolve().parents[3] / "shared" / "models" / "minilm-l6"


@pytest.mark.skipif(not MINILM.is_dir(), reason="needs shared/models next to the repository")
def test_minilm_reads_english_and_is_no_masked_language_model() -> None:
    assert probe_text(text(MINILM), TEXTS) == []
    with pytest.raises(EncoderError, match=r"^--model\.text .*cls\.predictions.*--augment\.cbca-model light"):
        probe_masked_lm(str(MINILM), TEXTS, implied=True)
