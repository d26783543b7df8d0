"""What a trial writes of its test part: predictions, features, and its scores after every epoch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from raysys.data.manifest import Manifest
from raysys.metrics import confusion, unweighted_accuracy, weighted_accuracy
from raysys.results import PREDICTIONS
from raysys.runs.trial import FEATURES, TEST_CURVE, Trial
from raysys.training.loop import FoldOutcome


def write_test(trial: Trial, manifest: Manifest, outcome: FoldOutcome) -> dict[str, Any]:
    """Write predictions and features of the test part. Returns: its scores, by `FoldResult`'s names."""
    if outcome.test_curve:
        trial.folder.write_json(TEST_CURVE, list(outcome.test_curve))
    if (test := outcome.test) is None:
        return {"wa": None, "ua": None, "confusion": None}
    table = predictions_table(manifest, trial.fold, list(test.utterance_ids), test.probabilities_NC)
    trial.folder.write_table(PREDICTIONS, table)
    trial.folder.write_table(FEATURES, features_table(test.utterance_ids, test.features_NF))
    index = {name: i for i, name in enumerate(manifest.classes)}
    labels, predicted = ([index[name] for name in table[column].to_pylist()] for column in ("label", "prediction"))
    return {
        "wa": float(weighted_accuracy(labels, predicted)),
        "ua": float(unweighted_accuracy(labels, predicted)),
        "confusion": confusion(labels, predicted, len(manifest.classes)).tolist(),
    }


def features_table(utterance_ids: tuple[str, ...], features_NF: np.ndarray) -> pa.Table:
    """Rows of `features.parquet`: the head's input for each test utterance; by id."""
    columns = {"utterance_id": list(utterance_ids), "features": pa.array(list(features_NF), pa.list_(pa.float32()))}
    return pa.table(columns).sort_by("utterance_id")


def predictions_table(manifest: Manifest, fold: int, utterance_ids: list[str], probabilities: np.ndarray) -> pa.Table:
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
