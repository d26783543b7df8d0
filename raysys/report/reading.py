"""Read a finished run's folder for its report."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import yaml
from numpy.typing import NDArray

from raysys.data.fold_file import count_of, unpacked
from raysys.data.manifest import Manifest
from raysys.errors import DamagedError, StorageError
from raysys.report.parts import class_scores, dialog_scores, sex_scores, speaker_scores
from raysys.results import RunResult
from raysys.storage import Folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """The head's input for one fold's test utterances (N x F), and their emotions."""

    values_NF: NDArray[np.float32]
    emotions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Contents of a run that a report uses.

    Attributes:
        name: name of the run's folder.
        results: content of results.json.
        config: content of config.yaml.
        predictions: one row per test utterance.
        histories: by fold (from 1), the epochs of the trial chosen for it, in order; empty if the trial saved none.
        features: 'without' and 'with' the contrastive terms; only those that were saved.
    """

    name: str
    results: RunResult
    config: dict[str, Any]
    manifest: Manifest
    predictions: pa.Table
    histories: dict[int, list[dict[str, Any]]]
    features: dict[str, Features]

    @property
    def kind(self) -> str:
        """crossval, gridsearch or ablation."""
        return self.results.kind


def read_run(folder: Folder) -> Run:
    """Read a run.

    Raises:
        StorageError: the run is not finished, or a file of it is damaged.
    """
    try:
        return _read(folder)
    except DamagedError as error:
        raise StorageError(
            f"{error}. Give the run's command again, which makes it again; if that does not help, remove it first."
        ) from error


def _read(folder: Folder) -> Run:
    results = RunResult.read(folder)
    manifest = Manifest.from_table(folder.read_table("manifest.parquet"))
    predictions = folder.read_table("predictions.parquet")
    if not results.by_class:
        # A run of an early version.
        values = folder.read_json("folds.json")
        folds = [unpacked(values, manifest, number) for number in range(count_of(values))]
        results = dataclasses.replace(
            results,
            by_class=class_scores(predictions, results.classes),
            by_speaker=speaker_scores(predictions, results.classes),
            by_sex=sex_scores(manifest, predictions, results.classes),
            by_dialog=dialog_scores(manifest, folds, predictions),
        )
    features = {
        name: found
        for name, trial in results.tsne.items()
        if trial is not None and (found := _features(folder / trial, manifest)) is not None
    }
    return Run(
        name=folder.location.rstrip("/").rsplit("/", 1)[-1],
        results=results,
        config=yaml.safe_load(folder.read_bytes("config.yaml")),
        manifest=manifest,
        predictions=predictions,
        histories={f.fold: _history(folder / (f.trial or f"folds/{f.fold}")) for f in results.folds},
        features=features,
    )


def _history(trial: Folder) -> list[dict[str, Any]]:
    if not trial.exists("history.jsonl"):
        return []
    epochs = [json.loads(line) for line in trial.read_bytes("history.jsonl").decode().splitlines() if line.strip()]
    return sorted(epochs, key=lambda epoch: epoch["epoch"])


def _features(trial: Folder, manifest: Manifest) -> Features | None:
    if not trial.exists("features.parquet"):
        return None
    table = trial.read_table("features.parquet").sort_by("utterance_id")
    emotion_of = {u.utterance_id: u.emotion for u in manifest.utterances}
    return Features(
        # Without lists of Python, in which fifty thousand rows take gigabytes.
        values_NF=table["features"].combine_chunks().flatten().to_numpy().astype(np.float32).reshape(len(table), -1),
        emotions=tuple(emotion_of[name] for name in table["utterance_id"].to_pylist()),
    )
