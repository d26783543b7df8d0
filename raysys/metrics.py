"""Scores of predictions: accuracies, macro-F1, confusion matrix, calibration, bootstrap intervals.

WA (weighted accuracy) is overall accuracy, UA (unweighted accuracy) the mean of the class recalls;
much public code swaps the two. `score` takes a stack of confusion matrices, so that one call scores
2000 bootstrap draws.
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
    hit_C = np.diagonal(confusion_CC, axis1=-2, axis2=-1)
    true_C, predicted_C = confusion_CC.sum(axis=-1), confusion_CC.sum(axis=-2)
    match metric:
        case "wa":
            return _ratio(hit_C.sum(axis=-1), true_C.sum(axis=-1))
        case "ua":
            return _mean_where(_ratio(hit_C, true_C), true_C > 0)
        case "macro_f1":
            seen_C = true_C + predicted_C
            return _mean_where(_ratio(2 * hit_C, seen_C), seen_C > 0)


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


def bootstrap_interval(
    labels: ArrayLike,
    predictions: ArrayLike,
    speakers: ArrayLike,
    folds: ArrayLike,
    metric: Metric,
    *,
    n: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a pooled score, resampling speakers within folds.

    Utterances of a speaker are not independent, so a draw takes whole speakers: k from a fold with
    k speakers. The score of a draw is computed from the sum of its speakers' confusion matrices.
    A fold with one speaker has nothing to resample; all such folds are pooled into one group (so
    leave-one-speaker-out resamples speakers over folds). With only one speaker, both ends are the
    score itself.

    Args:
        labels, predictions: classes, N integers from 0.
        speakers, folds: speaker and test fold of each utterance, N each; compared by equality.
        metric: "wa", "ua" (over the classes present in each draw) or "macro_f1".
        n: number of draws.
        seed: random seed of the draws.
        level: coverage, 0.95 for the 2.5th and the 97.5th percentile.

    Returns: lower and upper end.

    Raises: ValueError: the lengths differ, or there is nothing to score.
    """
    _refuse_unequal(labels=labels, predictions=predictions, speakers=speakers, folds=folds)
    unit_N, drawn_RU = _draws(speakers, folds, n, seed)
    return _percentiles(_drawn_scores(labels, predictions, unit_N, drawn_RU, metric), level)


def paired_difference(
    labels: ArrayLike,
    predictions_a: ArrayLike,
    predictions_b: ArrayLike,
    speakers: ArrayLike,
    folds: ArrayLike,
    metric: Metric,
    *,
    n: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float, float]:
    """How much better b is than a on the same utterances, with a percentile bootstrap interval.

    Draws whole speakers within folds like `bootstrap_interval`, the same ones for both systems: speaker difficulty
    cancels, so the interval is narrower than the systems' separate intervals suggest. With several seeds, a system's
    score is the mean over its seeds; the interval covers variation between speakers, not between seeds.

    Args:
        labels: classes, N integers from 0.
        predictions_a, predictions_b: predictions of each system, N integers, or S x N: one row per seed; S may differ.
        speakers, folds: speaker and test fold of each utterance, N each; compared by equality.
        metric, n, seed, level: as in `bootstrap_interval`.

    Returns: pooled score of b minus that of a, lower and upper end.

    Raises: ValueError: the lengths differ, or there is nothing to score.
    """
    _refuse_unequal(
        labels=labels, predictions_a=predictions_a, predictions_b=predictions_b, speakers=speakers, folds=folds
    )
    unit_N, drawn_RU = _draws(speakers, folds, n, seed)

    def difference(draws_RU: NDArray[np.int64]) -> Scores:
        b, a = (_drawn_scores(labels, rows, unit_N, draws_RU, metric) for rows in (predictions_b, predictions_a))
        return b - a

    everyone_once = np.ones_like(drawn_RU[:1])
    return float(difference(everyone_once)[0]), *_percentiles(difference(drawn_RU), level)


def _refuse_unequal(**columns: ArrayLike) -> None:
    lengths = [np.shape(column)[-1] for column in columns.values()]
    if len(set(lengths)) > 1 or lengths[0] == 0:
        raise ValueError(f"{', '.join(columns)} have {lengths} values; expected equal numbers.")


def _draws(speakers: ArrayLike, folds: ArrayLike, n: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The (fold, speaker) unit of each utterance, and the count of each unit in each draw."""
    unit_N, group_U = _speakers_within_folds(np.asarray(speakers), np.asarray(folds))
    return unit_N, _resampled(group_U, n, np.random.default_rng(seed))


def _drawn_scores(
    labels: ArrayLike,
    predictions: ArrayLike,
    unit_N: NDArray[np.int64],
    drawn_RU: NDArray[np.int64],
    metric: Metric,
) -> Scores:
    """The score of each draw, computed from the sum of its units' confusion matrices; the mean over seeds."""
    label_N, predicted_SN = np.asarray(labels), np.atleast_2d(predictions)
    n_classes = _n_classes(label_N, predicted_SN)
    units = [unit_N == unit for unit in range(drawn_RU.shape[1])]
    confusion_SUCC = np.stack(
        [[confusion(label_N[own], row_N[own], n_classes) for own in units] for row_N in predicted_SN]
    )
    confusion_SRCC = np.einsum("ru,suck->srck", drawn_RU, confusion_SUCC, optimize=True)
    mean_R: Scores = score(confusion_SRCC, metric).mean(axis=0)
    return mean_R


def _percentiles(scores_R: Scores, level: float) -> tuple[float, float]:
    tail = (1 - level) / 2
    low, high = np.quantile(scores_R, [tail, 1 - tail])
    return float(low), float(high)


def _speakers_within_folds(
    speakers_N: NDArray[np.generic], folds_N: NDArray[np.generic]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The (fold, speaker) unit of each utterance, and the group in which each unit is resampled."""
    _, speaker_N = np.unique(speakers_N, return_inverse=True)
    _, fold_N = np.unique(folds_N, return_inverse=True)
    pairs, unit_N = np.unique(np.stack([fold_N, speaker_N], axis=1), axis=0, return_inverse=True)
    fold_U = pairs[:, 0]
    alone_U = np.bincount(fold_U)[fold_U] == 1
    return unit_N.reshape(-1), np.where(alone_U, -1, fold_U)


def _resampled(group_U: NDArray[np.int64], n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Count of each unit in each of n draws: each group contributes as many draws as it has units."""
    drawn_RU = np.zeros((n, len(group_U)), dtype=np.int64)
    for group in np.unique(group_U):
        members = np.flatnonzero(group_U == group)
        drawn_RU[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=n)
    return drawn_RU


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


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> Scores:
    """part / whole; NaN where whole is 0."""
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def _mean_where(values_C: Scores, counted_C: NDArray[np.bool_]) -> Scores:
    """Mean of the counted values over the last axis; NaN where there are none."""
    total, number = np.where(counted_C, values_C, 0.0).sum(axis=-1), counted_C.sum(axis=-1)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)
