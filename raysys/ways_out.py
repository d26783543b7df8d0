"""Refuse a model folder that leads out of itself: to another path, to the Hub, or to a device."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_ADAPTER = "adapter_config.json"
_SETTINGS = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)
"""Files whose values transformers passes to constructors."""
_HARMLESS = re.compile(
    # Text that may contain a slash, such as '</s>' or 'n/a'.
    r".*_tokens?|added_tokens_decoder|chat_template|id2label|label2id|task_specific_params"
    # Where a folder once was; transformers replaces these before use.
    r"|_?name_or_path|special_tokens_map_file|tokenizer_file"
    # Code, which is never run, and the choice of attention, which `load_config` checks.
    r"|auto_map|_?attn_implementation"
    # Checked as paths below.
    r"|transformers_weights|fast_tokenizer_files"
)
_ALWAYS_FOLLOWED = re.compile(r"vocab|merges|init_inputs|gguf_file|.*backbone.*|.*_(file|files|path|dir|folder)")
"""Keys whose text transformers opens as a path or looks for on the Hub, even if it is a plain word."""


def refuse_ways_out(name: str) -> None:
    """Refuse a local folder with anything in it that transformers would follow out of it.

    Files from the Hub are kept within their folder by its own library.

    Raises:
        ValueError: naming the file, and the key or path in it.
    """
    folder = Path(name).absolute()
    if not folder.is_dir():
        return
    _refuse_devices(folder)
    if (folder / _ADAPTER).exists():
        raise ValueError(f"{_ADAPTER} needs a base model from elsewhere; merge the adapter into one complete model")
    for file, path in _followed(folder):
        # Links are followed: the Hub's own cache is made of them.
        if not Path(os.path.normpath(folder / path)).is_relative_to(os.path.normpath(folder)):
            raise ValueError(f"{file} refers to {path}, which is outside the folder")
    for file in _SETTINGS:
        for key, value in _references(_read(folder / file)):
            raise ValueError(
                f"{file}: {key!r} is {value!r}, a path or a name on the Hub, but only files in the folder are read; "
                f"remove this key"
            )


def _refuse_devices(folder: Path) -> None:
    """Opening a FIFO never returns, and a device never ends."""
    for path in sorted([*folder.iterdir(), *folder.glob("*/*")]):
        if path.exists() and not path.is_file() and not path.is_dir():
            raise ValueError(f"{path.relative_to(folder)} is not a regular file")


def _followed(folder: Path) -> Iterator[tuple[str, str]]:
    sources = [(index, "weight_map") for index in sorted(folder.glob("*.index.json"))]
    sources += [
        (folder / "tokenizer_config.json", "fast_tokenizer_files"),
        (folder / "config.json", "transformers_weights"),
    ]
    for file, key in sources:
        values = _read(file)
        found = values.get(key) if isinstance(values, dict) else None
        paths = found.values() if isinstance(found, dict) else found if isinstance(found, list) else [found]
        for path in sorted({path for path in paths if isinstance(path, str)}):
            yield file.name, path


def _references(values: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Keys, at any depth, with text that may be a path or a name on the Hub."""
    if isinstance(values, dict):
        for name, value in values.items():
            if not _HARMLESS.fullmatch(name):
                yield from _references(value, name)
    elif isinstance(values, list):
        for value in values:
            yield from _references(value, key)
    elif isinstance(values, str) and (_ALWAYS_FOLLOWED.fullmatch(key) or set(values) & set("/\\~")):
        yield key, values


def _read(file: Path) -> Any:
    return json.loads(file.read_bytes()) if file.exists() else {}
