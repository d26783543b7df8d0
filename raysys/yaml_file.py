"""A configuration as YAML: written into every run, read by --preset."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from raysys.config import ExperimentConfig
from raysys.errors import ConfigError


def read_yaml(name: str) -> dict[str, Any]:
    """The values of a YAML file.

    Raises:
        ConfigError: it cannot be read, or holds no sections.
    """
    try:
        values = yaml.safe_load(Path(name).read_text(encoding="utf-8"))
    # ValueError: not UTF-8. RecursionError: nested too deeply.
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"--preset {name}: cannot be read ({error}); expected YAML in UTF-8.") from error
    if not isinstance(values, dict):
        raise ConfigError(f"--preset {name}: expected sections such as 'train:' with values below them.")
    return values


def flags_of(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Nested values as command-line flags."""
    for key, value in values.items():
        name = str(key).replace("_", "-")
        if isinstance(value, dict):
            yield from flags_of(value, f"{prefix}{name}.")
        elif isinstance(value, bool):
            yield f"--{prefix}{name}" if value else f"--{prefix}no-{name}"
        elif isinstance(value, list | tuple):
            yield from (f"--{prefix}{name}", *map(str, value))
        elif str(value).startswith("-"):
            # As a word of its own it would be taken for a flag.
            yield f"--{prefix}{name}={value}"
        else:
            yield from (f"--{prefix}{name}", str(value))


def to_yaml(config: ExperimentConfig) -> str:
    """The whole configuration as YAML; `--preset FILE.yaml` reads it back."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        return [plain(v) for v in value] if isinstance(value, tuple) else value

    return str(yaml.safe_dump(plain(dataclasses.asdict(config)), sort_keys=False))


def differences(text: str, config: ExperimentConfig) -> list[str]:
    """In what a configuration that was written as YAML differs, such as "train.epochs is 3 there and 5 here".

    Only what results depend on; nothing if the text cannot be read.
    """
    try:
        there = dict(_flat(yaml.safe_load(text)))
    except (yaml.YAMLError, AttributeError):
        return []
    here = dict(_flat(config.learning_values()))
    return [
        f"{name} is {there.get(name, 'not set')} there and {_short(value)} here"
        for name, value in here.items()
        if there.get(name, "not set") != value
    ]


def _short(value: Any) -> Any:
    """As it was given: a whole number without a decimal point."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
