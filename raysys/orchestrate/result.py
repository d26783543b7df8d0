"""The result of a finished trial: written once, in the trial's folder, and read wherever trials are counted."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from raysys.storage import Folder

RESULT = "result.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldResult:
    """One configuration on one fold.

    Attributes:
        trial_id: hash of all that the result depends on.
        point: of a sweep; empty in a cross-validation.
        fold, name: its number, from 1, and what it tests.
        n_train, n_validation, n: utterances of the training, validation and test part.
        epoch, epochs: the chosen one, from 1, and how many were trained.
        validation_ua, validation_loss: of the chosen epoch; None without a validation part.
        wa, ua, confusion: of the test part; None where there is none.
        parameters: of the whole network.
        node, process, gpu: where it was trained; no GPU: None.
        started, first_step, ended: times, in seconds since 1970.
        fit_s: seconds from the first batch asked for to the test part's scores.
        notes: what a user should know of how it went.
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

    def write(self, folder: Folder) -> None:
        """Its presence in the folder says that the trial is finished: write it after everything else."""
        folder.write_json(RESULT, dataclasses.asdict(self))

    @classmethod
    def read(cls, folder: Folder, trial_id: str) -> FoldResult | None:
        """The result in a trial's folder; None if there is none, or another trial's."""
        if not folder.exists(RESULT):
            return None
        values: dict[str, Any] = folder.read_json(RESULT)
        if values["trial_id"] != trial_id:
            return None
        return cls(**(values | {"notes": tuple(values["notes"])}))

    def row(self, place: str) -> dict[str, Any]:
        """Its row in results.json.

        Args:
            place: the trial's folder, below the run's.
        """
        names = ("fold", "name", "n_train", "n_validation", "n", "epoch", "wa", "ua", "point")
        return {name: getattr(self, name) for name in names} | {"trial": place}
