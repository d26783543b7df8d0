"""What a trial is told, and where it leaves what it found: the ledger.

A trial is one configuration on one fold. Its id is a hash of all that its result depends on, and it is finished where
its own `result.json` has that id; nothing else says so.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from raysys.config import ExperimentConfig
from raysys.data.folds import Fold
from raysys.data.manifest import Manifest
from raysys.data.views import Source
from raysys.orchestrate.result import FoldResult
from raysys.sources import digest_of
from raysys.storage import Folder

if TYPE_CHECKING:
    from raysys.data.batch import TextFeatures

HISTORY = "history.jsonl"
PREDICTIONS = "predictions.parquet"
FEATURES = "features.parquet"
TEST_CURVE = "test_curve.json"
MODEL = "model"
STOPPED = "stopped.json"
MANIFEST = "manifest.parquet"
FOLDS = "folds.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldTask:
    """One trial of one run; about a kilobyte. Manifest and folds are read from the run's folder.

    Attributes:
        config: the whole configuration.
        run: location of the run's folder.
        source: the decoded corpus and its views.
        texts: file of the new texts of the fold's training part (CBCA), None without.
        text_features: of a frozen text encoder, None where texts are read in the trial.
        fold: its index.
        fingerprint: the manifest's.
        code: `code_version` of the driver.
        point: name of the configuration among those of a sweep; empty in a cross-validation.
        stop_after: epochs after which training stops in the middle of its schedule; None: at its end.
        keeps_model: whether the trained network is left in the run's folder as a model that loads back.
    """

    config: ExperimentConfig
    run: str
    source: Source
    fold: int
    fingerprint: str
    code: str
    texts: str | None = None
    text_features: TextFeatures | None = None
    point: str = ""
    stop_after: int | None = None
    keeps_model: bool = False

    @property
    def trial_id(self) -> str:
        """Hash of all that the trial's result depends on: configuration, corpus, fold, inputs, code."""
        features = None if self.text_features is None else self.text_features.location
        inputs = [*self.source.locations, self.texts, features]
        # Entries of the cache are named by their content, wherever the cache is.
        names = [None if location is None else location.rsplit("/", 1)[-1] for location in inputs]
        values = [self.config.learning_hash(), self.fingerprint, self.fold, names, self.code, self.stop_after]
        key = json.dumps(values)
        return hashlib.sha256(key.encode()).hexdigest()[:16]

    @property
    def place(self) -> str:
        """The trial's folder, below the run's."""
        if self.keeps_model:
            return "final"
        return f"trials/{self.trial_id}" if self.point else f"folds/{self.fold + 1}"

    @property
    def folder(self) -> Folder:
        return Folder.at(self.run) / self.place

    def result(self) -> FoldResult | None:
        """None where this very trial is not finished."""
        return FoldResult.read(self.folder, self.trial_id)

    def finished(self) -> bool:
        return self.result() is not None


def code_version() -> str:
    """Hash of the code that trains a trial and cuts its fold: a result of other code is not this code's."""
    return digest_of("raysys.orchestrate.trial:run_trial", "raysys.data.folds:make_folds")


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


def read_history(task: FoldTask) -> list[dict[str, Any]]:
    """A record an epoch of what a trial has trained, in any run of this command; empty before its first."""
    if not task.folder.exists(HISTORY):
        return []
    return [json.loads(line) for line in task.folder.read_bytes(HISTORY).splitlines()]


def features_table(utterance_ids: tuple[str, ...], features_NF: np.ndarray) -> pa.Table:
    """Rows of `features.parquet`: what the head read of each test utterance; by id."""
    columns = {"utterance_id": list(utterance_ids), "features": pa.array(list(features_NF), pa.list_(pa.float32()))}
    return pa.table(columns).sort_by("utterance_id")


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
