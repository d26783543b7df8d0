"""Build encoders by name: 'light', 'tiny', a Hub name, or a folder written by save_pretrained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from raysys.augment.masked_lm import max_tokens
from raysys.config import BUILT_IN, ModelConfig
from raysys.data.text import load_tokenizer, train_wordpiece
from raysys.errors import EncoderError
from raysys.model.adapt import let_learn, refuse_missing_layers, refuse_missing_peft
from raysys.model.audio import WaveformEncoder, padding_moves
from raysys.model.light import LightAudioEncoder
from raysys.model.loading import AUDIO, TEXT, load_encoder, load_extractor, read_config, refuse_other_input
from raysys.model.small_text import SmallTextEncoder
from raysys.model.spectrogram import SPECTROGRAM_MODELS, SpectrogramEncoder, build_spectrogram_encoder
from raysys.model.text import TokenEncoder
from raysys.pretrained import draw_model

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, Wav2Vec2Config

PretrainedAudio = WaveformEncoder | SpectrogramEncoder

# Model classes take 5 s to import and are not needed by a driver or a trial with light audio, so they are imported
# where a model is built.

# These use transformers' default configurations, so counting or initialising them needs no Hub access.
_BASE_AUDIO = "facebook/wav2vec2-base"
_BASE_TEXT = ("distilbert/distilbert-base-uncased", "distilbert-base-uncased")
_SAFE_TO_PAD = ("wav2vec2", "hubert", "wavlm")
"""Audio encoders whose features do not depend on padding (tested, with `MaskedGroupNorm`). Others are probed."""
_BERT_VOCAB = 30_522


def has_own_tokenizer(config: ModelConfig) -> bool:
    """False for text encoders trained from scratch: their tokenizer is trained on the training part."""
    if config.text in BUILT_IN:
        return False
    return not (config.weights == "random" and config.text in _BASE_TEXT)


def make_tokenizer(config: ModelConfig, training_texts: list[str]) -> PreTrainedTokenizerBase:
    """The encoder's own tokenizer, or a WordPiece tokenizer trained on the training texts if it has none.

    Its `model_max_length` is at most what the encoder accepts.

    Raises:
        EncoderError: it cannot be loaded.
    """
    if not has_own_tokenizer(config):
        return train_wordpiece(training_texts)
    tokenizer = load_tokenizer(config.text)
    from transformers import AutoModel

    with torch.device("meta"):
        model = draw_model(AutoModel, _text_config(config, len(tokenizer)), "--model.text", config.text)
    fit_tokenizer(tokenizer, model, f"--model.text {config.text}")
    return tokenizer


def fit_tokenizer(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, what: str) -> None:
    """Limit a tokenizer to the positions of a model.

    Args:
        what: named in error messages.

    Raises:
        EncoderError: it has tokens that the model does not know.
    """
    tokens = 1 + max(tokenizer.get_vocab().values())
    if tokens > (rows := model.config.vocab_size):
        raise EncoderError(
            f"{what}: its tokenizer has {tokens} tokens, but the model has embeddings for {rows}. Give a folder in "
            f"which both were saved together, after model.resize_token_embeddings if tokens were added."
        )
    tokenizer.model_max_length = max_tokens(model, tokenizer)


def build_audio_encoder(config: ModelConfig) -> nn.Module:
    """The audio encoder, with weights loaded or initialised (from torch's default generator).

    Raises:
        EncoderError: the encoder cannot be loaded, weights are missing, or it has too few layers.
    """
    encoder = _audio_encoder(config)
    if config.audio != "light":
        let_learn(encoder, config, AUDIO, config.audio)  # type: ignore[arg-type]
    return encoder


def _audio_encoder(config: ModelConfig) -> nn.Module:
    if config.audio == "light":
        return LightAudioEncoder(width=config.width, dropout=config.dropout, channel_dropout=config.dropout / 2)
    if config.audio == "tiny":
        from transformers import Wav2Vec2Model

        model: PreTrainedModel = Wav2Vec2Model(_tiny_wav2vec2(config.dropout))
        return WaveformEncoder(model, normalise=True, freeze=config.freeze_audio, layer=config.layer)
    read = _audio_config(config)
    if read.model_type in SPECTROGRAM_MODELS:
        return build_spectrogram_encoder(config, read)
    model, drawn = load_encoder(config.audio, AUDIO, drawn=config.weights == "random", config=read)
    if not hasattr(model.config, "conv_kernel") or not hasattr(model, "feature_extractor"):
        raise EncoderError(
            f"--model.audio {config.audio}: a {type(model).__name__} does not read raw waveforms through "
            f"convolutions; give a wav2vec 2.0, HuBERT, WavLM, Whisper, w2v-BERT or AST model."
        )
    encoder = WaveformEncoder(model, normalise=_normalises(config), freeze=config.freeze_audio, layer=config.layer)
    encoder.drawn = drawn
    # Not the first alone: transformers makes masked_spec_embed on the CPU whatever the device.
    on_meta = any(parameter.is_meta for parameter in encoder.parameters())
    if model.config.model_type not in _SAFE_TO_PAD and not on_meta:
        encoder.padded = not padding_moves(encoder)
    return encoder


def build_text_encoder(config: ModelConfig, vocab_size: int) -> TokenEncoder | SmallTextEncoder:
    """The text encoder, with weights loaded or initialised; `vocab_size` is the tokenizer's.

    Raises:
        EncoderError: the encoder cannot be loaded, weights are missing, or it has too few layers.
    """
    if config.text in BUILT_IN:
        width = config.width if config.text == "light" else 32
        return SmallTextEncoder(vocab_size=vocab_size, width=width, dropout=config.dropout, freeze=config.freeze_text)
    read = _text_config(config, vocab_size)
    model, drawn = load_encoder(config.text, TEXT, drawn=config.weights == "random", config=read)
    encoder = TokenEncoder(model, freeze=config.freeze_text)
    encoder.drawn = drawn
    let_learn(encoder, config, TEXT, config.text)
    return encoder


def _tiny_wav2vec2(dropout: float) -> Wav2Vec2Config:
    from transformers import Wav2Vec2Config

    return Wav2Vec2Config(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        hidden_dropout=dropout,
        activation_dropout=dropout,
        attention_dropout=dropout,
        feat_proj_dropout=dropout,
        # Time masks are the encoder's other source of randomness.
        apply_spec_augment=dropout > 0,
    )


def _audio_config(config: ModelConfig) -> PreTrainedConfig:
    if config.audio == _BASE_AUDIO and not Path(config.audio).is_dir():
        from transformers import Wav2Vec2Config

        return Wav2Vec2Config()
    read = read_config(config.audio, AUDIO)
    refuse_other_input(config.audio, AUDIO, read)
    if getattr(read, "add_adapter", False):
        raise EncoderError(
            f"--model.audio {config.audio}: its config.json sets add_adapter, whose frames are fewer than those of the "
            f"encoder. Save the model without it: AutoModel.from_pretrained(..., add_adapter=False)."
        )
    return read


def _text_config(config: ModelConfig, vocab_size: int) -> PreTrainedConfig:
    if config.text in _BASE_TEXT and not Path(config.text).is_dir():
        from transformers import DistilBertConfig

        drawn = config.weights == "random"
        return DistilBertConfig(vocab_size=vocab_size if drawn else _BERT_VOCAB)
    read = read_config(config.text, TEXT)
    refuse_other_input(config.text, TEXT, read)
    if read.is_encoder_decoder:
        raise EncoderError(
            f"--model.text {config.text}: a {read.model_type} is an encoder and a decoder; give an encoder such as "
            f"BERT, RoBERTa or MiniLM."
        )
    if not hasattr(read, "vocab_size"):
        raise EncoderError(f"--model.text {config.text}: a {read.model_type} has no vocabulary; give a text encoder.")
    return read


def vocab_size_for_count(config: ModelConfig) -> int:
    """Vocabulary size of the text encoder before a tokenizer exists, for a dry run."""
    if config.text in BUILT_IN:
        return 1000
    if config.text in _BASE_TEXT and not Path(config.text).is_dir():
        return _BERT_VOCAB
    return int(_text_config(config, 0).vocab_size)


def check_encoders(
    config: ModelConfig, modalities: Literal["both", "audio", "text"] = "both", *, masked_lm: str = "light"
) -> None:
    """Read the configurations of the encoders that are used, so that a wrong name fails before any worker starts.

    Args:
        modalities: an encoder of another modality is not looked for.
        masked_lm: CBCA's model; 'light' needs no check.

    Raises:
        EncoderError: an encoder is neither on the Hub nor a folder with a config.json, or is of a kind that cannot be
            used.
    """
    refuse_missing_peft(config)
    drawn = config.weights == "random"
    if modalities != "text" and config.audio not in BUILT_IN:
        if not (drawn and config.audio == _BASE_AUDIO):
            # The base's configuration is known, but whether its weights are within reach is not.
            read_config(config.audio, AUDIO)
        read = _audio_config(config)
        if config.freeze_audio != "all":
            refuse_missing_layers(read, config, AUDIO, config.audio)
    if modalities != "audio" and config.text not in BUILT_IN:
        if not (drawn and config.text in _BASE_TEXT):
            read_config(config.text, TEXT)
        read = _text_config(config, 0)
        if config.freeze_text != "all":
            refuse_missing_layers(read, config, TEXT, config.text)
    if masked_lm != "light":
        read_config(masked_lm, "--augment.cbca-model")


def _normalises(config: ModelConfig) -> bool:
    if config.weights == "random" and config.audio == _BASE_AUDIO:
        return True
    extractor = load_extractor(config.audio)
    if not isinstance(found := getattr(extractor, "do_normalize", None), bool):
        raise EncoderError(
            f"--model.audio {config.audio}: preprocessor_config.json does not say whether to normalise waveforms "
            f"(do_normalize is {found}, expected true or false). Save the model's feature extractor in the same folder."
        )
    return found
