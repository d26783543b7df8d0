"""A trained model as ONNX: a folder that predicts without PyTorch, and says how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from raysys.config import SAMPLE_RATE_HZ
from raysys.errors import ExportError
from raysys.export.graph import AXES, HAS_TEXT, LENGTHS, OPSET, PROBABILITIES, TOKEN_MASK, TOKENS, WAVEFORMS, onnx_graph
from raysys.export.inputs import MADE_LENGTHS, MADE_TEXTS, inputs_of, made_waveforms, plain_tokenizer
from raysys.export.runtime import largest_difference, quantised, refuse_missing_onnx
from raysys.inference.ensemble import Ensemble
from raysys.inference.predict import EmotionModel
from raysys.model.audio import WaveformEncoder
from raysys.model.whisper import WhisperEncoder
from raysys.pretrained import first_line
from raysys.storage import Folder

GRAPH, INT8, ABOUT, TOKENIZER, README = "model.onnx", "model.int8.onnx", "onnx.json", "tokenizer.json", "README.md"
TOLERANCE = 1e-4
"""Largest difference of a probability from PyTorch's."""
_LARGEST = 2_000_000_000
"""Bytes of weights; protobuf holds 2 GiB."""
_INPUTS = {
    WAVEFORMS: ("float32", "16 kHz, mono, in [-1, 1], zero-padded at the end"),
    LENGTHS: ("int64", "samples of each waveform"),
    TOKENS: ("int64", "ids from tokenizer.json, padded"),
    TOKEN_MASK: ("int64", "1 for tokens, 0 for padding"),
    HAS_TEXT: ("bool", "false where there is no transcript; the row's tokens are then those of an empty text"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written.

    Attributes:
        difference, difference_int8: largest difference of a probability from PyTorch's, of made utterances.
        size, size_int8: bytes of the graphs.
    """

    difference: float
    difference_int8: float
    size: int
    size_int8: int


def export_onnx(model: EmotionModel | Ensemble, folder: Folder) -> Exported:
    """Write a model's graph in float32 and int8, its tokenizer, and how to use them; the README is written last.

    Raises:
        ExportError: a package is missing, the model is an ensemble or cannot be expressed, or its graph predicts
            otherwise than PyTorch; in that case nothing has been written.
    """
    refuse_missing_onnx()
    single = _single(model)
    tokenizer = plain_tokenizer(single)
    graph = exported_graph(single)
    difference = largest_difference(single, graph)
    if not difference <= TOLERANCE:
        raise ExportError(
            f"{single.origin}: its graph's probabilities differ from PyTorch's by up to {difference:.2g}, expected at "
            f"most {TOLERANCE:g}. Nothing was written; use the model with PyTorch, or train with other encoders."
        )
    small = quantised(graph)
    exported = Exported(
        difference=difference,
        difference_int8=largest_difference(single, small),
        size=len(graph),
        size_int8=len(small),
    )
    about = _about(single, exported)
    folder.delete(README)
    folder.write_bytes(GRAPH, graph)
    folder.write_bytes(INT8, small)
    folder.write_json(ABOUT, about)
    if tokenizer is not None:
        folder.write_bytes(TOKENIZER, tokenizer.encode())
    folder.write_bytes(README, _readme(about).encode())
    return exported


def _single(model: EmotionModel | Ensemble) -> EmotionModel:
    """The model, if it is one, reads padded batches, and fits a file.

    Raises:
        ExportError: naming what to give instead.
    """
    if isinstance(model, Ensemble):
        first = model.models[0].origin.removeprefix("model ")
        raise ExportError(
            f"{model.origin}: an ensemble would be several graphs, each with a tokenizer of its own. Give one of its "
            f"models, such as {first}, or train one on all data: crossval --final-model."
        )
    encoder = model.network.audio_encoder
    if isinstance(encoder, WaveformEncoder) and not encoder.padded:
        raise ExportError(
            f"{model.origin}: padding changes its audio encoder ({encoder.model.config.model_type}), so it reads one "
            f"utterance at a time, but a graph reads batches. Train with wav2vec 2.0, HuBERT or Whisper."
        )
    size = sum(value.numel() * value.element_size() for value in model.network.state_dict().values())
    if size > _LARGEST:
        raise ExportError(
            f"{model.origin}: its weights take {size / 1e9:.1f} GB, but an ONNX file holds {_LARGEST / 1e9:.0f}. Train "
            f"with a smaller encoder."
        )
    return model


def exported_graph(model: EmotionModel) -> bytes:
    """The model as ONNX.

    Raises:
        ExportError: it has an operator that ONNX lacks.
    """
    example = inputs_of(model, made_waveforms(MADE_LENGTHS[2:]), [text or "" for text in MADE_TEXTS[:2]])
    try:
        return onnx_graph(model, example)
    # The exporter raises errors of as many types as there are operators.
    except Exception as error:
        parts = (model.network.audio_encoder, model.network.text_encoder)
        kinds = " and ".join(type(getattr(part, "model", part)).__name__ for part in parts if part is not None)
        raise ExportError(
            f"{model.origin}: ONNX cannot express it ({first_line(error)[:160]}). Its encoders are {kinds}; expected "
            f"light, wav2vec 2.0, HuBERT, WavLM or Whisper, and light, BERT, DistilBERT or the like. Train with those."
        ) from error


def _about(model: EmotionModel, exported: Exported) -> dict[str, Any]:
    """What a program needs to know to use the graph."""
    encoder = model.network.audio_encoder
    names = [name for name in _INPUTS if name in inputs_of(model, made_waveforms((1,)), [""])]
    return {
        "model": model.origin,
        "classes": list(model.classes),
        "sample_rate_hz": SAMPLE_RATE_HZ,
        "trim_db": model.trim_db,
        # Of a Whisper, whose positions end there.
        "longest_s": encoder.longest * encoder.hop / SAMPLE_RATE_HZ if isinstance(encoder, WhisperEncoder) else None,
        "opset": OPSET,
        "inputs": [
            {"name": name, "type": _INPUTS[name][0], "shape": list(AXES[name]), "what": _INPUTS[name][1]}
            for name in names
        ],
        "output": {"name": PROBABILITIES, "type": "float32", "shape": ["batch", len(model.classes)]},
        "largest_difference": {GRAPH: exported.difference, INT8: exported.difference_int8},
    }


def _readme(about: dict[str, Any]) -> str:
    environment = Environment(
        loader=PackageLoader("raysys.export"),
        # Markdown, not HTML.
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    names = {row["name"] for row in about["inputs"]}
    return environment.get_template("onnx.md.j2").render(
        about=about, audio=WAVEFORMS in names, text=TOKENS in names, both=HAS_TEXT in names
    )
