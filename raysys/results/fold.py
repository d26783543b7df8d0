"""What a trial found on one fold: `result.json` in its folder."""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from raysys.errors import DamagedError
from raysys.storage import Folder

RESULT = "result.json"
PREDICTIONS = "predictions.parquet"
MODEL = "model"
"""Folder of the model that a trial keeps, below the trial's; of the final model, below the run's."""
MODEL_CONFIG = "config.json"
"""Written last: a model's folder without it is incomplete."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldResult:
    """One configuration on one fold.

    Attributes:
        trial_id: hash of everything the result depends on.
        point: its name in a sweep; empty in a cross-validation.
        fold, name: number, from 1, and what the fold tests.
        n_train, n_validation, n: utterances in the training, validation and test part.
        epoch, epochs: the selected one, from 1, and how many were trained.
        validation_ua, validation_wa, validation_macro_f1, validation_loss: at the selected epoch; None without a
            validation part.
        temperature: that calibrates the validation part's probabilities at the selected epoch. The trial's model
            applies it; its test predictions are without. None without a validation part, and in early versions.
        wa, ua, confusion: on the test part; None without one.
        parameters: of the whole network.
        trained_parameters: those of them that are trained; None in early versions.
        node, process, gpu: where it was trained; gpu is None on a CPU.
        started, first_step, ended: times, in seconds since 1970.
        fit_s: seconds from requesting the first batch to the test part's scores.
        notes: for the user, on how the training went.
        files: checksums of what the trial left beside its result, by name; empty in early versions.
    """

    trial_id: str
    point: str
    seed: int
    fold: int
    name: str
    n_train: int
    n_validation: int
    n: int
    epoch: int
    epochs: int
    validation_ua: float | None
    validation_wa: float | None
    validation_macro_f1: float | None
    validation_loss: float | None
    wa: float | None
    ua: float | None
    confusion: list[list[int]] | None
    parameters: int
    node: str
    process: str
    gpu: str | None
    started: float
    first_step: float | None
    fit_s: float
    ended: float
    notes: tuple[str, ...] = ()
    trained_parameters: int | None = None
    temperature: float | None = None
    files: dict[str, int] = field(default_factory=dict)

    def write(self, folder: Folder, left: Sequence[str] = ()) -> None:
        """Mark the trial as finished: write this after everything else.

        Args:
            left: names of files that belong to the result; those that exist are checked when it is read.
        """
        files = {name: zlib.crc32(folder.read_bytes(name)) for name in left if folder.exists(name)}
        values = dataclasses.asdict(dataclasses.replace(self, files=files))
        folder.write_json(RESULT, values | {"crc32": _checksum(values)})

    @classmethod
    def read(cls, folder: Folder, trial_id: str) -> FoldResult | None:
        """The result in a trial's folder; None if there is none, or it is another trial's.

        Raises:
            DamagedError: it, or a file that belongs to it, is not what the trial wrote.
        """
        if not folder.exists(RESULT):
            return None
        try:
            values: dict[str, Any] = folder.read_json(RESULT)
            checksum = values.pop("crc32", None)
            if checksum is not None and checksum != _checksum(values):
                raise ValueError("it does not match its checksum")
            if values["trial_id"] != trial_id:
                return None
            found = cls(**(values | {"notes": tuple(values["notes"])}))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedError(f"{folder.location}/{RESULT} is damaged ({error})") from error
        for name, expected in found.files.items():
            if not folder.exists(name):
                raise DamagedError(f"{folder.location}/{name} is missing")
            if zlib.crc32(folder.read_bytes(name)) != expected:
                raise DamagedError(f"{folder.location}/{name} is damaged (it does not match its checksum)")
        return found

    def row(self, place: str, scarce: dict[str, dict[str, int]]) -> FoldRow:
        """Its row in the run's results.

        Args:
            place: the trial's folder, below the run's.
            scarce: of `scarce_classes`.
        """
        names = (f.name for f in dataclasses.fields(FoldRow) if f.name not in ("trial", "scarce"))
        return FoldRow(**{name: getattr(self, name) for name in names}, trial=place, scarce=scarce)


def _checksum(values: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(values, sort_keys=True).encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldRow:
    """A fold's scores in a run's results; the names are those of `FoldResult`.

    Attributes:
        trial: folder of the trial selected for the fold, below the run's; empty in runs of early versions.
        temperature: None in early versions.
        scarce: by part (train, validation, test), the classes with fewer than 5 utterances there, with their number.
    """

    fold: int
    name: str
    n_train: int
    n_validation: int
    n: int
    epoch: int
    wa: float
    ua: float
    point: str = ""
    trial: str = ""
    temperature: float | None = None
    scarce: dict[str, dict[str, int]] = field(default_factory=dict)
