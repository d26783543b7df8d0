"""Scores the report adds to results.json: classes, parts of the test set, calibration, confident mistakes, t-SNE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from raysys import intervals, metrics
from raysys.data.manifest import Manifest, Utterance
from raysys.data.text import normalise_transcript

BINS = 15
FEWEST = 10
"""Minimum number of points of a t-SNE plot; fewer have no neighbourhoods to show."""
MOST = 3_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScore:
    """Scores of a class, from 0 to 1; None where undefined: no utterances of the class, or none predicted."""

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Scores on a subset of the test utterances; if it is empty, `n` is 0 and the rest None."""

    name: str
    n: int
    wa: float | None = None
    ua: float | None = None
    wa_ci95: tuple[float, float] | None = None
    ua_ci95: tuple[float, float] | None = None


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


def class_scores(confusion_CC: Sequence[Sequence[int]], classes: Sequence[str]) -> list[ClassScore]:
    """Precision n_cc / sum_k n_kc, recall n_cc / sum_k n_ck and F1 of each class of a confusion matrix n."""
    counts_CC = np.asarray(confusion_CC)
    scores = []
    for index, name in enumerate(classes):
        hits, support, predicted = (
            int(counts_CC[index, index]),
            int(counts_CC[index].sum()),
            int(counts_CC[:, index].sum()),
        )
        scores.append(
            ClassScore(
                name=name,
                precision=hits / predicted if predicted else None,
                recall=hits / support if support else None,
                f1=2 * hits / (support + predicted) if support + predicted else None,
                support=support,
            )
        )
    return scores


def dialog_parts(manifest: Manifest, folds: Sequence[Mapping[str, Any]], predictions: pa.Table) -> list[Part]:
    """Scores on all, improvised, scripted and script-disjoint utterances of a corpus in IEMOCAP's layout.

    The dialog type is read from the utterance id. Script-disjoint utterances are those whose normalised transcript
    occurs in no training utterance of their fold; utterances without a transcript are left out.

    Args:
        folds: as in folds.json; their index starts at 0, while predictions count folds from 1.
    """
    ids, fold_of = predictions["utterance_id"].to_pylist(), predictions["fold"].to_pylist()
    words = {
        u.utterance_id: normalise_transcript(u.transcript) for u in manifest.utterances if u.transcript is not None
    }
    trained = {f["index"] + 1: {words[name] for name in f["train"] if name in words} for f in folds}
    chosen = {
        "all": [True for _ in ids],
        "improvised": ["impro" in name for name in ids],
        "scripted": ["script" in name for name in ids],
        "script-disjoint": [
            name in words and words[name] not in trained[fold] for name, fold in zip(ids, fold_of, strict=True)
        ],
    }
    return [_part(name, manifest.classes, predictions.filter(pa.array(mask))) for name, mask in chosen.items()]


def _part(name: str, classes: Sequence[str], predictions: pa.Table) -> Part:
    if not predictions.num_rows:
        return Part(name=name, n=0)
    label_N, predicted_N = (indices(predictions, column, classes) for column in ("label", "prediction"))
    grouping = predictions["speaker"].to_pylist(), predictions["fold"].to_pylist()
    return Part(
        name=name,
        n=len(label_N),
        wa=metrics.weighted_accuracy(label_N, predicted_N),
        ua=metrics.unweighted_accuracy(label_N, predicted_N),
        wa_ci95=intervals.interval(label_N, predicted_N, *grouping, "wa"),
        ua_ci95=intervals.interval(label_N, predicted_N, *grouping, "ua"),
    )


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


def indices(predictions: pa.Table, column: str, classes: Sequence[str]) -> NDArray[np.int64]:
    """A column of class names as indices."""
    index = {name: i for i, name in enumerate(classes)}
    return np.array([index[name] for name in predictions[column].to_pylist()], dtype=np.int64)


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
