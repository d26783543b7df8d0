"""Load models from the Hub or from a user's folder: none of their code runs, and nothing outside the folder is read.

Weights are never unpickled into anything but tensors, and never silently random.
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
    """Load a configuration, a tokenizer or a feature extractor.

    Args:
        auto: its Auto class in transformers.
        name: on the Hub, or a folder.

    Raises:
        OSError, ValueError: it does not exist or is damaged, needs custom code, or refers to a file outside the
            folder.
    """
    try:
        _refuse_ways_out(name)
        # Without this flag, transformers would prompt on the terminal.
        return auto.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError):
        raise
    # If a file contains values of the wrong type, transformers raises whatever their first use raises.
    except Exception as error:
        raise ValueError(first_line(error)) from error


def load_config(name: str) -> PreTrainedConfig:
    """A model's configuration, without its choice of attention, which is ours to make.

    Raises:
        OSError, ValueError: as `load_part`; or its attention is code from the Hub.
    """
    from transformers import AutoConfig

    config: PreTrainedConfig = load_part(AutoConfig, name)
    if "/" in str(wanted := config._attn_implementation):
        raise ValueError(f"config.json requests attention code from the Hub, {wanted}; remove attn_implementation")
    # Where the package `kernels` is installed, even a plain name such as flash_attention_2 may fetch code.
    config._attn_implementation = None
    return config


def draw_model(auto: Any, config: PreTrainedConfig, flag: str, name: str) -> PreTrainedModel:
    """A model with random weights, float32.

    Args:
        auto: transformers' Auto class for the task.
        config: as returned by `load_config`.
        flag, name: used in error messages.

    Raises:
        EncoderError: there is no such model, or its configuration cannot be used.
    """
    try:
        # Without this flag, transformers would prompt on the terminal here too: a folder's configuration may name code.
        return auto.from_config(config, dtype=torch.float32, trust_remote_code=False)  # type: ignore[no-any-return]
    except Exception as error:
        raise EncoderError(
            f"{flag} {name}: cannot build a model from its config.json ({first_line(error)}). Give a folder written by "
            f"save_pretrained, of a model type that transformers supports."
        ) from error


def load_pretrained(auto: Any, name: str, flag: str, advice: str, *, unused: Sequence[str] = ()) -> PreTrainedModel:
    """A model with all its weights, float32.

    Args:
        auto: transformers' Auto class for the task.
        name: on the Hub, or a folder written by save_pretrained.
        flag, advice: used in error messages; `advice` tells the user what to do.
        unused: substrings of the names of weights that may be missing.

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
            # Reported by name below, instead of by a RuntimeError without names.
            ignore_mismatched_sizes=True,
        )
    # Damaged files raise errors of many types.
    except Exception as error:
        raise EncoderError(f"{flag} {name}: cannot be loaded ({first_line(error)}). {advice}") from error
    # Shared weights do not count as missing: they were tied while loading.
    missing = sorted(k for k in report["missing_keys"] if not any(part in k for part in unused))
    missing += sorted(weight for weight, *_ in report["mismatched_keys"])
    if missing:
        raise EncoderError(
            f"{flag} {name}: {len(missing)} weights are missing or have another shape, among them "
            f"{', '.join(missing[:5])}. They would be random. {advice}"
        )
    return model  # type: ignore[no-any-return]


def _refuse_ways_out(name: str) -> None:
    """Refuse paths in a local folder's files that transformers would follow out of it, to weights or tokenizer files.

    Files from the Hub are kept within their folder by its own library.

    Raises:
        ValueError: naming the file and the path in it.
    """
    folder = Path(name).absolute()
    if not folder.is_dir():
        return
    if (folder / _ADAPTER).exists():
        raise ValueError(f"{_ADAPTER} needs a base model from elsewhere; merge the adapter into one complete model")
    for file, path in _followed(folder):
        # Links are followed: the Hub's own cache is made of them.
        if not Path(os.path.normpath(folder / path)).is_relative_to(os.path.normpath(folder)):
            raise ValueError(f"{file} refers to {path}, which is outside the folder")


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
    """The first line of the error's message, preceded by the error's type if the message alone says little."""
    message = str(error).strip().splitlines()[:1]
    kind = (
        []
        if message and isinstance(error, OSError | ValueError | SafetensorError | pickle.UnpicklingError)
        else [type(error).__name__]
    )
    return ": ".join(kind + message)
