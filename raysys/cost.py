"""What training costs on a GPU: measured rates, and the arithmetic from them to hours and dollars."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from raysys.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Attributes:
    utterances_per_s: in training, two views of each.
    source: where that was measured, for people.
    """

    utterances_per_s: float
    source: str


_SOURCE = "preset paper in bfloat16, batches of 16, utterances as long as IEMOCAP's; raysys/bench/README.md"
RATES = {
    "H100": Rate(utterances_per_s=94.0, source=f"measured on one NVIDIA H100 (80 GB), an earlier version: {_SOURCE}"),
    "H200": Rate(utterances_per_s=68.0, source=f"measured on one NVIDIA H200 (141 GB): {_SOURCE}"),
}
"""By GPU, of the paper's model at full size. Add a GPU here with what `raysys bench --rows training` says on it."""

# Shares of a training step of two views, which took 0.148 s on an H200: forward 0.065, backward 0.065, optimizer 0.013.
EVALUATION = 0.0325 / 0.148
"""One view forward."""
ONE_VIEW = (0.0325 + 0.0325 + 0.013) / 0.148
"""One view forward and backward, and the optimizer."""
WARM_UP_S = 13.0
"""How much longer a trial's first epoch took than its second there: shapes that are new to cuDNN."""
SAVING_S_PER_GB = 1.5
"""0.64 GB of weights to the host (0.49 s), to a file (0.17 s) and to the disk (0.31 s)."""
BYTES_SAVED = 12
"""A trained parameter in a checkpoint: its weight and two moments of Adam in float32. One is saved after each epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a kind of trial does, in all its trials.

    Attributes:
        trials: how many there are; epochs: of each.
        trained_on: utterances of their training parts, added up over the trials.
        evaluated: utterances that are scored after every epoch, likewise.
        views: 2 where a step has an augmented view too, otherwise 1.
        parameters: that are trained.
    """

    trials: int
    epochs: int
    trained_on: int
    evaluated: int
    views: int
    parameters: int


def gpu_seconds(work: Work, utterances_per_s: float) -> float:
    """Seconds of one GPU: warming up, and per epoch training, evaluating and saving a checkpoint.

    It leaves out what comes before the first trial (decoding, CBCA's language models, features of frozen encoders).
    """
    steps = work.trained_on * (1.0 if work.views == 2 else ONE_VIEW) / utterances_per_s
    evaluation = work.evaluated * EVALUATION / utterances_per_s
    saving = work.trials * work.parameters * BYTES_SAVED / 1e9 * SAVING_S_PER_GB
    return work.trials * WARM_UP_S + work.epochs * (steps + evaluation + saving)


def gpu_hours(works: Iterable[Work], utterances_per_s: float) -> float:
    return sum(gpu_seconds(work, utterances_per_s) for work in works) / 3600


def rate_of(gpu: str, utterances_per_s: float | None) -> Rate:
    """The rate that a user gives, otherwise what was measured on a GPU of that name.

    Raises:
        ConfigError: the rate is not positive, or there is none.
    """
    if utterances_per_s is not None:
        if not 0 < utterances_per_s < float("inf"):
            raise ConfigError(f"--utterances-per-second is {utterances_per_s}; expected a positive number.")
        return Rate(utterances_per_s=utterances_per_s, source="--utterances-per-second")
    if gpu not in RATES:
        raise ConfigError(
            f"--gpu {gpu}: nothing was measured on it, only on {', '.join(RATES)}. Give --utterances-per-second, such "
            f"as `raysys bench --rows training` finds there (gpu_train_utterances)."
        )
    return RATES[gpu]


def refuse_price(dollars_per_hour: float | None) -> None:
    """Raises: ConfigError: it is negative, or not a number."""
    if dollars_per_hour is not None and not 0 <= dollars_per_hour < float("inf"):
        raise ConfigError(f"--price-per-gpu-hour is {dollars_per_hour}; expected dollars, 0 or more.")
