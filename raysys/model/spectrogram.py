"""Build the encoders that read spectrograms: Whisper, w2v-BERT 2.0 and AST."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from raysys.config import ModelConfig
from raysys.errors import EncoderError
from raysys.model.ast import AstEncoder
from raysys.model.loading import ADVICE, AUDIO, load_encoder, load_extractor
from raysys.model.w2v_bert import W2vBertEncoder
from raysys.model.whisper import WhisperEncoder
from raysys.pretrained import Loaded, load_pretrained

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

SpectrogramEncoder = WhisperEncoder | W2vBertEncoder | AstEncoder
SPECTROGRAM_MODELS = ("whisper", "wav2vec2-bert", "audio-spectrogram-transformer")
"""Their `model_type`."""


def build_spectrogram_encoder(config: ModelConfig, read: PreTrainedConfig) -> SpectrogramEncoder:
    """An encoder of one of `SPECTROGRAM_MODELS`, with weights loaded or drawn.

    Raises:
        EncoderError: it cannot be loaded, or its preprocessor is not its own.
    """
    extractor = load_extractor(config.audio)
    encoder: SpectrogramEncoder
    loaded: Loaded
    match read.model_type:
        case "whisper":
            _check_whisper(config.audio, extractor, read)
            loaded = _load_whisper(config, read)
            encoder = WhisperEncoder(loaded.model, extractor, freeze=config.freeze_audio, layer=config.layer)
        case "wav2vec2-bert":
            _check_w2v_bert(config.audio, extractor, read)
            loaded = load_encoder(config.audio, AUDIO, drawn=config.weights == "random", config=read)
            encoder = W2vBertEncoder(loaded.model, extractor, freeze=config.freeze_audio, layer=config.layer)
        case _:
            _check_ast(config.audio, extractor, read)
            loaded = load_encoder(config.audio, AUDIO, drawn=config.weights == "random", config=read)
            encoder = AstEncoder(loaded.model, extractor, freeze=config.freeze_audio, layer=config.layer)
    encoder.drawn = loaded.drawn
    return encoder


def _load_whisper(config: ModelConfig, read: PreTrainedConfig) -> Loaded:
    from transformers.models.whisper.modeling_whisper import WhisperEncoder as Model

    if config.weights == "random":
        return Loaded(Model(read))
    # Checkpoints hold the whole model: `encoder.` or, with a head, `model.encoder.`; the decoder is not read.
    renamed = {r"^(model\.)?encoder\.": ""}
    return load_pretrained(Model, config.audio, AUDIO, ADVICE, renamed=renamed)


def _check_whisper(name: str, extractor: Any, read: Any) -> None:
    _expect_kind(name, extractor, "WhisperFeatureExtractor")
    _expect(
        name,
        extractor.feature_size == read.num_mel_bins,
        f"{extractor.feature_size} mel bands (feature_size)",
        f"{read.num_mel_bins} (num_mel_bins in config.json)",
    )


def _check_w2v_bert(name: str, extractor: Any, read: Any) -> None:
    _expect_kind(name, extractor, "SeamlessM4TFeatureExtractor")
    n_bands, stride = extractor.num_mel_bins, extractor.stride
    _expect(
        name,
        type(stride) is int and stride > 0 and n_bands * stride == read.feature_projection_input_dim,
        f"{n_bands} mel bands (num_mel_bins) in steps of {stride} (stride)",
        f"{read.feature_projection_input_dim} values at a time (feature_projection_input_dim in config.json)",
    )


def _check_ast(name: str, extractor: Any, read: Any) -> None:
    _expect_kind(name, extractor, "ASTFeatureExtractor")
    _expect(
        name,
        extractor.num_mel_bins == read.num_mel_bins,
        f"{extractor.num_mel_bins} mel bands (num_mel_bins)",
        f"{read.num_mel_bins} (num_mel_bins in config.json)",
    )
    _expect(
        name,
        extractor.max_length == read.max_length,
        f"spectrograms of {extractor.max_length} frames (max_length)",
        f"{read.max_length} (max_length in config.json)",
    )
    for key in ("mean", "std"):
        value = getattr(extractor, key)
        if type(value) not in (int, float) or not math.isfinite(value) or (key == "std" and value <= 0):
            raise EncoderError(
                f"{AUDIO} {name}: preprocessor_config.json has {key} {value}, expected a"
                f"{' positive' if key == 'std' else ''} number. Save the model's own preprocessor in the same folder."
            )


def _expect_kind(name: str, extractor: Any, kind: str) -> None:
    if type(extractor).__name__ != kind:
        raise EncoderError(
            f"{AUDIO} {name}: preprocessor_config.json is that of {type(extractor).__name__}, expected {kind}. Save "
            f"the model's own in the same folder."
        )


def _expect(name: str, fits: bool, found: str, expected: str) -> None:
    if not fits:
        raise EncoderError(
            f"{AUDIO} {name}: preprocessor_config.json has {found}, but the model reads {expected}. Save the model's "
            f"own preprocessor in the same folder."
        )
