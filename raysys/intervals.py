"""95 % intervals of pooled scores and of their differences, over speakers: whose utterances are not independent.

A score is a ratio, or a mean of ratios, of sums over speakers (`metrics.ratios`). Linearised, a speaker u contributes

    d_u = mean_k (part_uk - ratio_k whole_uk) / whole_k,

its influence value, and the score's variance is estimated from how these vary within a fold of k speakers,

    sum over folds of  k / (k - 1) sum_u (d_u - mean d)^2.

The interval is score +- t s, with Satterthwaite's degrees of freedom for speakers whose variance is proportional to the
square of their share of the utterances (`_freedom`): sum over folds of (k - 1) if all speakers of a fold speak equally
much, and fewer if they do not. Resampling k of k speakers instead is too narrow where k is small: with five folds of
two speakers its 95 % intervals cover 79 %. tests/test_intervals.py measures the coverage of these.

Folds of one speaker show no variation of their own: together they are one stratum. If there is only one such fold, it
joins the smallest other one; speakers that are in several folds make all folds one stratum.

What the intervals do not cover: training again with another seed. What they cannot show: where all speakers score alike
(everything is right), there is no variation to estimate from, and the interval has no width.

Source: Wolter, "Introduction to variance estimation", 2nd edition, 2007, chapter 6 (linearisation); Bell and McCaffrey,
"Bias reduction in standard errors for linear regression with multi-stage samples", 2002 (degrees of freedom).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from raysys.metrics import Metric, Scores, ratios

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Estimate:
    """A score with the influence value of each speaker, and each speaker's share of what the score counts."""

    value: float
    influence_U: Scores
    share_U: Scores


def interval(
    labels: ArrayLike,
    predictions: ArrayLike,
    speakers: ArrayLike,
    folds: ArrayLike,
    metric: Metric,
    *,
    level: float = 0.95,
) -> Interval:
    """Interval of a pooled score over speakers, cut to [0, 1].

    A t interval is symmetric, so that near 0 or 1 it may leave what a score can be; the part outside is cut off, which
    changes no coverage. With one speaker nothing is known about others: (0, 1).

    Args:
        labels: classes, N integers from 0.
        predictions: likewise, or S x N: one row per seed. The interval is then of the mean over seeds.
        speakers, folds: speaker and test fold of each utterance, N each; compared by equality.
        metric: "wa", "ua" (over the classes present) or "macro_f1".
        level: coverage.

    Returns: lower and upper end.

    Raises: ValueError: the lengths differ, or there is nothing to score.
    """
    _refuse_unequal(labels=labels, predictions=predictions, speakers=speakers, folds=folds)
    unit_N, stratum_U = _speakers(speakers, folds)
    return _ends(_estimate(labels, predictions, unit_N, metric), stratum_U, level, lowest=0.0)


def paired_difference(
    labels: ArrayLike,
    predictions_a: ArrayLike,
    predictions_b: ArrayLike,
    speakers: ArrayLike,
    folds: ArrayLike,
    metric: Metric,
    *,
    level: float = 0.95,
) -> tuple[float, float, float]:
    """How much better b is than a on the same utterances, with an interval over speakers, cut to [-1, 1].

    A speaker's influence value is that on b minus that on a: speaker difficulty cancels, so the interval is narrower
    than the systems' separate intervals suggest. With several seeds, a system's score is the mean over its seeds; the
    interval covers variation between speakers, not between seeds.

    Args:
        labels: classes, N integers from 0.
        predictions_a, predictions_b: predictions of each system, N integers, or S x N: one row per seed; S may differ.
        speakers, folds, metric, level: as in `interval`.

    Returns: pooled score of b minus that of a, lower and upper end.

    Raises: ValueError: the lengths differ, or there is nothing to score.
    """
    _refuse_unequal(
        labels=labels, predictions_a=predictions_a, predictions_b=predictions_b, speakers=speakers, folds=folds
    )
    unit_N, stratum_U = _speakers(speakers, folds)
    a, b = (_estimate(labels, rows, unit_N, metric) for rows in (predictions_a, predictions_b))
    difference = _Estimate(
        value=b.value - a.value,
        influence_U=b.influence_U - a.influence_U,
        share_U=(a.share_U + b.share_U) / 2,
    )
    return difference.value, *_ends(difference, stratum_U, level, lowest=-1.0)


def _refuse_unequal(**columns: ArrayLike) -> None:
    lengths = [np.shape(column)[-1] for column in columns.values()]
    if len(set(lengths)) > 1 or lengths[0] == 0:
        raise ValueError(f"{', '.join(columns)} have {lengths} values; expected equal numbers.")


def _speakers(speakers: ArrayLike, folds: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The speaker of each utterance, counted from 0, and the stratum of each speaker."""
    _, unit_N = np.unique(np.asarray(speakers), return_inverse=True)
    _, fold_N = np.unique(np.asarray(folds), return_inverse=True)
    unit_N, fold_N = unit_N.reshape(-1), fold_N.reshape(-1)
    fold_U = np.zeros(unit_N.max() + 1, dtype=np.int64)
    fold_U[unit_N] = fold_N
    if (fold_U[unit_N] != fold_N).any():
        return unit_N, np.zeros_like(fold_U)
    return unit_N, _strata(fold_U)


def _strata(fold_U: NDArray[np.int64]) -> NDArray[np.int64]:
    """The fold of each speaker, with folds of one speaker merged."""
    size_U = np.bincount(fold_U)[fold_U]
    alone_U = size_U == 1
    if alone_U.sum() == 1 and not alone_U.all():
        return np.where(alone_U, fold_U[np.where(alone_U, len(fold_U), size_U).argmin()], fold_U)
    return np.where(alone_U, -1, fold_U)


def _estimate(labels: ArrayLike, predictions: ArrayLike, unit_N: NDArray[np.int64], metric: Metric) -> _Estimate:
    """The mean over seeds of the score, of the influence values and of the shares."""
    part_SUK, whole_SUK = ratios(_confusions(np.asarray(labels), np.atleast_2d(predictions), unit_N), metric)
    part_SK, whole_SK = part_SUK.sum(axis=1, keepdims=True), whole_SUK.sum(axis=1, keepdims=True)
    # A class that does not occur has no ratio; its counts are 0, and it weighs nothing.
    weight_SK = (whole_SK > 0) / (whole_SK > 0).sum(axis=-1, keepdims=True)
    ratio_SK = part_SK / np.maximum(whole_SK, 1)
    influence_SUK = (part_SUK - ratio_SK * whole_SUK) / np.maximum(whole_SK, 1)
    share_SUK = whole_SUK / np.maximum(whole_SK, 1)
    return _Estimate(
        value=float((weight_SK * ratio_SK).sum(axis=-1).mean()),
        influence_U=(weight_SK * influence_SUK).sum(axis=-1).mean(axis=0),
        share_U=(weight_SK * share_SUK).sum(axis=-1).mean(axis=0),
    )


def _confusions(
    label_N: NDArray[np.int64], predicted_SN: NDArray[np.int64], unit_N: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The confusion matrix of each seed and speaker, S x U x C x C."""
    seeds, units = len(predicted_SN), int(unit_N.max()) + 1
    classes = 1 + max(int(label_N.max()), int(predicted_SN.max()))
    seed_S1 = np.arange(seeds)[:, None]
    cell_SN = ((seed_S1 * units + unit_N) * classes + label_N) * classes + predicted_SN
    counts = np.bincount(cell_SN.reshape(-1), minlength=seeds * units * classes**2)
    return counts.reshape(seeds, units, classes, classes)


def _ends(estimate: _Estimate, stratum_U: NDArray[np.int64], level: float, *, lowest: float) -> Interval:
    """score +- t s, cut to [lowest, 1]."""
    if len(stratum_U) < 2:
        return lowest, 1.0
    # 0.3 s that no start of a run waits for.
    from scipy.special import stdtrit

    variance = 0.0
    for stratum in np.unique(stratum_U):
        own = estimate.influence_U[stratum_U == stratum]
        variance += len(own) / (len(own) - 1) * float(((own - own.mean()) ** 2).sum())
    quantile = float(stdtrit(_freedom(estimate.share_U, stratum_U), (1 + level) / 2))
    half = quantile * variance**0.5
    return max(lowest, estimate.value - half), min(1.0, estimate.value + half)


def _freedom(share_U: Scores, stratum_U: NDArray[np.int64]) -> float:
    """Degrees of freedom of the variance estimate: 2 E^2 / Var, Satterthwaite's.

    For independent normal influence values of variance v_u = share_u^2, the estimate of a stratum of k speakers has

        E = sum_u v_u,   Var = 2 (k / (k - 1))^2 [(1 - 2 / k) sum_u v_u^2 + (sum_u v_u)^2 / k^2].

    With equal shares in a stratum this is k - 1; over equal strata, the sum of k - 1.
    """
    expected, spread = 0.0, 0.0
    for stratum in np.unique(stratum_U):
        variance_U = share_U[stratum_U == stratum] ** 2
        k, total = len(variance_U), float(variance_U.sum())
        expected += total
        quadratic = (1 - 2 / k) * float((variance_U**2).sum()) + (total / k) ** 2
        spread += 2 * (k / (k - 1)) ** 2 * quadratic
    return 2 * expected**2 / spread
