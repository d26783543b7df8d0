"""What comes from the Hub or from a folder that somebody gave: none of its code runs, nothing outside it is read.

Weights are never unpickled into anything but tensors, and never random without a word.
"""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from raysys.errors import EncoderError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_ADAPTER = "adapter_config.json"


def load_part(auto: Any, name: str) -> Any:
    """A configuration, a tokenizer or a feature extractor.

    Args:
        auto: transformers' Auto class of it.
        name: on the Hub, or a folder.

    Raises:
        OSError, ValueError: there is none, or it is damaged, asks for code of its own, or names a file outside the
            folder.
    """
    try:
        _refuse_ways_out(name)
        # Left out, transformers would ask at the terminal.
        return auto.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError):
        raise
    # Of a file with values of another kind than it expects, transformers raises what the first use of one raises.
    except Exception as error:
        raise ValueError(first_line(error)) from error


def load_config(name: str) -> PreTrainedConfig:
    """A model's configuration, without a choice of attention: that is ours.

    Raises:
        OSError, ValueError: as `load_part`; or its attention is code on the Hub.
    """
    from transformers import AutoConfig

    config: PreTrainedConfig = load_part(AutoConfig, name)
    if "/" in str(wanted := config._attn_implementation):
        raise ValueError(f"config.json asks for attention by code from the Hub, {wanted}; remove attn_implementation")
    # Where the package `kernels` is installed, even a plain name such as flash_attention_2 may fetch code.
    config._attn_implementation = None
    return config


def draw_model(auto: Any, config: PreTrainedConfig, flag: str, name: str) -> PreTrainedModel:
    """A model with random weights, float32.

    Args:
        auto: transformers' Auto class of the task.
        config: as `load_config` gives it.
        flag, name: how errors name it.

    Raises:
        EncoderError: there is no such model, or its configuration cannot be used.
    """
    try:
        # Left out, transformers would ask at the terminal, here too: a folder's configuration may name code.
        return auto.from_config(config, dtype=torch.float32, trust_remote_code=False)  # type: ignore[no-any-return]
    except Exception as error:
        raise EncoderError(
            f"{flag} {name}: no model can be made of its config.json ({first_line(error)}). Give a folder written by "
            f"save_pretrained, of a model that transformers has a class for."
        ) from error


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
            config=load_config(name),
            trust_remote_code=False,
            dtype=torch.float32,
            weights_only=True,
            output_loading_info=True,
            # Reported below, by name, instead of a RuntimeError that names none.
            ignore_mismatched_sizes=True,
        )
    # Damaged files end in errors of many types.
    except Exception as error:
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


def _refuse_ways_out(name: str) -> None:
    """Look for what transformers would follow out of a local folder: files of weights and tokenizers by their paths.

    Names on the Hub are kept within their folder by its own library.

    Raises:
        ValueError: naming the file and the path in it.
    """
    folder = Path(name).absolute()
    if not folder.is_dir():
        return
    if (folder / _ADAPTER).exists():
        raise ValueError(f"{_ADAPTER} asks for a base model from elsewhere; merge the adapter into one whole model")
    for file, path in _followed(folder):
        # Links are followed: the Hub's own cache is made of them.
        if not Path(os.path.normpath(folder / path)).is_relative_to(os.path.normpath(folder)):
            raise ValueError(f"{file} names {path}, which is outside the folder")


def _followed(folder: Path) -> Iterator[tuple[str, str]]:
    sources = [(index, "weight_map") for index in sorted(folder.glob("*.index.json"))]
    sources += [
        (folder / "tokenizer_config.json", "fast_tokenizer_files"),
        (folder / "config.json", "transformers_weights"),
    ]
    for file, key in sources:
        values = json.loads(file.read_bytes()) if file.exists() else {}
        found = values.get(key) if isinstance(values, dict) else None
        paths = found.values() if isinstance(found, dict) else found if isinstance(found, list) else [found]
        for path in sorted({path for path in paths if isinstance(path, str)}):
            yield file.name, path


def first_line(error: Exception) -> str:
    """The error's message, cut after its first line; after its type where the message alone says little."""
    message = str(error).strip().splitlines()[:1]
    kind = (
        []
        if message and isinstance(error, OSError | ValueError | SafetensorError | pickle.UnpicklingError)
        else [type(error).__name__]
    )
    return ": ".join(kind + message)
