"""A finished run read back from its folder: all that a report is made of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml

from raysys.data.manifest import Manifest
from raysys.data.text import normalise_transcript
from raysys.storage import Folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """N test utterances, C classes.

    Attributes:
        results: content of results.json.
        config: content of config.yaml.
        manifest: the corpus.
        folds: content of folds.json.
        names, speakers, fold_N: by row of the predictions; folds from 1.
        label_N, predicted_N: class indices.
        probability_NC: of each class.
        histories: a fold's epochs, by fold.
        features: what the head read of fold 1's test utterances, by name ('with' or 'without' the contrastive terms):
            utterance ids and rows.
    """

    results: dict[str, Any]
    config: dict[str, Any]
    manifest: Manifest
    folds: list[dict[str, Any]]
    names: list[str]
    speakers: list[str]
    fold_N: np.ndarray
    label_N: np.ndarray
    predicted_N: np.ndarray
    probability_NC: np.ndarray
    histories: dict[int, list[dict[str, Any]]]
    features: dict[str, tuple[list[str], np.ndarray]]

    @property
    def classes(self) -> list[str]:
        classes: list[str] = self.results["classes"]
        return classes

    @property
    def kind(self) -> str:
        return str(self.results.get("kind", "crossval"))


def read_run(folder: Folder) -> Run:
    """Read what a run left."""
    results = folder.read_json("results.json")
    table = folder.read_table("predictions.parquet")
    index = {name: i for i, name in enumerate(results["classes"])}
    histories: dict[int, list[dict[str, Any]]] = {}
    for fold in results["folds"]:
        place = folder / fold.get("trial", f"folds/{fold['fold']}")
        lines = place.read_bytes("history.jsonl").decode().splitlines()
        histories[fold["fold"]] = [json.loads(line) for line in lines]
    features: dict[str, tuple[list[str], np.ndarray]] = {}
    for name, place in results.get("tsne", {}).items():
        if (folder / place).exists("features.parquet"):
            columns = (folder / place).read_table("features.parquet")
            rows = np.array(columns["features"].to_pylist(), dtype=np.float32)
            features[name] = (columns["utterance_id"].to_pylist(), rows)
    return Run(
        results=results,
        config=yaml.safe_load(folder.read_bytes("config.yaml")),
        manifest=Manifest.from_table(folder.read_table("manifest.parquet")),
        folds=folder.read_json("folds.json"),
        names=table["utterance_id"].to_pylist(),
        speakers=table["speaker"].to_pylist(),
        fold_N=np.array(table["fold"].to_pylist()),
        label_N=np.array([index[name] for name in table["label"].to_pylist()]),
        predicted_N=np.array([index[name] for name in table["prediction"].to_pylist()]),
        probability_NC=np.stack([table[f"p_{name}"].to_numpy() for name in results["classes"]], axis=1),
        histories=histories,
        features=features,
    )


def subsets(run: Run) -> dict[str, np.ndarray]:
    """Rows of the predictions (bool, N) that IEMOCAP's scores are also given for; empty for another corpus.

    'script-disjoint': test transcripts that, normalised, occur in no training utterance of their fold. A third of the
    scripted lines come back in other sessions.
    """
    if run.manifest.corpus not in ("iemocap", "demo"):
        return {}
    texts = {u.utterance_id: u.transcript for u in run.manifest.utterances}
    known: dict[int, set[str]] = {}
    for fold in run.folds:
        trained = (texts.get(name) for name in fold["train"])
        known[fold["index"] + 1] = {normalise_transcript(text) for text in trained if text}

    def disjoint(name: str, fold: int) -> bool:
        text = texts[name]
        return text is not None and normalise_transcript(text) not in known[fold]

    return {
        "improvised": np.array(["impro" in name for name in run.names]),
        "scripted": np.array(["script" in name for name in run.names]),
        "script-disjoint": np.array([disjoint(n, int(f)) for n, f in zip(run.names, run.fold_N, strict=True)]),
    }


def most_confidently_wrong(run: Run, n: int = 10) -> list[int]:
    """Rows of the predictions that are wrong, by falling probability of what was predicted; ties by id."""
    top_N = run.probability_NC.max(axis=1)
    wrong = [i for i in range(len(run.names)) if run.label_N[i] != run.predicted_N[i]]
    return sorted(wrong, key=lambda i: (-float(top_N[i]), run.names[i]))[:n]
