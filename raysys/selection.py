"""Selecting grid points and epochs: the two protocols, as pure functions of numbers.

`nested` only sees `Validated`, which has no field for a test score, so it cannot use one. `optimistic` selects on the
test folds, as the paper does, and its scores are optimistic. By which score of the validation part `nested` selects is
the user's choice (--train.select); `optimistic` is always by UA.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from raysys import metrics
from raysys.config import Select

TITLES: dict[Select, str] = {"ua": "UA", "wa": "WA", "macro_f1": "macro-F1", "loss": "loss"}


class OnValidation(Protocol):
    """Scores on a validation part, from 0 to 1, and its mean cross-entropy in nats; None without that part."""

    @property
    def validation_ua(self) -> float | None: ...
    @property
    def validation_wa(self) -> float | None: ...
    @property
    def validation_macro_f1(self) -> float | None: ...
    @property
    def validation_loss(self) -> float | None: ...


def score_of(found: OnValidation, by: Select) -> float:
    """The score by which is selected; there is a validation part."""
    score: float | None = getattr(found, f"validation_{by}")
    assert score is not None
    return score


def merit(found: OnValidation, by: Select) -> tuple[float, float]:
    """What is greater for a better choice: the score, of a loss its negative; the lower loss breaks a tie."""
    score, loss = score_of(found, by), score_of(found, "loss")
    return -score if by == "loss" else score, -loss


def shown(score: float, by: Select) -> str:
    """For people: in per cent, except for a loss."""
    return f"{score:.3f}" if by == "loss" else f"{100 * score:.1f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Validated:
    """A trial's scores on its validation part.

    Attributes:
        point: its configuration's name.
        fold: from 1.
        epoch: from 1, the best on the validation part.
        score: of the validation part at that epoch, the higher the better: the first of `merit`.
        loss: its mean cross-entropy.
    """

    point: str
    fold: int
    epoch: int
    score: float
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """A trial's confusion matrices on its test part after each epoch (epochs x C x C)."""

    point: str
    fold: int
    curve: Sequence[Sequence[Sequence[int]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimistic:
    """The selection on test folds: one point for all, each fold's best epoch (from 1), and its confusion matrix."""

    point: str
    epochs: dict[int, int]
    confusions: dict[int, np.ndarray]


def nested(trials: Sequence[Validated]) -> dict[int, str]:
    """Each fold's own point: best validation score; the lower validation loss, then the earlier point, breaks a tie."""
    best: dict[int, Validated] = {}
    for trial in trials:
        rival = best.get(trial.fold)
        if rival is None or (trial.score, -trial.loss) > (rival.score, -rival.loss):
            best[trial.fold] = trial
    return {fold: best[fold].point for fold in sorted(best)}


def final_point(trials: Sequence[Validated], n_folds: int) -> tuple[str, int]:
    """Point and number of epochs of the final model: best mean validation score over all folds, median of their epochs.

    Points without a finished trial on every fold are excluded. Of two middle epochs the earlier is used.

    Raises:
        ValueError: no point is complete.
    """
    by_point: dict[str, list[Validated]] = defaultdict(list)
    for trial in trials:
        by_point[trial.point].append(trial)
    complete = [point for point, own in by_point.items() if len(own) == n_folds]
    if not complete:
        raise ValueError("no point was trained to its end on every fold")

    def goodness(point: str) -> tuple[float, float]:
        own = by_point[point]
        return statistics.fmean(t.score for t in own), -statistics.fmean(t.loss for t in own)

    chosen = max(complete, key=goodness)
    return chosen, statistics.median_low(t.epoch for t in by_point[chosen])


def optimistic(trials: Sequence[Tested], n_folds: int) -> Optimistic:
    """The paper's protocol: each fold's epoch by its test UA, and one point for all by their mean.

    Raises:
        ValueError: no point is complete.
    """
    by_point: dict[str, dict[int, tuple[int, np.ndarray]]] = defaultdict(dict)
    for trial in trials:
        curve_ECC = np.asarray(trial.curve)
        epoch = int(np.argmax(metrics.score(curve_ECC, "ua")))
        by_point[trial.point][trial.fold] = (epoch + 1, curve_ECC[epoch])
    complete = [point for point, own in by_point.items() if len(own) == n_folds]
    if not complete:
        raise ValueError("no point was trained to its end on every fold")

    def mean_ua(point: str) -> float:
        return statistics.fmean(float(metrics.score(matrix, "ua")) for _, matrix in by_point[point].values())

    chosen = max(complete, key=mean_ua)
    own = by_point[chosen]
    return Optimistic(
        point=chosen,
        epochs={fold: own[fold][0] for fold in sorted(own)},
        confusions={fold: own[fold][1] for fold in sorted(own)},
    )
