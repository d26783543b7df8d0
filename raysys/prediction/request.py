"""What is asked for: checked before anything slow, and recorded beside its results, so that no other's join them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from raysys.errors import ConfigError, StorageError
from raysys.prediction.inputs import TABLES
from raysys.storage import Folder, absolute, check_location, is_address

OUTPUTS = (".csv", ".jsonl", ".parquet")
RECORD = "request.json"
_SHORTEST_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutting:
    """How recordings become utterances; `commands.predict` describes the values."""

    segments: Literal["none", "fixed", "speech"]
    segment_s: float
    max_duration_s: float

    def __post_init__(self) -> None:
        if not self.segment_s >= _SHORTEST_S:
            raise ConfigError(f"--segment-s is {self.segment_s:g}; expected at least {_SHORTEST_S:g} seconds.")
        if not self.max_duration_s > 0:
            raise ConfigError(f"--max-duration-s is {self.max_duration_s:g}; expected a positive number of seconds.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A model, recordings and where the predictions go.

    Raises:
        ConfigError: no recordings, or an output of another kind, or in a folder that does not exist.
        StorageError: an address that `check_location` refuses.
    """

    model: str
    inputs: tuple[str, ...]
    out: str
    cutting: Cutting

    def __post_init__(self) -> None:
        if not self.inputs:
            raise ConfigError("no recordings are named. Give files, folders, patterns or tables after the model.")
        for location in (self.model, *self.inputs, self.out):
            check_location(location)
        if not self.out.lower().endswith(OUTPUTS):
            raise ConfigError(f"--out {self.out}: expected a name that ends in {', '.join(OUTPUTS)}.")
        if is_address(self.out):
            return
        folder = Path(absolute(self.out)).parent
        if not folder.is_dir():
            raise ConfigError(f"--out {self.out}: there is no folder {folder}. Create it, or choose another.")
        if os.path.isdir(absolute(self.out)):
            raise ConfigError(f"--out {self.out}: is a folder; expected the name of a file.")

    @property
    def parts(self) -> Folder:
        """Where results are until all are there."""
        return Folder.at(f"{absolute(self.out)}.parts")


def record_of(request: Request, model_digest: str) -> dict[str, Any]:
    """Everything that the predictions depend on, except the recordings themselves."""
    tables = [item for item in request.inputs if item.lower().endswith(TABLES) and not is_address(item)]
    return {
        "model": model_digest,
        "inputs": [absolute(item) for item in request.inputs],
        "tables": {absolute(item): _digest(absolute(item)) for item in tables if os.path.isfile(absolute(item))},
        "segments": request.cutting.segments,
        "segment_s": request.cutting.segment_s,
        "max_duration_s": request.cutting.max_duration_s,
    }


def claim(parts: Folder, record: dict[str, Any]) -> None:
    """Make the folder of parts this request's.

    Raises:
        ConfigError: another request has begun there.
        StorageError: its record is damaged.
    """
    if not parts.exists(RECORD):
        parts.write_json(RECORD, record)
        return
    try:
        theirs = parts.read_json(RECORD)
    except ValueError as error:
        raise StorageError(
            f"{parts.location}/{RECORD} is damaged ({error}), so that nothing says what was asked for there. Remove "
            f"the folder to begin anew."
        ) from error
    if theirs != record:
        raise ConfigError(
            f"{parts.location}: another request has begun here and not ended; {'; '.join(_differences(theirs, record))}"
            f". Give the earlier command again to finish it; or choose another --out, or remove this folder."
        )


def _differences(theirs: Any, mine: dict[str, Any]) -> Sequence[str]:
    if not isinstance(theirs, dict):
        return ["its record has another form"]
    words = {"model": "it is another model", "inputs": "it names other recordings", "tables": "a table has changed"}
    return [
        words.get(key) or f"--{key.replace('_', '-')} was {theirs.get(key)} and is {value}"
        for key, value in mine.items()
        if theirs.get(key) != value
    ]


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
