"""What the report adds to the scores of results.json: calibration, confident mistakes, t-SNE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from raysys.data.manifest import Manifest, Utterance
from raysys.report.parts import indices

BINS = 15
FEWEST = 10
"""Minimum number of points of a t-SNE plot; fewer have no neighbourhoods to show."""
MOST = 3_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Utterances whose predicted class has a probability in (low, high]; None if there are none."""

    low: float
    high: float
    n: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """A misclassified test utterance, and the model's confidence."""

    utterance: Utterance
    fold: int
    predicted: str
    probability: float
    true_probability: float


def reliability_bins(predictions: pa.Table, classes: Sequence[str]) -> list[Bin]:
    """Mean confidence and accuracy in the bins of `metrics.calibration_error`."""
    probability_NC = probabilities(predictions, classes)
    top_N = probability_NC.max(axis=1)
    hit_N = probability_NC.argmax(axis=1) == indices(predictions, "label", classes)
    bin_N = np.searchsorted(np.arange(1, BINS) / BINS, top_N, side="left")
    bins = []
    for index in range(BINS):
        inside_N = bin_N == index
        n = int(inside_N.sum())
        bins.append(
            Bin(
                low=index / BINS,
                high=(index + 1) / BINS,
                n=n,
                confidence=float(top_N[inside_N].mean()) if n else None,
                accuracy=float(hit_N[inside_N].mean()) if n else None,
            )
        )
    return bins


def surest_mistakes(manifest: Manifest, predictions: pa.Table, most: int = 10) -> list[Mistake]:
    """The wrong predictions with the highest probabilities, most confident first; ties by id."""
    by_id = {u.utterance_id: u for u in manifest.utterances}
    wrong = [row for row in predictions.to_pylist() if row["prediction"] != row["label"]]
    wrong.sort(key=lambda row: (-row[f"p_{row['prediction']}"], row["utterance_id"]))
    return [
        Mistake(
            utterance=by_id[row["utterance_id"]],
            fold=row["fold"],
            predicted=row["prediction"],
            probability=row[f"p_{row['prediction']}"],
            true_probability=row[f"p_{row['label']}"],
        )
        for row in wrong[:most]
    ]


def probabilities(predictions: pa.Table, classes: Sequence[str]) -> NDArray[np.float64]:
    """The columns `p_<class>`, N x C."""
    return np.stack([predictions[f"p_{name}"].to_numpy() for name in classes], axis=1).astype(np.float64)


def can_embed(values_NF: NDArray[np.float32]) -> bool:
    """Whether there are enough different points: on equal ones t-SNE ends the process (SIGSEGV)."""
    return bool(np.isfinite(values_NF).all()) and len(np.unique(values_NF, axis=0)) >= FEWEST


def embed(values_NF: NDArray[np.float32]) -> NDArray[np.float32]:
    """t-SNE (van der Maaten and Hinton 2008) to 2D, initialised with principal components.

    Deterministic. Distances between distant clusters and cluster sizes mean nothing.

    Args:
        values_NF: N >= `FEWEST` rows.

    Returns: N x 2.
    """
    perplexity = min(30.0, (len(values_NF) - 1) / 3)
    # One thread: another summation order gives another picture, and on busy cores threads wait for each other.
    with threadpool_limits(limits=1):
        tsne = TSNE(n_components=2, init="pca", perplexity=perplexity, random_state=0)
        embedded: NDArray[np.float32] = tsne.fit_transform(values_NF)
    return embedded
