"""What trials and runs found: typed, each written and read in one place.

A trial leaves `result.json` in its folder, a finished run `results.json` in its own.
"""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from raysys.data.manifest import Skipped
from raysys.errors import DamagedError, StorageError
from raysys.storage import Folder

RESULT = "result.json"
RESULTS = "results.json"
PREDICTIONS = "predictions.parquet"

Interval = tuple[float, float]
Confusion = tuple[tuple[int, ...], ...]
"""Counts, C x C: rows are true classes, columns predicted ones."""


def counts(confusion_CC: np.ndarray) -> Confusion:
    return tuple(tuple(row) for row in confusion_CC.tolist())


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldResult:
    """One configuration on one fold.

    Attributes:
        trial_id: hash of everything the result depends on.
        point: its name in a sweep; empty in a cross-validation.
        fold, name: number, from 1, and what the fold tests.
        n_train, n_validation, n: utterances in the training, validation and test part.
        epoch, epochs: the selected one, from 1, and how many were trained.
        validation_ua, validation_loss: at the selected epoch; None without a validation part.
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
    scarce: dict[str, dict[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    wa: float
    ua: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PooledScores:
    """Scores over all test utterances of a run, each scored once.

    Attributes:
        n: number of test utterances.
        wa_ci95, ua_ci95: 95 % intervals over speakers.
        chance_wa: of always predicting the most frequent class; chance_ua: of guessing. None in early versions.
        absent_classes: classes without test utterances, which UA leaves out.
    """

    n: int
    wa: float
    ua: float
    wa_ci95: Interval
    ua_ci95: Interval
    chance_wa: float | None = None
    chance_ua: float | None = None
    macro_f1: float
    calibration_error: float
    absent_classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScores:
    """Scores of a class.

    Attributes:
        n, speakers: its test utterances, and how many speakers they are of.
        precision, recall, f1: None where undefined: no utterances of the class, or none predicted.
        recall_ci95: 95 % interval over speakers; None with fewer than two.
    """

    name: str
    n: int
    speakers: int
    precision: float | None
    recall: float | None
    recall_ci95: Interval | None
    f1: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartScores:
    """Scores on a part of the test utterances; if it is empty, `n` is 0 and the rest None.

    Attributes:
        n, speakers: its test utterances, and how many speakers they are of.
        ua: over the classes that the part has.
        wa_ci95, ua_ci95: 95 % intervals over speakers; None with fewer than two.
    """

    name: str
    n: int
    speakers: int
    wa: float | None = None
    ua: float | None = None
    wa_ci95: Interval | None = None
    ua_ci95: Interval | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusFacts:
    """Attributes:
    name: of its reader; title: its name for people, in early versions the reader's.
    """

    name: str
    fingerprint: str
    utterances: int
    speakers: int
    title: str = ""

    def __post_init__(self) -> None:
        if not self.title:
            object.__setattr__(self, "title", self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Date (UTC), command line, commit (None outside a checkout) and hardware of a result."""

    date: str
    command: str
    commit: str | None
    hardware: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PointScores:
    """A grid point.

    Attributes:
        values: by axis, as typed.
        stopped: whether a trial of it was stopped early or failed; then it has no scores.
        validation_ua: mean over folds; validation_ua_folds, epochs: of each fold.
        test_ua, test_wa: mean over folds, each at its best epoch on the test part: optimistic.
    """

    name: str
    values: dict[str, str]
    stopped: bool
    validation_ua: float | None
    validation_ua_folds: tuple[float, ...]
    epochs: tuple[int, ...]
    test_ua: float | None
    test_wa: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimisticFold:
    fold: int
    epoch: int
    wa: float
    ua: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimisticScores:
    """One point for all folds and each fold's epoch, chosen on the test folds, as the paper does."""

    point: str
    wa: float
    ua: float
    folds: tuple[OptimisticFold, ...]
    pooled_wa: float
    pooled_ua: float
    confusion: Confusion


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalModel:
    """The model trained on all data.

    Attributes:
        folder: the model's; trial: the trial's that trained it; both below the run's.
    """

    point: str
    epochs: int
    folder: str
    trial: str = ""
    parameters: int | None = None
    trained_parameters: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GridResult:
    """Attributes:
    axes: values as typed, by axis.
    nested: the point selected on each fold's validation part, by the fold's number.
    seconds_beyond_training: median cost of a trial beyond its training; None where no process trained two.
    """

    axes: dict[str, tuple[str, ...]]
    points: tuple[PointScores, ...]
    nested: dict[str, str]
    optimistic: OptimisticScores
    final: FinalModel | None
    n_trials: int
    n_failed: int = 0
    n_stopped: int = 0
    seconds_beyond_training: float | None = None
    epochs_saved: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A variant's pooled scores minus the full model's, with 95 % intervals over speakers."""

    wa: float
    ua: float
    wa_ci95: Interval
    ua_ci95: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantScores:
    """Attributes:
    wa, ua: pooled scores, one per seed; the deviation is None with one seed.
    confusion: all seeds together.
    difference: None for the full model itself.
    trial: folder of its first trial, below the run's.
    """

    name: str
    flags: tuple[str, ...]
    parameters: int
    confusion: Confusion
    wa: tuple[float, ...]
    wa_mean: float
    wa_std: float | None
    ua: tuple[float, ...]
    ua_mean: float
    ua_std: float | None
    difference: Difference | None
    trial: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AblationResult:
    seeds: tuple[int, ...]
    variants: tuple[VariantScores, ...]
    n_trials: int
    seconds_beyond_training: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedScores:
    """Pooled scores with one seed."""

    seed: int
    wa: float
    ua: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanOverSeeds:
    """Mean and standard deviation of the pooled scores over seeds; the mean's 95 % intervals over speakers."""

    wa: float
    ua: float
    wa_std: float
    ua_std: float
    wa_ci95: Interval
    ua_ci95: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedsResult:
    """A cross-validation with several seeds over the same folds.

    Attributes:
        each: in the order of the command line; the run's own scores are those of the first.
        ensemble: of the mean of the seeds' probabilities, per utterance: one model made of several.
    """

    each: tuple[SeedScores, ...]
    mean: MeanOverSeeds
    ensemble: PooledScores

    @property
    def names(self) -> str:
        """Such as '0, 1, 2'."""
        return ", ".join(str(scores.seed) for scores in self.each)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """The content of results.json. Scores are from 0 to 1.

    Attributes:
        kind: what was run. Runs of early versions are all cross-validations and do not say so.
        parameters: of the largest network, since the folds' vocabularies differ.
        trained_parameters: those of them that are trained; None in early versions.
        seconds: from the command's start to its end.
        tsne: 'with' and 'without' the contrastive terms: a trial's folder, below the run's, whose features are shown.
        mean, std: over folds.
        confusion: over all test utterances.
        by_class, by_speaker: empty in runs of early versions.
        by_sex: where it is known.
        by_dialog: on all, improvised, scripted and script-disjoint utterances, of a corpus like IEMOCAP.
        skipped: utterances that could not be used.
        seeds: of a cross-validation with several; everything else is of the first one then.
        interval_method: "t" (`intervals`); early versions resampled speakers within folds, which is too narrow.
    """

    kind: Literal["crossval", "gridsearch", "ablation"] = "crossval"
    protocol: str
    modalities: str
    seed: int
    parameters: int
    trained_parameters: int | None = None
    made: Provenance | None = None
    notes: tuple[str, ...]
    seconds: float
    tsne: dict[str, str | None] = field(default_factory=dict)
    corpus: CorpusFacts
    classes: tuple[str, ...]
    versions: dict[str, str]
    folds: tuple[FoldRow, ...]
    mean: Scores
    std: Scores
    pooled: PooledScores
    confusion: Confusion
    by_class: tuple[ClassScores, ...] = ()
    by_speaker: tuple[PartScores, ...] = ()
    by_sex: tuple[PartScores, ...] = ()
    by_dialog: tuple[PartScores, ...] = ()
    skipped: tuple[Skipped, ...]
    interval_method: Literal["bootstrap", "t"] = "bootstrap"
    grid: GridResult | None = None
    ablation: AblationResult | None = None
    seeds: SeedsResult | None = None

    def write(self, run: Folder) -> None:
        values = dataclasses.asdict(self)
        absent = [name for name in ("grid", "ablation", "seeds") if values[name] is None]
        run.write_json(RESULTS, {name: value for name, value in values.items() if name not in absent})

    @classmethod
    def read(cls, run: Folder) -> RunResult:
        """Read a finished run's results, those of earlier versions too.

        Raises:
            StorageError: the run is not finished, or the file is not what a run writes.
        """
        # Imported late: only what reads finished runs waits for it.
        from pydantic import TypeAdapter, ValidationError

        if not run.exists(RESULTS):
            raise StorageError(
                f"{run.location}: there is no {RESULTS}, so this is not a finished run. Give the folder of a "
                f"finished run, <run.root>/<run.name>, or resume this one by running its command again."
            )
        try:
            return TypeAdapter(cls).validate_python(run.read_json(RESULTS))
        except ValidationError as error:
            first = error.errors()[0]
            found = f"{'.'.join(map(str, first['loc']))}: {first['msg']}; {error.error_count()} such errors"
        except ValueError as error:
            found = str(error)
        raise StorageError(
            f"{run.location}: its {RESULTS} cannot be read ({found}). Expected it as a run writes it; run the job "
            f"again under another --run.name."
        )
