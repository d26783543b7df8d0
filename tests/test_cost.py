"""Hours and dollars from measured rates, against numbers worked out by hand."""

from __future__ import annotations

import dataclasses

import pytest

from raysys.cost import EVALUATION, ONE_VIEW, RATES, Work, gpu_hours, gpu_seconds, rate_of, refuse_price
from raysys.errors import ConfigError

WORK = Work(trials=1, epochs=10, trained_on=940, evaluated=0, views=2, parameters=0)
FULL_SIZE = 176_326_276
"""Trained parameters of the paper's model: all but the convolutions of its audio encoder."""


def test_a_trial_takes_its_epochs_after_warming_up() -> None:
    """940 utterances at 94 a second are 10 s an epoch."""
    assert gpu_seconds(WORK, 94.0) == pytest.approx(13 + 10 * 10)
    assert gpu_seconds(WORK, 47.0) == pytest.approx(13 + 10 * 20)
    assert gpu_seconds(dataclasses.replace(WORK, trials=3), 94.0) == pytest.approx(3 * 13 + 10 * 10)


def test_one_view_evaluation_and_checkpoints_have_their_own_costs() -> None:
    one_view = dataclasses.replace(WORK, views=1)
    assert gpu_seconds(one_view, 94.0) == pytest.approx(13 + 10 * 10 * 0.527, rel=1e-3)
    evaluated = dataclasses.replace(WORK, trained_on=0, evaluated=940)
    assert gpu_seconds(evaluated, 94.0) == pytest.approx(13 + 10 * 10 * 0.2196, rel=1e-3)
    # 1e8 parameters of 12 bytes are 1.2 GB, 1.8 s an epoch and trial.
    saved = dataclasses.replace(WORK, trials=2, trained_on=0, parameters=100_000_000)
    assert gpu_seconds(saved, 94.0) == pytest.approx(2 * 13 + 10 * 2 * 1.8)
    assert 0 < EVALUATION < ONE_VIEW < 1


def test_the_papers_grid_on_iemocap_takes_about_a_hundred_hours_on_an_h100() -> None:
    """5,531 utterances; each is trained on in three of five folds, validates one and is tested in one.

    16 x [5 x 13 + 100 x (16,593 / 94 + 11,062 x 0.2196 / 94 + 5 x 2.116 GB x 1.5)] = 350,200 s.
    """
    grid = Work(
        trials=80,
        epochs=100,
        trained_on=16 * 3 * 5531,
        evaluated=16 * 2 * 5531,
        views=2,
        parameters=FULL_SIZE,
    )
    assert gpu_hours([grid], RATES["H100"].utterances_per_s) == pytest.approx(97.3, abs=0.1)
    assert gpu_hours([grid, grid], 94.0) == pytest.approx(194.6, abs=0.2)


def test_a_measured_epoch_of_a_whole_job_is_near_the_estimate() -> None:
    """On an H200, an epoch of 60 utterances, 60 to validate and its checkpoint took 5.1 to 5.6 s (raysys/bench)."""
    job = Work(trials=1, epochs=1, trained_on=60, evaluated=60, views=2, parameters=FULL_SIZE)
    epoch_s = gpu_seconds(job, RATES["H200"].utterances_per_s) - 13
    assert 0.7 < epoch_s / 5.35 < 1.3


def test_a_rate_is_that_of_the_user_or_of_a_measured_gpu() -> None:
    assert rate_of("H100", None).utterances_per_s == 94
    assert "raysys/bench" in rate_of("H200", None).source
    given = rate_of("A100", 40.0)
    assert (given.utterances_per_s, given.source) == (40.0, "--utterances-per-second")


@pytest.mark.parametrize(
    ("gpu", "rate", "said"),
    [
        ("A100", None, "--gpu A100: nothing was measured on it, only on H100, H200"),
        ("H100", 0.0, "--utterances-per-second is 0.0; expected a positive number"),
        ("H100", -3.0, "--utterances-per-second is -3.0"),
        ("H100", float("nan"), "--utterances-per-second is nan"),
    ],
)
def test_a_gpu_without_a_rate_and_an_impossible_rate_are_refused(gpu: str, rate: float | None, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        rate_of(gpu, rate)


@pytest.mark.parametrize("price", [-1.0, float("nan"), float("inf")])
def test_an_impossible_price_is_refused(price: float) -> None:
    with pytest.raises(ConfigError, match="--price-per-gpu-hour is"):
        refuse_price(price)
    refuse_price(0.0)
    refuse_price(None)
