"""Prediction by PyTorch, by its ONNX graph and by the graph in 8 bits: milliseconds on one thread, and sizes."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from raysys.bench.measure import Row, row_of, side_by_side
from raysys.config import SAMPLE_RATE_HZ, LossConfig, ModelConfig
from raysys.data.text import train_wordpiece
from raysys.data.view import View
from raysys.export.inputs import inputs_of, made_waveforms
from raysys.export.runtime import quantised, refuse_missing_onnx, session
from raysys.export.write import exported_graph
from raysys.inference import EmotionModel
from raysys.model.network import Network
from raysys.presets import PRESETS

_TEXT = "it makes me so very glad to see you here again today"
_SECONDS = 3
_CLASSES = ("angry", "calm", "happy", "sad")


def onnx_rows(repeats: int, shown: Callable[[list[Row]], list[Row]]) -> list[Row]:
    """Rows of presets light, frozen and paper, with random weights: of one utterance of 3 s, and of a batch of 16.

    Raises:
        ExportError: a package is missing.
    """
    refuse_missing_onnx()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [row for name in ("light", "frozen", "paper") for row in shown(_rows_of(name, repeats))]
    finally:
        torch.set_num_threads(threads)


def _rows_of(name: str, repeats: int) -> list[Row]:
    with tempfile.TemporaryDirectory() as scratch:
        model = _model(PRESETS[name]().model, name, Path(scratch))
    graph = exported_graph(model)
    small = quantised(graph)
    weights = sum(parameter.numel() for parameter in model.network.parameters()) * 4
    sizes = {"pytorch": weights, "onnx": len(graph), "int8": len(small)}
    rows = [row_of(f"{name}_{by}_size", [size / 1e6], "MB") for by, size in sizes.items()]
    for n in (1, 16):
        inputs = inputs_of(model, made_waveforms((_SECONDS * SAMPLE_RATE_HZ,) * n), [_TEXT] * n)
        view = View(
            waveforms_BS=inputs["waveforms"],
            lengths_B=inputs["lengths"],
            tokens_BM=inputs["tokens"],
            token_valid_BM=inputs["token_mask"].bool(),
            has_text_B=inputs["has_text"],
        )
        runs = [_by_pytorch(model.network, view), *(_by_onnx(one, inputs) for one in (graph, small))]
        for run in runs:
            run()
        seconds = side_by_side(runs, repeats)
        note = f"{n} x {_SECONDS} s, one thread"
        rows += [
            row_of(f"{name}_{by}_{n}", [1000 * s for s in taken], "ms", note)
            for by, taken in zip(sizes, seconds, strict=True)
        ]
    return rows


def _by_pytorch(network: Network, view: View) -> Callable[[], Any]:
    return torch.inference_mode()(lambda: network((view,)).logits_NC.softmax(dim=-1))


def _by_onnx(graph: bytes, inputs: dict[str, torch.Tensor]) -> Callable[[], Any]:
    run = session(graph)
    return lambda: run(inputs)


def _model(config: ModelConfig, name: str, scratch: Path) -> EmotionModel:
    """A preset's model at its size; frozen encoders from configurations, since only theirs are on the Hub."""
    if name == "frozen":
        audio, text = _frozen_encoders(scratch)
        config = dataclasses.replace(config, audio=audio, text=text)
    tokenizer = train_wordpiece([_TEXT])
    torch.manual_seed(0)
    network = Network(
        dataclasses.replace(config, weights="random"),
        n_classes=len(_CLASSES),
        vocab_size=30_522,
        loss=LossConfig(alpha=0.0, beta=0.0, gamma=0.0),
    )
    return EmotionModel(
        network=network.eval(), tokenizer=tokenizer, classes=_CLASSES, modalities="both", origin=f"preset {name}"
    )


def _frozen_encoders(scratch: Path) -> tuple[str, str]:
    from transformers import BertConfig, WhisperConfig, WhisperFeatureExtractor

    WhisperConfig(
        d_model=384, encoder_layers=4, encoder_attention_heads=6, encoder_ffn_dim=1536, decoder_layers=1
    ).save_pretrained(scratch / "whisper-tiny")
    WhisperFeatureExtractor().save_pretrained(scratch / "whisper-tiny")
    BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536).save_pretrained(
        scratch / "minilm"
    )
    return str(scratch / "whisper-tiny"), str(scratch / "minilm")
