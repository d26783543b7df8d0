"""Scores of a run: over all its test utterances, and over parts of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Interval = tuple[float, float]
Confusion = tuple[tuple[int, ...], ...]
"""Counts, C x C: rows are true classes, columns predicted ones."""


def counts(confusion_CC: np.ndarray) -> Confusion:
    return tuple(tuple(row) for row in confusion_CC.tolist())


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    wa: float
    ua: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PooledScores:
    """Scores over all test utterances of a run, each scored once.

    Attributes:
        n: number of test utterances.
        wa_ci95, ua_ci95: 95 % intervals over speakers.
        chance_wa: of always predicting the most frequent class; chance_ua: of guessing. None in early versions.
        calibrated_error: the calibration error at each fold's temperature, which models apply; None in early versions,
            and of an ensemble.
        absent_classes: classes without test utterances, which UA leaves out.
    """

    n: int
    wa: float
    ua: float
    wa_ci95: Interval
    ua_ci95: Interval
    chance_wa: float | None = None
    chance_ua: float | None = None
    macro_f1: float
    calibration_error: float
    calibrated_error: float | None = None
    absent_classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteScores:
    """How far predictions are from the annotators' votes: means over the test utterances that have votes.

    Attributes:
        n: number of those.
        kl, js: KL divergence of the prediction from the votes, and Jensen-Shannon divergence, in nats.
    """

    n: int
    kl: float
    js: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScores:
    """Scores of a class.

    Attributes:
        n, speakers: its test utterances, and how many known speakers they are of.
        precision, recall, f1: None where undefined: no utterances of the class, or none predicted.
        recall_ci95: 95 % interval over speakers; None with fewer than two.
    """

    name: str
    n: int
    speakers: int
    precision: float | None
    recall: float | None
    recall_ci95: Interval | None
    f1: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartScores:
    """Scores on a part of the test utterances; if it is empty, `n` is 0 and the rest None.

    Attributes:
        n, speakers: its test utterances, and how many known speakers they are of.
        ua: over the classes that the part has.
        wa_ci95, ua_ci95: 95 % intervals over speakers; None with fewer than two.
    """

    name: str
    n: int
    speakers: int
    wa: float | None = None
    ua: float | None = None
    wa_ci95: Interval | None = None
    ua_ci95: Interval | None = None
