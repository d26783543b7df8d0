"""Pool the predictions of all folds and compute scores."""

from __future__ import annotations

import platform
import statistics
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa

from raysys import metrics
from raysys.data.manifest import Manifest
from raysys.results import CorpusFacts, FoldRow, PooledScores, RunResult, Scores, counts

_PACKAGES = ("ray", "torch", "torchaudio", "transformers", "numpy", "pyarrow")


def pool_predictions(manifest: Manifest, tables: Sequence[pa.Table]) -> pa.Table:
    """All folds' predictions in one table, sorted by utterance id.

    Raises:
        RuntimeError: an utterance of the manifest is scored twice, or not at all.
    """
    pooled = pa.concat_tables(tables).sort_by("utterance_id")
    scored = pooled["utterance_id"].to_pylist()
    expected = sorted(u.utterance_id for u in manifest.utterances)
    if scored != expected:
        found, wanted = Counter(scored), Counter(expected)
        odd = sorted((found - wanted) | (wanted - found))[:5]
        raise RuntimeError(
            f"expected one prediction for each of {len(expected)} utterances, found {len(scored)} predictions; "
            f"missing, unknown or scored twice: {odd}"
        )
    return pooled


def summarise(manifest: Manifest, folds: Sequence[FoldRow], predictions: pa.Table, **facts: Any) -> RunResult:
    """A run's results.

    Args:
        manifest: of the whole corpus.
        predictions: of `pool_predictions`.
        facts: the fields of `RunResult` that the predictions do not tell.
    """
    index = {name: i for i, name in enumerate(manifest.classes)}
    labels = np.array([index[name] for name in predictions["label"].to_pylist()])
    predicted = np.array([index[name] for name in predictions["prediction"].to_pylist()])
    speakers = np.array(predictions["speaker"].to_pylist())
    fold_of = np.array(predictions["fold"].to_pylist())
    probabilities = np.stack([predictions[f"p_{name}"].to_numpy() for name in manifest.classes], axis=1)

    def interval(metric: metrics.Metric) -> tuple[float, float]:
        low, high = metrics.bootstrap_interval(labels, predicted, speakers, fold_of, metric)
        return round(float(low), 6), round(float(high), 6)

    of_class = np.bincount(labels)
    ordered = tuple(sorted(folds, key=lambda f: f.fold))
    wa, ua = [fold.wa for fold in ordered], [fold.ua for fold in ordered]
    return RunResult(
        **facts,
        corpus=CorpusFacts(
            name=manifest.corpus,
            fingerprint=manifest.fingerprint(),
            utterances=len(manifest.utterances),
            speakers=len(manifest.speakers),
        ),
        classes=manifest.classes,
        versions={name: version(name) for name in _PACKAGES} | {"python": platform.python_version()},
        folds=ordered,
        mean=Scores(wa=statistics.fmean(wa), ua=statistics.fmean(ua)),
        std=Scores(wa=statistics.stdev(wa), ua=statistics.stdev(ua)),
        pooled=PooledScores(
            n=len(labels),
            wa=float(metrics.weighted_accuracy(labels, predicted)),
            ua=float(metrics.unweighted_accuracy(labels, predicted)),
            wa_ci95=interval("wa"),
            ua_ci95=interval("ua"),
            # WA: always predict the most frequent class. UA: predict any class at random.
            chance_wa=float(of_class.max() / len(labels)),
            chance_ua=float(1 / np.count_nonzero(of_class)),
            macro_f1=float(metrics.macro_f1(labels, predicted)),
            calibration_error=float(metrics.calibration_error(probabilities, labels)),
            absent_classes=metrics.absent_classes(labels, manifest.classes),
        ),
        confusion=counts(metrics.confusion(labels, predicted, len(manifest.classes))),
        skipped=manifest.skipped,
    )
