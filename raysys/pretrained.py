"""Load models from the Hub or from a user's folder: none of their code runs, and nothing outside the folder is read.

Weights are never unpickled into anything but tensors, and never silently random.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from safetensors import SafetensorError

from raysys.errors import EncoderError
from raysys.ways_out import refuse_ways_out

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_MASK_EMBEDDING = "masked_spec_embed"


class Loaded(NamedTuple):
    """A model, and the names of the weights that its checkpoint lacks: drawn, always to the same values."""

    model: PreTrainedModel
    drawn: tuple[str, ...] = ()


def load_part(auto: Any, name: str) -> Any:
    """Load a configuration, a tokenizer or a feature extractor.

    Args:
        auto: its Auto class in transformers.
        name: on the Hub, or a folder.

    Raises:
        OSError, ValueError: it does not exist or is damaged, needs custom code, or refers to anything outside the
            folder.
    """
    try:
        refuse_ways_out(name)
        # Without trust_remote_code, transformers would prompt on the terminal.
        return auto.from_pretrained(name, trust_remote_code=False, local_files_only=Path(name).is_dir())
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


def load_pretrained(
    auto: Any,
    name: str,
    flag: str,
    advice: str,
    *,
    harmless: Sequence[str] = (),
    renamed: Mapping[str, str] | None = None,
) -> Loaded:
    """A model with all its weights, float32.

    Args:
        auto: transformers' Auto class for the task.
        name: on the Hub, or a folder written by save_pretrained.
        flag, advice: used in error messages; `advice` tells the user what to do.
        harmless: substrings of the names of weights that may be missing. They are drawn.
        renamed: patterns in names of weights and what replaces them, to load a part of a model.

    Raises:
        EncoderError: it cannot be loaded, or weights are missing.
    """
    try:
        model, report = auto.from_pretrained(
            name,
            config=load_config(name),
            trust_remote_code=False,
            local_files_only=Path(name).is_dir(),
            dtype=torch.float32,
            weights_only=True,
            output_loading_info=True,
            # Reported by name below, instead of by a RuntimeError without names.
            ignore_mismatched_sizes=True,
            **({} if renamed is None else {"key_mapping": dict(renamed)}),
        )
    # Damaged files raise errors of many types.
    except Exception as error:
        raise EncoderError(f"{flag} {name}: cannot be loaded ({first_line(error)}). {advice}") from error
    # Shared weights do not count as missing: they were tied while loading.
    drawn = sorted(k for k in report["missing_keys"] if any(part in k for part in harmless))
    missing = sorted(set(report["missing_keys"]) - set(drawn))
    missing += sorted(weight for weight, *_ in report["mismatched_keys"])
    if missing:
        raise EncoderError(
            f"{flag} {name}: {len(missing)} weights are missing or have another shape, among them "
            f"{', '.join(missing[:5])}. They would be random. {advice}"
        )
    _draw(model, drawn)
    return Loaded(model, tuple(drawn))


@torch.no_grad()
def _draw(model: PreTrainedModel, names: Sequence[str]) -> None:
    """Draw missing weights from a generator of their own: what transformers leaves there is not reproducible.

    In some models it is uninitialised memory.
    """
    generator = torch.Generator().manual_seed(0)
    for name in names:
        weight = model.get_parameter(name)
        if name.endswith(_MASK_EMBEDDING):
            weight.uniform_(generator=generator)
        else:
            weight.normal_(std=0.02, generator=generator)


def first_line(error: Exception) -> str:
    """The first line of the error's message, preceded by the error's type if the message alone says little."""
    message = str(error).strip().splitlines()[:1]
    kind = (
        []
        if message and isinstance(error, OSError | ValueError | SafetensorError | pickle.UnpicklingError)
        else [type(error).__name__]
    )
    return ": ".join(kind + message)
