"""Scores of predictions: accuracies, macro-F1, confusion matrix, calibration, and divergences from annotators' votes.

Intervals are in `intervals`.

WA (weighted accuracy) is overall accuracy, UA (unweighted accuracy) the mean of the class recalls;
much public code swaps the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Scores = NDArray[np.float64]
Metric = Literal["wa", "ua", "macro_f1"]


def confusion(labels: ArrayLike, predictions: ArrayLike, n_classes: int) -> NDArray[np.int64]:
    """Confusion matrix: row c, column k counts the utterances of class c predicted as k.

    Args:
        labels: true classes, N integers from 0 to n_classes - 1; N may be 0.
        predictions: predicted classes, N integers in the same range.
        n_classes: C.

    Returns: int64, C x C.

    Raises: ValueError: the lengths differ, or a class is out of range.
    """
    label_N = _classes("labels", labels, n_classes)
    predicted_N = _classes("predictions", predictions, n_classes)
    if len(label_N) != len(predicted_N):
        raise ValueError(f"{len(label_N)} labels, but {len(predicted_N)} predictions; expected one per label.")
    counts = np.bincount(label_N * n_classes + predicted_N, minlength=n_classes * n_classes)
    return counts.reshape(n_classes, n_classes).astype(np.int64)


def weighted_accuracy(labels: ArrayLike, predictions: ArrayLike) -> float:
    """WA, overall accuracy: sum_c n_cc / sum_ck n_ck of the confusion matrix n.

    NaN if nothing was scored.
    """
    return _scored(labels, predictions, "wa")


def unweighted_accuracy(labels: ArrayLike, predictions: ArrayLike) -> float:
    """UA, mean recall over the classes present: mean_c n_cc / sum_k n_ck, c among the labels.

    `absent_classes` names the classes left out. NaN if nothing was scored.
    """
    return _scored(labels, predictions, "ua")


def macro_f1(labels: ArrayLike, predictions: ArrayLike) -> float:
    """Mean over classes of F1_c = 2 n_cc / (sum_k n_ck + sum_k n_kc).

    Only classes that occur in the labels or the predictions count, like scikit-learn's
    f1_score(average="macro") by default: a class that is only predicted counts as 0. NaN if
    nothing was scored.
    """
    return _scored(labels, predictions, "macro_f1")


def absent_classes(labels: ArrayLike, classes: Sequence[str]) -> tuple[str, ...]:
    """Names of the classes without any label, in index order; UA does not count them."""
    present = set(np.asarray(labels).reshape(-1).tolist())
    return tuple(name for index, name in enumerate(classes) if index not in present)


def score(confusion_CC: NDArray[np.int64], metric: Metric) -> Scores:
    """WA, UA or macro-F1 of a confusion matrix, or of each matrix in a stack (..., C, C)."""
    part_K, whole_K = ratios(confusion_CC, metric)
    return _mean_where(part_K / np.maximum(whole_K, 1), whole_K > 0)


def ratios(confusion_CC: NDArray[np.int64], metric: Metric) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every score is the mean of part / whole over those with whole > 0: one ratio for WA, one per class otherwise.

    Both are sums over utterances, so that those of several speakers add up.

    Args:
        confusion_CC: a confusion matrix, or a stack (..., C, C).

    Returns: part and whole, K each, or (..., K).
    """
    hit_C = np.diagonal(confusion_CC, axis1=-2, axis2=-1)
    true_C, predicted_C = confusion_CC.sum(axis=-1), confusion_CC.sum(axis=-2)
    match metric:
        case "wa":
            return hit_C.sum(axis=-1, keepdims=True), true_C.sum(axis=-1, keepdims=True)
        case "ua":
            return hit_C, true_C
        case "macro_f1":
            return 2 * hit_C, true_C + predicted_C


def calibration_error(probabilities_NC: ArrayLike, labels_N: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error of the top class, with bins of equal width.

        ECE = sum_b n_b / N |accuracy_b - confidence_b|,

    b over the bins ((b - 1) / bins, b / bins] of the top probability. Ties go to the first class.
    NaN for N = 0.

    Args:
        probabilities_NC: rows that sum to 1.
        labels_N: true classes.
        bins: number of bins between 0 and 1.

    Source: Guo et al., "On calibration of modern neural networks", 2017, equation 3.
    """
    probability_NC = np.asarray(probabilities_NC, dtype=np.float64)
    label_N = np.asarray(labels_N)
    if len(label_N) != len(probability_NC):
        raise ValueError(f"{len(probability_NC)} rows of probabilities, but {len(label_N)} labels.")
    if len(label_N) == 0:
        return float("nan")
    top_N = probability_NC.max(axis=1)
    gap_N = (probability_NC.argmax(axis=1) == label_N) - top_N
    bin_N = np.searchsorted(np.arange(1, bins) / bins, top_N, side="left")
    return float(np.abs(np.bincount(bin_N, weights=gap_N, minlength=bins)).sum() / len(label_N))


def kl_divergence(target_NC: ArrayLike, predicted_NC: ArrayLike) -> Scores:
    """KL divergence of each row in nats, KL(t || p) = sum_c t(c) log(t(c) / p(c)); where t(c) is 0 so is the term.

    p counts as at least 1e-12: a class that was chosen and has no probability adds at most 27.6 t(c), not infinity.

    Args:
        target_NC, predicted_NC: t and p, rows that sum to 1.

    Returns: N values, 0 or more.
    """
    target, predicted = (np.asarray(rows, dtype=np.float64) for rows in (target_NC, predicted_NC))
    # A class without a share adds nothing, whatever stands in for the logarithm of its 0.
    logs = np.log(np.where(target > 0, target, 1.0)) - np.log(predicted.clip(1e-12))
    divergence_N: Scores = np.maximum((target * logs).sum(axis=-1), 0.0)
    return divergence_N


def js_divergence(target_NC: ArrayLike, predicted_NC: ArrayLike) -> Scores:
    """Jensen-Shannon divergence of each row in nats: the mean of KL(t || m) and KL(p || m), m = (t + p) / 2.

    Symmetric, and at most log 2 = 0.693, which is reached where no class has both a share and a probability.

    Args:
        target_NC, predicted_NC: t and p, rows that sum to 1.

    Returns: N values.

    Source: Lin, "Divergence measures based on the Shannon entropy", 1991, equation 4.1 with equal weights.
    """
    target, predicted = (np.asarray(rows, dtype=np.float64) for rows in (target_NC, predicted_NC))
    middle = (target + predicted) / 2
    return (kl_divergence(target, middle) + kl_divergence(predicted, middle)) / 2


def _classes(what: str, values: ArrayLike, n_classes: int) -> NDArray[np.int64]:
    classes = np.asarray(values).reshape(-1).astype(np.int64)
    if len(classes) and not 0 <= classes.min() <= classes.max() < n_classes:
        raise ValueError(
            f"{what} contain classes from {classes.min()} to {classes.max()}; expected 0 to {n_classes - 1}."
        )
    return classes


def _n_classes(*values: ArrayLike) -> int:
    return max((int(np.max(array)) + 1 for array in values if np.size(array)), default=1)


def _scored(labels: ArrayLike, predictions: ArrayLike, metric: Metric) -> float:
    return float(score(confusion(labels, predictions, _n_classes(labels, predictions)), metric))


def _mean_where(values_C: Scores, counted_C: NDArray[np.bool_]) -> Scores:
    """Mean of the counted values over the last axis; NaN where there are none."""
    total, number = np.where(counted_C, values_C, 0.0).sum(axis=-1), counted_C.sum(axis=-1)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)
