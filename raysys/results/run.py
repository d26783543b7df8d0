"""What a run found: `results.json` in its folder."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

from raysys.config import Select
from raysys.data.manifest import Manifest, Skipped
from raysys.data.partition import Partition
from raysys.errors import StorageError
from raysys.results.fold import FoldRow
from raysys.results.scores import ClassScores, Confusion, PartScores, PooledScores, Scores, VoteScores
from raysys.results.sweeps import AblationResult, FinalModel, GridResult, SeedsResult
from raysys.selection import TITLES
from raysys.storage import Folder

RESULTS = "results.json"


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

    @classmethod
    def of(cls, manifest: Manifest) -> CorpusFacts:
        return cls(
            name=manifest.corpus,
            title=manifest.title,
            fingerprint=manifest.fingerprint(),
            utterances=len(manifest.utterances),
            speakers=len(manifest.speakers),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Date (UTC), command line, commit (None outside a checkout) and hardware of a result."""

    date: str
    command: str
    commit: str | None
    hardware: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """The content of results.json. Scores are from 0 to 1.

    Attributes:
        kind: what was run. Runs of early versions are all cross-validations and do not say so.
        protocol: 'nested', or what a published partition is, with the speakers that its parts share.
        partition: the same in numbers; None for folds that keep speakers apart.
        select: score of the validation parts by which epochs, and grid points, were chosen; in early versions UA.
        parameters: of the largest network, since the folds' vocabularies differ.
        trained_parameters: those of them that are trained; None in early versions.
        seconds: from the command's start to its end.
        tsne: 'with' and 'without' the contrastive terms: a trial's folder, below the run's, whose features are shown.
        mean, std: over folds; no deviation of a single one.
        confusion: over all test utterances.
        by_class, by_speaker: empty in runs of early versions.
        by_sex: where it is known.
        by_dialog: on all, improvised, scripted and script-disjoint utterances, of a corpus like IEMOCAP.
        by_test: of each test part of a published partition that has several, or of each of several corpora;
            `pooled` is of all of them.
        votes: where test utterances have annotators' votes.
        skipped: utterances that could not be used.
        seeds: of a cross-validation with several; everything else is of the first one then.
        final: of a cross-validation that trained one on all data.
        interval_method: "t" (`intervals`); early versions resampled speakers within folds, which is too narrow.
    """

    kind: Literal["crossval", "gridsearch", "ablation"] = "crossval"
    protocol: str
    partition: Partition | None = None
    select: Select = "ua"
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
    std: Scores | None = None
    pooled: PooledScores
    confusion: Confusion
    by_class: tuple[ClassScores, ...] = ()
    by_speaker: tuple[PartScores, ...] = ()
    by_sex: tuple[PartScores, ...] = ()
    by_dialog: tuple[PartScores, ...] = ()
    by_test: tuple[PartScores, ...] = ()
    skipped: tuple[Skipped, ...]
    interval_method: Literal["bootstrap", "t"] = "bootstrap"
    votes: VoteScores | None = None
    grid: GridResult | None = None
    ablation: AblationResult | None = None
    seeds: SeedsResult | None = None
    final: FinalModel | None = None

    @property
    def final_model(self) -> FinalModel | None:
        """The model that was trained on all data, if one was."""
        return self.final if self.grid is None else self.grid.final

    @property
    def selected(self) -> str:
        """What follows a protocol's name where the choice was not by UA, such as ', by validation loss'."""
        return "" if self.select == "ua" else f", by validation {TITLES[self.select]}"

    @property
    def procedure(self) -> str:
        """What the scores were found by, such as 'nested cross-validation in 5 folds'."""
        if self.partition is None:
            return f"{self.protocol} cross-validation in {len(self.folds)} folds"
        return self.protocol if self.given else f"cross-validation in {len(self.folds)} folds ({self.protocol})"

    @property
    def given(self) -> bool:
        """Whether there was one training, with the parts that the corpus gives."""
        return self.partition is not None and len(self.folds) == 1

    def write(self, run: Folder) -> None:
        values = dataclasses.asdict(self)
        optional = ("partition", "votes", "grid", "ablation", "seeds", "final")
        absent = [name for name in optional if values[name] is None]
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
