"""Build encoders by name: 'light', 'tiny', a Hub name, or a folder written by save_pretrained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from raysys.config import BUILT_IN, ModelConfig
from raysys.data.text import load_tokenizer, train_wordpiece
from raysys.errors import EncoderError
from raysys.model.audio import WaveformEncoder, padding_moves
from raysys.model.light import LightAudioEncoder
from raysys.model.small_text import SmallTextEncoder
from raysys.model.text import TokenEncoder
from raysys.pretrained import draw_model, first_line, load_config, load_part, load_pretrained

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, Wav2Vec2Config

# Model classes take 5 s to import and are not needed by a driver or a trial with light audio, so they are imported
# where a model is built.

# These use transformers' default configurations, so counting or initialising them needs no Hub access.
_BASE_AUDIO = "facebook/wav2vec2-base"
_BASE_TEXT = ("distilbert/distilbert-base-uncased", "distilbert-base-uncased")
_SAFE_TO_PAD = ("wav2vec2", "hubert", "wavlm")
"""Audio encoders whose features do not depend on padding (tested, with `MaskedGroupNorm`). Others are probed."""
_UNUSED_WEIGHTS = ("pooler.",)
_BERT_VOCAB = 30_522


def has_own_tokenizer(config: ModelConfig) -> bool:
    """False for text encoders trained from scratch: their tokenizer is trained on the training part."""
    if config.text in BUILT_IN:
        return False
    return not (config.weights == "random" and config.text in _BASE_TEXT)


def make_tokenizer(config: ModelConfig, training_texts: list[str]) -> PreTrainedTokenizerBase:
    """The encoder's own tokenizer, or a WordPiece tokenizer trained on the training texts if it has none."""
    if has_own_tokenizer(config):
        return load_tokenizer(config.text)
    return train_wordpiece(training_texts)


def build_audio_encoder(config: ModelConfig) -> nn.Module:
    """The audio encoder, with weights loaded or initialised (from torch's default generator).

    Raises:
        EncoderError: the encoder cannot be loaded, or weights are missing.
    """
    if config.audio == "light":
        return LightAudioEncoder(width=config.width, dropout=config.dropout, channel_dropout=config.dropout / 2)
    if config.audio == "tiny":
        from transformers import Wav2Vec2Model

        model: PreTrainedModel = Wav2Vec2Model(_tiny_wav2vec2(config.dropout))
        return WaveformEncoder(model, normalise=True, freeze=config.freeze_audio, layer=config.layer)
    model = _load(config.audio, "--model.audio", config.weights == "random", _audio_config(config))
    if not hasattr(model.config, "conv_kernel"):
        raise EncoderError(
            f"--model.audio {config.audio}: a {type(model).__name__} does not read raw waveforms through "
            f"convolutions; give a wav2vec 2.0, HuBERT or WavLM model."
        )
    encoder = WaveformEncoder(model, normalise=_normalises(config), freeze=config.freeze_audio, layer=config.layer)
    on_meta = next(encoder.parameters()).is_meta
    if model.config.model_type not in _SAFE_TO_PAD and not on_meta:
        encoder.padded = not padding_moves(encoder)
    return encoder


def check_padding(config: ModelConfig) -> str | None:
    """Note for the user if padding changes the audio encoder's features; otherwise None.

    Unknown encoders are loaded and probed.
    """
    known = audio_config(config)
    if known is None or known.model_type in _SAFE_TO_PAD:
        return None
    encoder = build_audio_encoder(config)
    assert isinstance(encoder, WaveformEncoder)
    if encoder.padded:
        return None
    return f"{config.audio}: padding changes this encoder's features, so it reads one utterance at a time, unpadded"


def build_text_encoder(config: ModelConfig, vocab_size: int) -> TokenEncoder | SmallTextEncoder:
    """The text encoder, with weights loaded or initialised; `vocab_size` is the tokenizer's.

    Raises:
        EncoderError: the encoder cannot be loaded, or weights are missing.
    """
    if config.text in BUILT_IN:
        width = config.width if config.text == "light" else 32
        return SmallTextEncoder(vocab_size=vocab_size, width=width, dropout=config.dropout, freeze=config.freeze_text)
    model = _load(config.text, "--model.text", config.weights == "random", _text_config(config, vocab_size))
    return TokenEncoder(model, freeze=config.freeze_text)


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


def audio_config(config: ModelConfig) -> PreTrainedConfig | None:
    """Configuration of the audio encoder, read on the driver so that a wrong name fails early; None for 'light'."""
    if config.audio == "light":
        return None
    return _tiny_wav2vec2(config.dropout) if config.audio == "tiny" else _audio_config(config)


def _audio_config(config: ModelConfig) -> PreTrainedConfig:
    if config.audio == _BASE_AUDIO and not Path(config.audio).is_dir():
        from transformers import Wav2Vec2Config

        return Wav2Vec2Config()
    return _read_config(config.audio, "--model.audio")


def _text_config(config: ModelConfig, vocab_size: int) -> PreTrainedConfig:
    if config.text in _BASE_TEXT and not Path(config.text).is_dir():
        from transformers import DistilBertConfig

        drawn = config.weights == "random"
        return DistilBertConfig(vocab_size=vocab_size if drawn else _BERT_VOCAB)
    return _read_config(config.text, "--model.text")


def vocab_size_for_count(config: ModelConfig) -> int:
    """Vocabulary size of the text encoder before a tokenizer exists, for a dry run."""
    if config.text in BUILT_IN:
        return 1000
    if config.text in _BASE_TEXT and not Path(config.text).is_dir():
        return _BERT_VOCAB
    read = _read_config(config.text, "--model.text")
    if not hasattr(read, "vocab_size"):
        raise EncoderError(f"--model.text {config.text}: a {read.model_type} has no vocabulary; give a text encoder.")
    return int(read.vocab_size)


def check_encoders(config: ModelConfig, *, masked_lm: str = "light") -> None:
    """Read the encoders' configurations, so that a wrong name fails before any worker starts.

    Args:
        masked_lm: CBCA's model; 'light' needs no check.

    Raises:
        EncoderError: an encoder is neither on the Hub nor a folder with a config.json.
    """
    for flag, name in (("--model.audio", config.audio), ("--model.text", config.text)):
        drawn_base = config.weights == "random" and name in (_BASE_AUDIO, *_BASE_TEXT)
        if name not in BUILT_IN and not drawn_base:
            _read_config(name, flag)
    if masked_lm != "light":
        _read_config(masked_lm, "--augment.cbca-model")


def _normalises(config: ModelConfig) -> bool:
    if config.weights == "random" and config.audio == _BASE_AUDIO:
        return True
    from transformers import AutoFeatureExtractor

    try:
        return bool(load_part(AutoFeatureExtractor, config.audio).do_normalize)
    except (OSError, ValueError) as error:
        raise EncoderError(
            f"--model.audio {config.audio}: preprocessor_config.json, which says how to normalise waveforms, "
            f"cannot be read ({first_line(error)}). Save the model's feature extractor in the same folder."
        ) from error


def _read_config(name: str, flag: str) -> PreTrainedConfig:
    try:
        return load_config(name)
    except (OSError, ValueError) as error:
        raise EncoderError(
            f"{flag} {name}: its config.json cannot be read ({first_line(error)}). Give 'light', a Hub name "
            f"that this machine can access, or a folder written by save_pretrained; "
            f"--model.weights random needs no download for the base encoders."
        ) from error


def _load(name: str, flag: str, drawn: bool, config: PreTrainedConfig) -> PreTrainedModel:
    from transformers import AutoModel

    if drawn:
        return draw_model(AutoModel, config, flag, name)
    advice = "Give a complete checkpoint, or use random weights with --model.weights random."
    return load_pretrained(AutoModel, name, flag, advice, unused=_UNUSED_WEIGHTS)
