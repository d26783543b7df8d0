"""Exported graphs in ONNX Runtime: predictions, their difference from PyTorch's, and weights of 8 bits."""

from __future__ import annotations

import dataclasses
import importlib.util
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from raysys.errors import ExportError
from raysys.export.inputs import MADE_TEXTS, inputs_of, made_waveforms
from raysys.inference.predict import EmotionModel


def refuse_missing_onnx() -> None:
    """Raises: ExportError: saying how to install what is missing."""
    missing = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise ExportError(
            f"--onnx needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed: "
            f"pip install 'raysys[onnx]'."
        )


def session(graph: bytes) -> Callable[[Mapping[str, Tensor]], np.ndarray]:
    """A graph on one thread of the CPU: inputs by name to probabilities (B x C)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    # Fatal alone: what goes wrong is raised as well.
    options.log_severity_level = 4
    loaded = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def run(inputs: Mapping[str, Tensor]) -> np.ndarray:
        (found_BC,) = loaded.run(None, {name: value.numpy() for name, value in inputs.items()})
        return np.asarray(found_BC)

    return run


def largest_difference(model: EmotionModel, graph: bytes) -> float:
    """Largest difference of a probability from PyTorch's, of made utterances in one batch and alone."""
    texts = [text or "" for text in MADE_TEXTS] if model.modalities == "text" else list(MADE_TEXTS)
    heard, run = made_waveforms(), session(graph)
    # Trimming is not part of the graph.
    untrimmed = dataclasses.replace(model, trim_db=None)
    wanted_NC = untrimmed.probabilities(None if model.modalities == "text" else heard, texts)
    everyone = list(range(len(texts)))
    largest = 0.0
    for rows in (everyone, *([i] for i in everyone)):
        found_BC = run(inputs_of(model, [heard[i] for i in rows], [texts[i] for i in rows]))
        largest = max(largest, float(np.abs(found_BC - wanted_NC[rows]).max()))
    return largest


def quantised(graph: bytes) -> bytes:
    """The same graph with weights of matrix products and embeddings in 8 bits; activations are rounded as they come.

    Seven of the bits are used: processors without VNNI add pairs of products in 16. Convolutions and GRUs stay as they
    are.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as local:
        before, simplified, after = (Path(local) / f"{step}.onnx" for step in ("float32", "simplified", "int8"))
        before.write_bytes(graph)
        # Sizes that are computed within the graph are more than its symbolic inference can follow.
        quant_pre_process(before, simplified, skip_symbolic_shape=True)
        quantize_dynamic(
            simplified,
            after,
            op_types_to_quantize=["MatMul", "Gemm", "Gather"],
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
        )
        return after.read_bytes()
