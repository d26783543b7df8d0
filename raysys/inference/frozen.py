"""Weights that the models of a run share: encoders that nothing has trained, stored once a run.

A model `<run>/folds/<k>/model` or `<run>/trials/<id>/model` names a file in `<run>/frozen` by the SHA-256 of its
content, which is checked: whatever lies there, no other weights are loaded.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from raysys.errors import ModelFolderError
from raysys.storage import Folder

FROZEN = "frozen"
"""Folder of these weights, below the run's."""
_PARTS = ("audio", "text")
_DIGEST = re.compile("[0-9a-f]{64}")


def write_frozen(folder: Folder, weights: dict[str, Tensor], frozen: Collection[str]) -> dict[str, str]:
    """Move frozen weights out of a model's: a file per encoder, unless another model has written it.

    Args:
        folder: of the run's frozen weights.
        weights: of the model; those that are written here are removed from it.
        frozen: names of weights as they were loaded.

    Returns: digests of the files, by encoder.
    """
    digests: dict[str, str] = {}
    for part in _PARTS:
        names = [name for name in weights if name.startswith(f"{part}_encoder.") and name in frozen]
        if not names:
            continue
        data = safetensors.torch.save({name: weights.pop(name) for name in names})
        digests[part] = hashlib.sha256(data).hexdigest()
        name = _file(digests[part])
        # Written whole or not at all, so that the size shows a damaged disk only.
        if folder.size(name) != len(data):
            folder.write_bytes(name, data)
    return digests


def frozen_files(written: Mapping[str, Any], model: Folder) -> list[tuple[Folder, str]]:
    """Where the weights that a model's `config.json` names are: each a folder and a name.

    Raises:
        ValueError: they are not named as `save_model` names them.
    """
    digests = written.get("frozen", {})
    named = isinstance(digests, dict) and all(
        part in _PARTS and isinstance(digest, str) and _DIGEST.fullmatch(digest) for part, digest in digests.items()
    )
    if not named:
        raise ValueError(f"config.json: frozen is {str(digests)[:80]}, expected digests of files by encoder")
    # Always this place, below the run: no path in the file is followed.
    path, location = (where.rsplit("/", 3)[0] for where in (model.path, model.location))
    folder = Folder(model.filesystem, path, location) / FROZEN
    return [(folder, _file(digest)) for digest in digests.values()]


def check_frozen(path: Path, location: str, where: str) -> None:
    """Refuse a file that is not what its name says.

    Args:
        path: on this machine.
        location: of the model.
        where: the file belongs.

    Raises:
        ModelFolderError: naming both.
    """
    found = "missing"
    # A FIFO is no file; opening one without a writer never returns.
    if path.is_file():
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == path.stem:
                return
        found = "damaged (its content does not match its name)"
    raise ModelFolderError(
        f"{location}: its frozen encoder's weights, which all models of a run share, are {found}: expected them in "
        f"{where}. Copy the whole run again, or load a final model ('model'), whose folder holds everything."
    )


def _file(digest: str) -> str:
    return f"{digest}.safetensors"
