"""What an exported model reads, and its tokenizer as a file that needs no transformers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tokenizers
from torch import Tensor

from raysys.config import SAMPLE_RATE_HZ
from raysys.data.text import longest_text, tokenize
from raysys.data.view import pad_waveforms
from raysys.errors import ExportError
from raysys.export.graph import HAS_TEXT, LENGTHS, TOKEN_MASK, TOKENS, WAVEFORMS
from raysys.inference.predict import EmotionModel

MADE_LENGTHS = (160, SAMPLE_RATE_HZ // 3, 3 * SAMPLE_RATE_HZ, 20_001)
"""Samples of made waveforms: shorter than a frame, and of unlike lengths."""
MADE_TEXTS = ("a few words", "word " * 40, None, "")


def made_waveforms(lengths: Sequence[int] = MADE_LENGTHS) -> list[np.ndarray]:
    """Noise, always the same."""
    generator = np.random.default_rng(0)
    return [generator.normal(0, 0.05, n).astype(np.float32) for n in lengths]


def inputs_of(model: EmotionModel, waveforms: Sequence[np.ndarray], texts: Sequence[str | None]) -> dict[str, Tensor]:
    """Inputs of the exported graph, by name, of those modalities that the model has."""
    inputs: dict[str, Tensor] = {}
    if model.modalities != "text":
        inputs[WAVEFORMS], inputs[LENGTHS] = pad_waveforms(waveforms)
    if model.tokenizer is not None:
        tokens_BM, valid_BM, has_text_B = tokenize(model.tokenizer, texts)
        inputs |= {TOKENS: tokens_BM, TOKEN_MASK: valid_BM.long()}
        if model.modalities == "both":
            inputs[HAS_TEXT] = has_text_B
    return inputs


def plain_tokenizer(model: EmotionModel) -> str | None:
    """JSON for the package tokenizers, which then pads and cuts texts as in training; None for audio alone.

    Raises:
        ExportError: transformers implements it in Python.
    """
    if model.tokenizer is None:
        return None
    if not model.tokenizer.is_fast:
        raise ExportError(
            f"{model.origin}: its tokenizer ({type(model.tokenizer).__name__}) runs in Python alone, and needs "
            f"transformers. Train with a text encoder that has a tokenizer.json."
        )
    plain = tokenizers.Tokenizer.from_str(model.tokenizer.backend_tokenizer.to_str())
    plain.enable_truncation(longest_text(model.tokenizer))
    plain.enable_padding(
        direction=model.tokenizer.padding_side,
        pad_id=model.tokenizer.pad_token_id,
        pad_token=model.tokenizer.pad_token,
    )
    return plain.to_str(pretty=True)
