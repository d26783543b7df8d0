"""Read a pretrained encoder's configuration, weights and preprocessor, with errors that name its flag."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from raysys.config import SAMPLE_RATE_HZ
from raysys.errors import EncoderError
from raysys.pretrained import Loaded, draw_model, first_line, load_config, load_part, load_pretrained

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

AUDIO, TEXT = "--model.audio", "--model.text"
ADVICE = "Give a complete checkpoint, or use random weights with --model.weights random."
_HARMLESS_WEIGHTS = ("pooler.", "masked_spec_embed")
"""May be missing from a checkpoint: nothing reads a pooler, and only training reads what replaces masked frames (it is
not in the file of wav2vec2-base-960h)."""
_LARGEST = {"feature_size": 1024, "num_mel_bins": 1024, "n_fft": 2**14, "hop_length": 2**14}
"""Sizes in a preprocessor's configuration, from which it computes filters before anything else is checked."""


def read_config(name: str, flag: str) -> PreTrainedConfig:
    """A model's configuration.

    Raises:
        EncoderError: it is neither on the Hub nor a folder with a config.json.
    """
    try:
        return load_config(name)
    except (OSError, ValueError) as error:
        raise EncoderError(
            f"{flag} {name}: its config.json cannot be read ({first_line(error)}). Give 'light', a Hub name "
            f"that this machine can access, or a folder written by save_pretrained; "
            f"--model.weights random needs no download for the base encoders."
        ) from error


def refuse_other_input(name: str, flag: str, config: PreTrainedConfig) -> None:
    """Raises: EncoderError: it is an encoder of text given as audio, or the reverse."""
    from transformers import MODEL_MAPPING

    model = MODEL_MAPPING.get(type(config), None)
    reads = getattr(model, "main_input_name", None)
    if flag == AUDIO and reads == "input_ids":
        raise EncoderError(
            f"{flag} {name}: a model of type {config.model_type} reads text. Give it as {TEXT}, and as {AUDIO} a "
            f"wav2vec 2.0, HuBERT, WavLM, Whisper, w2v-BERT or AST model."
        )
    if flag == TEXT and model is not None and reads != "input_ids":
        other = "audio" if reads in ("input_values", "input_features") else f"no text, but {reads}"
        raise EncoderError(
            f"{flag} {name}: a model of type {config.model_type} reads {other}. Give as {TEXT} an encoder such as "
            f"BERT, RoBERTa or MiniLM{f', and this one as {AUDIO}' if other == 'audio' else ''}."
        )


def load_encoder(name: str, flag: str, *, drawn: bool, config: PreTrainedConfig) -> Loaded:
    """An encoder with its weights, or with random ones if `drawn`.

    Raises:
        EncoderError: it cannot be loaded, or weights are missing.
    """
    from transformers import AutoModel

    if drawn:
        return Loaded(draw_model(AutoModel, config, flag, name))
    return load_pretrained(AutoModel, name, flag, ADVICE, harmless=_HARMLESS_WEIGHTS)


def load_extractor(name: str) -> Any:
    """The audio encoder's preprocessor.

    Raises:
        EncoderError: it is not there, asks for sizes that no encoder has, or is for another sample rate.
    """
    from transformers import AutoFeatureExtractor, FeatureExtractionMixin

    try:
        written, _ = load_part(_Written(FeatureExtractionMixin), name)
        for key, largest in _LARGEST.items():
            value = written.get(key, 1)
            if type(value) is not int or not 1 <= value <= largest:
                raise ValueError(f"{key} is {str(value)[:40]}, expected a whole number from 1 to {largest}")
        extractor = load_part(AutoFeatureExtractor, name)
    except (OSError, ValueError) as error:
        raise EncoderError(
            f"{AUDIO} {name}: preprocessor_config.json, which says how to prepare waveforms, "
            f"cannot be read ({first_line(error)}). Save the model's feature extractor in the same folder."
        ) from error
    if extractor.sampling_rate != SAMPLE_RATE_HZ:
        raise EncoderError(
            f"{AUDIO} {name}: preprocessor_config.json has a sampling_rate of "
            f"{extractor.sampling_rate}, but waveforms are at {SAMPLE_RATE_HZ} Hz. Give an encoder trained at this "
            f"rate, or correct the file."
        )
    return extractor


class _Written:
    """A preprocessor's configuration as it is written, read as `load_part` reads others."""

    def __init__(self, mixin: Any) -> None:
        self._read = mixin.get_feature_extractor_dict

    def from_pretrained(self, name: str, **how: Any) -> Any:
        return self._read(name, **how)
