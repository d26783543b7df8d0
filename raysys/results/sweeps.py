"""What a grid search, an ablation and a cross-validation with several seeds add to a run's results."""

from __future__ import annotations

from dataclasses import dataclass

from raysys.results.scores import Confusion, Interval, PooledScores


@dataclass(frozen=True, slots=True, kw_only=True)
class PointScores:
    """A grid point.

    Attributes:
        values: by axis, as typed.
        stopped: whether a trial of it was stopped early or failed; then it has no scores.
        validation_ua: mean over folds; validation_ua_folds, epochs: of each fold.
        validation_score: mean over folds of the score that selects (`RunResult.select`); None in early versions.
        test_ua, test_wa: mean over folds, each at its best epoch on the test part: optimistic.
    """

    name: str
    values: dict[str, str]
    stopped: bool
    validation_ua: float | None
    validation_ua_folds: tuple[float, ...]
    epochs: tuple[int, ...]
    test_ua: float | None
    test_wa: float | None
    validation_score: float | None = None

    @property
    def score(self) -> float | None:
        """What the point is selected by; early versions knew UA alone."""
        return self.validation_ua if self.validation_score is None else self.validation_score


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimisticFold:
    fold: int
    epoch: int
    wa: float
    ua: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimisticScores:
    """One point for all folds and each fold's epoch, chosen by UA on the test folds, as the paper does."""

    point: str
    wa: float
    ua: float
    folds: tuple[OptimisticFold, ...]
    pooled_wa: float
    pooled_ua: float
    confusion: Confusion


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalModel:
    """The model trained on all data.

    Attributes:
        data: what that is, for people: of a given partition its training and validation parts.
        temperature: the median of the folds'; None in early versions.
        folder: the model's; trial: the trial's that trained it; both below the run's.
    """

    point: str
    epochs: int
    folder: str
    data: str = "all data"
    trial: str = ""
    parameters: int | None = None
    trained_parameters: int | None = None
    temperature: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GridResult:
    """Attributes:
    axes: values as typed, by axis.
    nested: the point selected on each fold's validation part, by the fold's number.
    seconds_beyond_training: median cost of a trial beyond its training; None where no process trained two.
    """

    axes: dict[str, tuple[str, ...]]
    points: tuple[PointScores, ...]
    nested: dict[str, str]
    optimistic: OptimisticScores
    final: FinalModel | None
    n_trials: int
    n_failed: int = 0
    n_stopped: int = 0
    seconds_beyond_training: float | None = None
    epochs_saved: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A variant's pooled scores minus the full model's, with 95 % intervals over speakers."""

    wa: float
    ua: float
    wa_ci95: Interval
    ua_ci95: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantScores:
    """Attributes:
    wa, ua: pooled scores, one per seed; the deviation is None with one seed.
    confusion: all seeds together.
    difference: None for the full model itself.
    trial: folder of its first trial, below the run's.
    wa_ci95, ua_ci95: 95 % intervals over speakers, of the means; None in early versions.
    optimistic_wa, optimistic_ua: pooled, with the first seed, each fold's epoch chosen on its test part; None unless
        the test parts were scored after every epoch.
    """

    name: str
    flags: tuple[str, ...]
    parameters: int
    confusion: Confusion
    wa: tuple[float, ...]
    wa_mean: float
    wa_std: float | None
    ua: tuple[float, ...]
    ua_mean: float
    ua_std: float | None
    difference: Difference | None
    trial: str = ""
    wa_ci95: Interval | None = None
    ua_ci95: Interval | None = None
    optimistic_wa: float | None = None
    optimistic_ua: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AblationResult:
    seeds: tuple[int, ...]
    variants: tuple[VariantScores, ...]
    n_trials: int
    seconds_beyond_training: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedScores:
    """Pooled scores with one seed."""

    seed: int
    wa: float
    ua: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanOverSeeds:
    """Mean and standard deviation of the pooled scores over seeds; the mean's 95 % intervals over speakers."""

    wa: float
    ua: float
    wa_std: float
    ua_std: float
    wa_ci95: Interval
    ua_ci95: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedsResult:
    """A cross-validation with several seeds over the same folds.

    Attributes:
        each: in the order of the command line; the run's own scores are those of the first.
        ensemble: of the mean of the seeds' probabilities, per utterance: one model made of several.
    """

    each: tuple[SeedScores, ...]
    mean: MeanOverSeeds
    ensemble: PooledScores

    @property
    def names(self) -> str:
        """Such as '0, 1, 2'."""
        return ", ".join(str(scores.seed) for scores in self.each)
