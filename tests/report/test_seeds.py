"""Several seeds: a mean whose interval is over speakers, and an ensemble that is not that mean."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from raysys.report.seeds import ensemble, score_seeds
from raysys.results import RunResult
from raysys.storage import Folder
from tests.report.made_up import run_result, seeds

CLASSES = ("joy", "fear")


def table(speakers: list[str], folds: list[int], labels: str, joy: list[float]) -> pa.Table:
    """Predictions, from the labels' initials and the probabilities of joy."""
    joy_N = np.array(joy, "float32")
    return pa.table(
        {
            "utterance_id": [f"u{i:03d}" for i in range(len(joy))],
            "speaker": speakers,
            "fold": pa.array(folds, pa.int64()),
            "label": [{"j": "joy", "f": "fear"}[letter] for letter in labels],
            "prediction": ["joy" if p > 0.5 else "fear" for p in joy],
            "p_joy": joy_N,
            "p_fear": 1 - joy_N,
        }
    )


def test_the_ensemble_predicts_by_the_mean_probability_and_not_by_the_majority() -> None:
    who = (["a", "a", "b", "b"], [1, 1, 1, 1], "jjff")
    tables = [table(*who, joy=[0.4, 0.9, 0.1, 0.6]), table(*who, joy=[0.4, 0.2, 0.3, 0.6])]
    tables.append(table(*who, joy=[0.95, 0.2, 0.2, 0.0]))
    together = ensemble(tables, CLASSES)
    assert together.schema.equals(tables[0].schema), "it is read as the predictions of one seed are"
    np.testing.assert_allclose(together["p_joy"], [1.75 / 3, 1.3 / 3, 0.2, 0.4], rtol=1e-6)
    # Two of three say fear of the first, and joy of the last.
    assert together["prediction"].to_pylist() == ["joy", "fear", "fear", "fear"]
    found = score_seeds(dict(zip((4, 0, 9), tables, strict=True)), together, CLASSES)
    assert [(s.seed, s.wa, s.ua) for s in found.each] == [(4, 0.5, 0.5), (0, 0.25, 0.25), (9, 0.75, 0.75)]
    assert (found.mean.wa, found.mean.wa_std) == (0.5, 0.25)
    assert (found.ensemble.wa, found.ensemble.ua, found.ensemble.n) == (0.75, 0.75, 4)
    assert found.ensemble.chance_wa == 0.5


def test_wa_and_ua_over_seeds_are_not_swapped() -> None:
    who = (["a", "b", "a", "b"], [1, 1, 1, 1], "jjjf")
    tables = {0: table(*who, joy=[0.9, 0.9, 0.9, 0.9]), 1: table(*who, joy=[0.9, 0.1, 0.1, 0.1])}
    found = score_seeds(tables, ensemble([*tables.values()], CLASSES), CLASSES)
    assert [s.wa for s in found.each] == [0.75, 0.5]
    assert [s.ua for s in found.each] == pytest.approx([0.5, (1 / 3 + 1) / 2])
    assert (found.mean.wa, found.mean.ua) == pytest.approx((0.625, (0.5 + 2 / 3) / 2))
    assert found.mean.wa_std == pytest.approx(0.25 / 2**0.5)
    assert found.mean.ua_std == pytest.approx((2 / 3 - 0.5) / 2**0.5)


def test_the_interval_of_the_mean_is_over_speakers_whose_influence_is_averaged() -> None:
    """Two folds of two speakers with ten utterances each; right are 6 and 5 with one seed, 8 and 5 with the other.

    A speaker's influence on the pooled score is (6 - 5.5) / 40 = 0.0125 and (8 - 6.5) / 40 = 0.0375, on the mean 0.025:
    the variance is 2 folds x 2 x 2 x 0.025^2 = 0.005, with 2 degrees of freedom (t = 4.302653).
    """
    speakers = [name for name in "abcd" for _ in range(10)]
    who = (speakers, [1] * 20 + [2] * 20, "j" * 40)

    def joy(right: tuple[int, int]) -> list[float]:
        return [0.9 if i < n else 0.1 for n in right * 2 for i in range(10)]

    tables = {0: table(*who, joy((6, 5))), 1: table(*who, joy((8, 5)))}
    mean = score_seeds(tables, ensemble([*tables.values()], CLASSES), CLASSES).mean
    half = 4.302653 * 0.005**0.5
    assert (mean.wa, mean.wa_std) == pytest.approx((0.6, 0.1 / 2**0.5))
    assert mean.wa_ci95 == pytest.approx((0.6 - half, 0.6 + half), abs=1e-5)
    assert mean.ua_ci95 == mean.wa_ci95, "of one class"


def test_results_of_seeds_are_read_as_they_were_written_and_others_have_none() -> None:
    alone, several = Folder.at("memory://seeds/alone"), Folder.at("memory://seeds/several")
    result = run_result()
    result.write(alone)
    assert "seeds" not in alone.read_json("results.json")
    with_seeds = dataclasses.replace(result, seeds=seeds())
    with_seeds.write(several)
    assert RunResult.read(several) == with_seeds
