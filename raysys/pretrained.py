"""Pretrained weights from the Hub or from a folder: never unpickled, never random without a word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel

from raysys.errors import EncoderError


def load_pretrained(auto: Any, name: str, flag: str, advice: str, *, unused: Sequence[str] = ()) -> PreTrainedModel:
    """A model with all its weights, float32.

    Args:
        auto: transformers' Auto class of the task.
        name: on the Hub, or a folder written by save_pretrained.
        flag, advice: how errors name it, and what they tell the user to do.
        unused: parts of the names of weights that may be missing.

    Raises:
        EncoderError: it cannot be loaded, or weights are missing.
    """
    try:
        model, report = auto.from_pretrained(
            name,
            dtype=torch.float32,
            weights_only=True,
            output_loading_info=True,
            # Reported below, by name, instead of a RuntimeError that names none.
            ignore_mismatched_sizes=True,
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise EncoderError(f"{flag} {name}: cannot be loaded ({first_line(error)}). {advice}") from error
    # A weight that is shared with another is not among the missing ones: it was tied while loading.
    missing = sorted(k for k in report["missing_keys"] if not any(part in k for part in unused))
    missing += sorted(weight for weight, *_ in report["mismatched_keys"])
    if missing:
        raise EncoderError(
            f"{flag} {name}: {len(missing)} weights are missing or of another shape, among them "
            f"{', '.join(missing[:5])}. They would be random. {advice}"
        )
    return model  # type: ignore[no-any-return]


def first_line(error: Exception) -> str:
    """The error's message, cut after its first line; its type where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
