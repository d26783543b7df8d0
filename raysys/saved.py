"""Check a saved model's files, values and sizes, before anything is built from them."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn

from raysys.config import SAMPLE_RATE_HZ, ModelConfig
from raysys.errors import ModelFolderError

_MODALITIES = ("both", "audio", "text")
_MODULES_BY_NUMBER = re.compile(r".*(layer|hidden_groups|group_num).*")
"""Settings of encoders that say how many modules are built."""
_BUFFER_ELEMENTS = 2**24
"""Values that a network computes when it is built and that are in no file, such as positions: this many are fine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """Checked values of a saved model's `config.json`."""

    model: ModelConfig
    classes: tuple[str, ...]
    modalities: Literal["both", "audio", "text"]
    trim_db: float | None
    temperature: float
    padded: bool


def checked_values(values: Mapping[str, Any]) -> Values:
    """Values of a saved model, of the expected types and within their ranges.

    Raises:
        KeyError: one is missing.
        ValueError: naming the first that is not as `save_model` writes it.
        ConfigError: the model's settings contradict each other.
    """
    classes, trim_db = values["classes"], values["trim_db"]
    # Earlier versions had none.
    values = {"temperature": 1.0} | dict(values)
    named = isinstance(classes, list) and all(isinstance(name, str) and name for name in classes)
    _require(values, "classes", named and 1 < len(set(classes)) == len(classes), "a list of distinct names")
    _require(values, "modalities", values["modalities"] in _MODALITIES, " or ".join(_MODALITIES))
    _require(values, "sample_rate_hz", values["sample_rate_hz"] == SAMPLE_RATE_HZ, str(SAMPLE_RATE_HZ))
    positive = _is_a(trim_db, float) and 0 < trim_db < math.inf
    divides = _is_a(values["temperature"], float) and 0 < values["temperature"] < math.inf
    _require(values, "temperature", divides, "a positive number")
    _require(values, "trim_db", trim_db is None or positive, "a positive number or null")
    _require(values, "padded", isinstance(values["padded"], bool), "true or false")
    _require(values, "model", isinstance(values["model"], dict), "an object")
    kinds = typing.get_type_hints(ModelConfig)
    for name, value in values["model"].items():
        if name not in kinds:
            raise ValueError(f"config.json: model has an unknown setting {name!r}")
        _require(values["model"], name, _is_a(value, kinds[name]), str(getattr(kinds[name], "__name__", kinds[name])))
    return Values(
        model=ModelConfig(**values["model"]),
        classes=tuple(classes),
        modalities=values["modalities"],
        trim_db=trim_db,
        temperature=values["temperature"],
        padded=values["padded"],
    )


def _require(values: Mapping[str, Any], name: str, fits: bool, expected: str) -> None:
    if not fits:
        raise ValueError(f"config.json: {name} is {str(values[name])[:80]}, expected {expected}")


def _is_a(value: object, kind: Any) -> bool:
    if typing.get_origin(kind) is Literal:
        return value in typing.get_args(kind)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is kind


def tensor_sizes(weights: Path) -> dict[str, list[int]]:
    """Shapes of a safetensors file's tensors, from its header, which agrees with the file's length."""
    with safe_open(weights, framework="pt") as file:
        return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 (not a mapping)


def refuse_many_modules(config: Path | ModelConfig, sizes: Mapping[str, list[int]]) -> None:
    """Refuse an encoder's `config.json`, or the model's settings, with more layers than the file has tensors.

    Raises:
        ValueError: naming the setting.
    """
    name = "config.json" if isinstance(config, ModelConfig) else f"{config.parent.name}/{config.name}"
    values = dataclasses.asdict(config) if isinstance(config, ModelConfig) else json.loads(config.read_bytes())
    for key, value in _numbers(values):
        if _MODULES_BY_NUMBER.fullmatch(key) and value > len(sizes):
            raise ValueError(f"{name}: {key} is {value}, but the weights' file has only {len(sizes)} tensors")


def _numbers(values: Any, key: str = "") -> list[tuple[str, int]]:
    if isinstance(values, dict):
        return [number for name, value in values.items() for number in _numbers(value, name)]
    return [(key, values)] if _is_a(values, int) else []


def check_sizes(network: nn.Module, sizes: Mapping[str, list[int]]) -> None:
    """Compare a network on the meta device, which takes no memory, with what the weights' file holds.

    Raises:
        ValueError: a tensor is missing, is too many, or has another shape; or the network asks for much more memory
            than the file has.
    """
    wanted = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    for name in sorted(wanted.keys() ^ sizes.keys()):
        raise ValueError(f"model.safetensors: {name} is {'not expected' if name in sizes else 'missing'}")
    for name, shape in wanted.items():
        if shape != sizes[name]:
            raise ValueError(f"model.safetensors: {name} has shape {sizes[name]}, expected {shape}")
    computed = sum(buffer.numel() for buffer in network.buffers())
    if computed > _BUFFER_ELEMENTS + sum(math.prod(shape) for shape in sizes.values()):
        raise ValueError(f"the encoders' config.json asks for {computed} computed values, more than the weights have")


def refuse_not_finite(state: Mapping[str, Tensor]) -> None:
    """Raises: ValueError: naming the first tensor with values that are not finite."""
    for name, tensor in state.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"model.safetensors: {name} contains values that are not finite")


def refuse_if_it_cannot_predict(probabilities: Callable[[Sequence[np.ndarray], Sequence[str]], np.ndarray]) -> None:
    """Predict for two short utterances, of different lengths so that both inputs are padded.

    Settings whose damage no size shows, such as a tokenizer's, fail here and not in the middle of the user's data.

    Args:
        probabilities: the model's, of N waveforms and transcripts (N x C).

    Raises:
        ValueError: probabilities are not finite.
        Exception: whatever the use of a damaged setting raises.
    """
    noise = np.random.default_rng(0).normal(0, 0.01, SAMPLE_RATE_HZ // 2).astype(np.float32)
    # The second text is longer than any encoder reads, and has to be cut.
    found_NC = probabilities([noise[: len(noise) // 2], noise], ["a few words", "word " * 600])
    if not np.isfinite(found_NC).all():
        raise ValueError("its probabilities for noise are not finite")


def refuse_links(folder: Path, location: str) -> None:
    """Refuse links, which may lead out of the folder, and what is no file; `save_model` writes neither.

    The folder itself may be a link.

    Raises:
        ModelFolderError: naming the link, FIFO or device.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise ModelFolderError(
                f"{location}: {path.relative_to(folder)} is a link to {os.readlink(path)}; expected regular files. "
                f"If you trust its target, replace the link by a copy (cp -rL)."
            )
        if not path.is_file() and not path.is_dir():
            raise ModelFolderError(
                f"{location}: {path.relative_to(folder)} is a FIFO, socket or device; expected regular files. Copy the "
                f"whole folder again."
            )
