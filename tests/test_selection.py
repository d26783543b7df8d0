"""The two selection protocols: nested never sees a test score, and the paper's selects by nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysys import selection
from raysys.config import Select
from raysys.selection import Validated, final_point, merit, nested, optimistic, shown
from tests.runs.results import fold_result

Matrix = Sequence[Sequence[int]]

# 8 utterances of one class, 2 of the other: which is better depends on the measure.
ALL_OF_THE_LARGE_CLASS: Matrix = [[8, 0], [2, 0]]  # WA 0.8, UA 0.5
BOTH_CLASSES: Matrix = [[5, 3], [0, 2]]  # WA 0.7, UA (5/8 + 1) / 2 = 0.8125


def validated(point: str, fold: int, score: float, *, loss: float = 1.0, epoch: int = 1) -> Validated:
    return Validated(point=point, fold=fold, epoch=epoch, score=score, loss=loss)


def by_test(point: str, fold: int, *uas: float) -> selection.Tested:
    """A curve of these UAs, each a multiple of a tenth: of 20 utterances of each of two classes."""
    hits = [round(20 * ua) for ua in uas]
    return selection.Tested(point=point, fold=fold, curve=[[[h, 20 - h], [20 - h, h]] for h in hits])


# By which score


def test_the_merit_is_the_score_by_which_is_selected_and_the_lower_loss_breaks_a_tie() -> None:
    scores = {"validation_ua": 0.5, "validation_wa": 0.6, "validation_macro_f1": 0.4, "validation_loss": 1.25}
    found = fold_result(**scores)
    expected: dict[Select, float] = {"ua": 0.5, "wa": 0.6, "macro_f1": 0.4, "loss": -1.25}
    assert {by: merit(found, by) for by in expected} == {by: (score, -1.25) for by, score in expected.items()}


@pytest.mark.parametrize(
    ("by", "best"), [("ua", "even"), ("wa", "large"), ("macro_f1", "harmonic"), ("loss", "certain")]
)
def test_each_score_has_its_own_best_point(by: Select, best: str) -> None:
    points = {
        "even": {"validation_ua": 0.8, "validation_wa": 0.5, "validation_macro_f1": 0.5, "validation_loss": 1.5},
        "large": {"validation_ua": 0.5, "validation_wa": 0.8, "validation_macro_f1": 0.5, "validation_loss": 1.5},
        "harmonic": {"validation_ua": 0.5, "validation_wa": 0.5, "validation_macro_f1": 0.8, "validation_loss": 1.5},
        "certain": {"validation_ua": 0.5, "validation_wa": 0.5, "validation_macro_f1": 0.5, "validation_loss": 0.5},
    }
    trials = [
        validated(name, fold, merit(fold_result(**scores), by)[0], loss=scores["validation_loss"])
        for fold in (1, 2)
        for name, scores in points.items()
    ]
    assert nested(trials) == {1: best, 2: best}
    assert final_point(trials, 2)[0] == best


def test_scores_are_shown_in_per_cent_and_losses_in_nats() -> None:
    assert (shown(0.4567, "macro_f1"), shown(0.4567, "loss")) == ("45.7", "0.457")


# nested


def test_each_fold_has_its_own_point() -> None:
    trials = [validated("a", 1, 0.7), validated("a", 2, 0.5), validated("b", 1, 0.6), validated("b", 2, 0.8)]
    assert nested(trials) == {1: "a", 2: "b"}


def test_the_score_comes_before_loss_and_loss_before_order() -> None:
    assert nested([validated("a", 1, 0.7, loss=0.1), validated("b", 1, 0.8, loss=9.0)]) == {1: "b"}
    assert nested([validated("a", 1, 0.7, loss=0.5), validated("b", 1, 0.7, loss=0.4)]) == {1: "b"}
    assert nested([validated("a", 1, 0.7, loss=0.4), validated("b", 1, 0.7, loss=0.5)]) == {1: "a"}
    assert nested([validated("b", 1, 0.7), validated("a", 1, 0.7), validated("c", 1, 0.7)]) == {1: "b"}


def test_epochs_do_not_decide_a_fold() -> None:
    early, late = validated("early", 1, 0.7, epoch=1), validated("late", 1, 0.7, epoch=99)
    assert nested([late, early]) == {1: "late"}
    assert nested([early, late]) == {1: "early"}


def test_folds_come_in_their_order() -> None:
    assert list(nested([validated("a", 3, 0.1), validated("a", 1, 0.1), validated("a", 2, 0.1)])) == [1, 2, 3]


# final_point


def test_the_final_point_is_best_on_average_not_on_one_fold() -> None:
    trials = [validated("a", 1, 0.7), validated("a", 2, 0.7), validated("b", 1, 0.9), validated("b", 2, 0.4)]
    assert final_point(trials, 2)[0] == "a"
    assert nested(trials) == {1: "b", 2: "a"}


def test_a_stopped_point_may_win_a_fold_but_is_neither_final_nor_optimistic() -> None:
    trials = [validated("stopped", 2, 0.99), validated("whole", 1, 0.3), validated("whole", 2, 0.3)]
    assert nested(trials) == {1: "whole", 2: "stopped"}
    assert final_point(trials, 2)[0] == "whole"
    curves = [by_test("stopped", 2, 1.0), by_test("whole", 1, 0.3), by_test("whole", 2, 0.3)]
    assert optimistic(curves, 2).point == "whole"


def test_a_tie_of_means_goes_to_the_lower_mean_loss_then_to_the_earlier_point() -> None:
    # The same three UAs in another order: the same mean, although their sums from left to right differ in the last bit.
    uas = (0.1, 0.2, 0.3)
    assert sum(uas) != sum(reversed(uas))

    def trials(loss_a: float, loss_b: float) -> list[Validated]:
        a = [validated("a", fold, ua, loss=loss_a) for fold, ua in enumerate(uas, start=1)]
        return a + [validated("b", fold, ua, loss=loss_b) for fold, ua in enumerate(reversed(uas), start=1)]

    assert final_point(trials(1.0, 0.5), 3)[0] == "b"
    assert final_point(trials(0.5, 1.0), 3)[0] == "a"
    assert final_point(trials(1.0, 1.0), 3)[0] == "a"
    assert final_point(trials(1.0, 1.0)[::-1], 3)[0] == "b"


@pytest.mark.parametrize(
    ("epochs", "median"), [([9, 2, 5], 5), ([8, 3], 3), ([9, 4, 2, 7], 4), ([6], 6), ([1, 1, 50, 50], 1)]
)
def test_the_final_epochs_are_the_median_and_of_two_middle_ones_the_earlier(epochs: list[int], median: int) -> None:
    own = [validated("best", fold, 0.7, epoch=epoch) for fold, epoch in enumerate(epochs, start=1)]
    others = [validated("other", fold, 0.6, epoch=77) for fold in range(1, len(epochs) + 1)]
    assert final_point(own + others, len(epochs)) == ("best", median)


# optimistic


def test_the_papers_epoch_is_the_first_best_on_the_test_fold() -> None:
    best = optimistic([by_test("a", 1, 0.5, 0.8, 0.8, 0.7), by_test("a", 2, 0.6, 0.5, 0.1)], 2)
    assert best.epochs == {1: 2, 2: 1}
    assert {fold: matrix.tolist() for fold, matrix in best.confusions.items()} == {
        1: [[16, 4], [4, 16]],
        2: [[12, 8], [8, 12]],
    }


def test_the_papers_choices_are_by_ua_not_wa() -> None:
    curve = [ALL_OF_THE_LARGE_CLASS, BOTH_CLASSES]
    best = optimistic([selection.Tested(point="a", fold=1, curve=curve)], 1)
    assert (best.epochs, best.confusions[1].tolist()) == ({1: 2}, BOTH_CLASSES)
    large = selection.Tested(point="large", fold=1, curve=[ALL_OF_THE_LARGE_CLASS])
    both = selection.Tested(point="both", fold=1, curve=[BOTH_CLASSES])
    assert optimistic([large, both], 1).point == "both"


def test_the_papers_point_is_one_for_all_folds_by_the_mean_of_their_best_epochs() -> None:
    trials = [by_test("a", 1, 0.2, 0.9), by_test("a", 2, 0.5), by_test("b", 1, 0.6), by_test("b", 2, 0.9, 0.3)]
    best = optimistic(trials, 2)
    assert (best.point, best.epochs) == ("b", {1: 1, 2: 1})


def test_every_fold_counts_the_same_for_the_papers_point() -> None:
    """A pooled UA would choose the point that is better on the large fold."""
    a = [
        selection.Tested(point="a", fold=1, curve=[[[80, 20], [20, 80]]]),
        selection.Tested(point="a", fold=2, curve=[[[1, 1], [1, 1]]]),
    ]
    b = [
        selection.Tested(point="b", fold=1, curve=[[[70, 30], [30, 70]]]),
        selection.Tested(point="b", fold=2, curve=[[[2, 0], [0, 2]]]),
    ]
    assert optimistic(a + b, 2).point == "b"


def test_of_equal_points_the_paper_takes_the_earlier() -> None:
    trials = [by_test("b", 1, 0.9), by_test("b", 2, 0.5), by_test("a", 1, 0.5), by_test("a", 2, 0.9)]
    assert optimistic(trials, 2).point == "b"
    assert optimistic(trials[::-1], 2).point == "a"


@pytest.mark.parametrize(
    "choose",
    [
        lambda: final_point([validated("a", 1, 0.7), validated("b", 2, 0.7)], 2),
        lambda: final_point([], 2),
        lambda: optimistic([by_test("a", 1, 0.7), by_test("b", 2, 0.7)], 2),
        lambda: optimistic([], 2),
    ],
)
def test_without_a_complete_point_there_is_nothing_to_choose(choose: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="no point was trained to its end on every fold"):
        choose()


# What the nested protocol may see


@dataclasses.dataclass(frozen=True)
class Trial:
    """All results of a finished trial, as stored in its folder."""

    point: str
    fold: int
    epoch: int
    score: float
    loss: float
    curve: list[list[list[int]]]

    @property
    def record(self) -> dict[str, Any]:
        """Under every name by which a test score might be read."""
        last = np.array(self.curve[-1])
        accuracy = float(np.trace(last) / max(last.sum(), 1))
        scores = {
            f"{prefix}{name}": accuracy for prefix in ("", "test_") for name in ("wa", "confusion", "predictions")
        }
        return {**scores, "test_ua": accuracy, "test_loss": -accuracy, "test_curve": self.curve, **vars(self)}


def seen(trials: Sequence[Trial]) -> list[Validated]:
    names = [field.name for field in dataclasses.fields(Validated)]
    return [Validated(**{name: trial.record[name] for name in names}) for trial in trials]


def kept_apart(trials: Sequence[Trial]) -> list[selection.Tested]:
    return [selection.Tested(point=t.point, fold=t.fold, curve=t.curve) for t in trials]


SCORES = st.sampled_from([0.25, 0.5, 0.75])
MATRICES = st.lists(st.lists(st.integers(0, 9), min_size=2, max_size=2), min_size=2, max_size=2)
CURVES = st.lists(MATRICES, min_size=1, max_size=3)
SWEEPS = st.tuples(st.integers(1, 4), st.integers(1, 3))


@st.composite
def sweeps(draw: st.DrawFn) -> list[Trial]:
    n_points, n_folds = draw(SWEEPS)
    return [
        Trial(f"p{point}", fold, draw(st.integers(1, 9)), draw(SCORES), draw(SCORES), draw(CURVES))
        for point in range(n_points)
        for fold in range(1, n_folds + 1)
    ]


@settings(max_examples=100, deadline=None)
@given(trials=sweeps(), data=st.data())
def test_no_test_score_changes_a_nested_choice_or_the_final_point(trials: list[Trial], data: st.DataObject) -> None:
    planted = [dataclasses.replace(trial, curve=data.draw(CURVES)) for trial in trials]
    n_folds = max(trial.fold for trial in trials)
    assert nested(seen(planted)) == nested(seen(trials))
    assert final_point(seen(planted), n_folds) == final_point(seen(trials), n_folds)


def test_test_scores_do_change_the_optimistic_choice() -> None:
    a, b = Trial("a", 1, 1, 0.9, 0.1, [[[1, 0], [0, 1]]]), Trial("b", 1, 1, 0.1, 0.9, [[[0, 1], [1, 0]]])
    swapped = [dataclasses.replace(a, curve=b.curve), dataclasses.replace(b, curve=a.curve)]
    assert optimistic(kept_apart([a, b]), 1).point == "a"
    assert optimistic(kept_apart(swapped), 1).point == "b"


def test_the_nested_protocols_input_has_no_test_score() -> None:
    assert {field.name for field in dataclasses.fields(Validated)} == {"point", "fold", "epoch", "score", "loss"}
    with pytest.raises((AttributeError, TypeError)):
        object.__setattr__(validated("a", 1, 0.5), "test_ua", 0.5)


@settings(max_examples=100, deadline=None)
@given(trials=sweeps())
def test_nested_takes_the_best_rival_of_each_fold(trials: list[Trial]) -> None:
    """By sorting: best first, with points already in order."""
    for fold, point in nested(seen(trials)).items():
        rivals = [trial for trial in trials if trial.fold == fold]
        assert point == sorted(rivals, key=lambda t: (-t.score, t.loss))[0].point
