"""What a trial is told, and where it leaves what it found."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from raysys.config import ExperimentConfig
from raysys.data.folds import Fold
from raysys.data.manifest import Manifest
from raysys.data.views import Source
from raysys.storage import Folder

RESULT = "result.json"
HISTORY = "history.jsonl"
PREDICTIONS = "predictions.parquet"
MANIFEST = "manifest.parquet"
FOLDS = "folds.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldTask:
    """One fold of one run; a few hundred bytes. Manifest and folds are read from the run's folder.

    Attributes:
        config: the whole configuration.
        run: location of the run's folder.
        source: the decoded corpus and its views.
        texts: file of the new texts of the fold's training part (CBCA), None without.
        fold: its index.
        fingerprint: the manifest's.
    """

    config: ExperimentConfig
    run: str
    source: Source
    fold: int
    fingerprint: str
    texts: str | None = None

    @property
    def trial_id(self) -> str:
        """Hash of all that the fold's result depends on: configuration, corpus content, fold."""
        key = json.dumps([self.config.learning_hash(), self.fingerprint, self.fold])
        return hashlib.sha256(key.encode()).hexdigest()[:16]

    @property
    def folder(self) -> Folder:
        return Folder.at(self.run) / "folds" / str(self.fold + 1)

    def finished(self) -> bool:
        """Whether this very fold has its result already."""
        folder = self.folder
        return folder.exists(RESULT) and folder.read_json(RESULT)["trial_id"] == self.trial_id


def write_plan(run: Folder, manifest: Manifest, folds: tuple[Fold, ...]) -> None:
    """Put what every trial reads into the run's folder."""
    run.write_table(MANIFEST, manifest.to_table())
    run.write_json(FOLDS, [dataclasses.asdict(fold) for fold in folds])


def read_plan(run: Folder, fold: int) -> tuple[Manifest, Fold]:
    """The manifest and one fold."""
    values: dict[str, Any] = run.read_json(FOLDS)[fold]
    parts = {name: tuple(values[name]) for name in ("train", "validation", "test")}
    manifest = Manifest.from_table(run.read_table(MANIFEST))
    return manifest, Fold(index=values["index"], name=values["name"], **parts)


def predictions_table(manifest: Manifest, fold: int, utterance_ids: list[str], probabilities: Any) -> pa.Table:
    """Rows of `predictions.parquet`: ids, speaker, fold (from 1), label, prediction, `p_<class>`; by id."""
    by_id = {u.utterance_id: u for u in manifest.utterances}
    columns: dict[str, Any] = {
        "utterance_id": utterance_ids,
        "speaker": [by_id[name].speaker for name in utterance_ids],
        "fold": pa.array([fold + 1] * len(utterance_ids), pa.int64()),
        "label": [by_id[name].emotion for name in utterance_ids],
        "prediction": [manifest.classes[i] for i in probabilities.argmax(axis=1)],
    }
    for index, name in enumerate(manifest.classes):
        columns[f"p_{name}"] = pa.array(probabilities[:, index].astype("float32"))
    return pa.table(columns).sort_by("utterance_id")
