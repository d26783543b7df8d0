"""Scores of several seeds over the same folds: of each, their mean, and their ensemble."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from raysys import metrics
from raysys.metrics import Metric
from raysys.report.parts import indices
from raysys.report.results import interval_over_speakers, pooled_scores
from raysys.results import MeanOverSeeds, SeedScores, SeedsResult


def ensemble(tables: Sequence[pa.Table], classes: Sequence[str]) -> pa.Table:
    """The mean of the seeds' probabilities per utterance; the prediction is the class whose mean is highest.

    Args:
        tables: of `pool_predictions`, one per seed: the same utterances in the same order.

    Returns: a table with the same columns.
    """
    names = [f"p_{name}" for name in classes]
    probability_SNC = np.array([[table[name].to_numpy() for name in names] for table in tables]).transpose(0, 2, 1)
    # Compared as they are stored, so that the table agrees with itself.
    mean_NC = probability_SNC.mean(axis=0, dtype=np.float64).astype(np.float32)
    columns = {name: tables[0][name] for name in ("utterance_id", "speaker", "fold", "label")}
    columns["prediction"] = pa.array([classes[i] for i in mean_NC.argmax(axis=1)])
    return pa.table(columns | {name: mean_NC[:, i] for i, name in enumerate(names)})


def score_seeds(tables: Mapping[int, pa.Table], together: pa.Table, classes: Sequence[str]) -> SeedsResult:
    """Pooled scores of two seeds or more.

    Args:
        tables: of `pool_predictions`, by seed.
        together: their `ensemble`.
    """
    label_N = indices(together, "label", classes)
    predicted_SN = np.stack([indices(table, "prediction", classes) for table in tables.values()])

    def scores(metric: Metric) -> list[float]:
        return [float(metrics.score(metrics.confusion(label_N, row_N, len(classes)), metric)) for row_N in predicted_SN]

    wa, ua = scores("wa"), scores("ua")
    return SeedsResult(
        each=tuple(SeedScores(seed=seed, wa=wa[i], ua=ua[i]) for i, seed in enumerate(tables)),
        mean=MeanOverSeeds(
            wa=statistics.fmean(wa),
            ua=statistics.fmean(ua),
            wa_std=statistics.stdev(wa),
            ua_std=statistics.stdev(ua),
            wa_ci95=interval_over_speakers(together, label_N, predicted_SN, "wa"),
            ua_ci95=interval_over_speakers(together, label_N, predicted_SN, "ua"),
        ),
        ensemble=pooled_scores(classes, together, {}),
    )
