"""Scores by hand, and against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

from raysys.metrics import (
    absent_classes,
    calibration_error,
    confusion,
    js_divergence,
    kl_divergence,
    macro_f1,
    score,
    unweighted_accuracy,
    weighted_accuracy,
)

# Three of four class-0 utterances right, one of two of class 1; class 2 is predicted and absent.
LABELS = [0, 0, 0, 0, 1, 1]
PREDICTIONS = [0, 0, 0, 1, 1, 2]


def test_scores_by_hand() -> None:
    assert confusion(LABELS, PREDICTIONS, 4).tolist() == [[3, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert weighted_accuracy(LABELS, PREDICTIONS) == pytest.approx(4 / 6)
    assert unweighted_accuracy(LABELS, PREDICTIONS) == pytest.approx((3 / 4 + 1 / 2) / 2)
    # F1: 6/7 of class 0, 2/4 of class 1, 0 of class 2; class 3 does not occur and does not count.
    assert macro_f1(LABELS, PREDICTIONS) == pytest.approx((6 / 7 + 1 / 2 + 0) / 3)
    assert absent_classes(LABELS, ("ang", "hap", "neu", "sad")) == ("neu", "sad")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60))
def test_scores_agree_with_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    labels, predictions = np.array(pairs).T
    expected = confusion_matrix(labels, predictions, labels=range(5))
    assert np.array_equal(confusion(labels, predictions, 5), expected)
    assert weighted_accuracy(labels, predictions) == pytest.approx(accuracy_score(labels, predictions))
    # scikit-learn's balanced accuracy, too, is over the classes among the labels.
    recall = recall_score(labels, predictions, labels=np.unique(labels), average="macro")
    assert unweighted_accuracy(labels, predictions) == pytest.approx(recall)
    assert macro_f1(labels, predictions) == pytest.approx(f1_score(labels, predictions, average="macro"))


def test_a_stack_of_confusions_is_scored_one_by_one() -> None:
    stack = np.random.default_rng(0).integers(0, 3, size=(20, 4, 4))
    stack[0], stack[1, 2] = 0, 0
    for metric in ("wa", "ua", "macro_f1"):
        one_by_one = [float(score(matrix, metric)) for matrix in stack]
        np.testing.assert_array_equal(score(stack, metric), one_by_one)


def test_nothing_scored_is_nan_without_a_warning() -> None:
    scores = [weighted_accuracy([], []), unweighted_accuracy([], []), macro_f1([], [])]
    assert np.isnan(scores).all()
    assert np.isnan(calibration_error(np.zeros((0, 4)), []))


def test_mistaken_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="2 labels, but 1 predictions"):
        confusion([0, 1], [0], 2)
    with pytest.raises(ValueError, match="predictions contain classes from 0 to 2; expected 0 to 1"):
        confusion([0, 1], [0, 2], 2)


def test_calibration_by_hand() -> None:
    # Two bins of width 1/2. At most 1/2: confidence 0.5, right (a value on an edge is the lower
    # bin's). Above: confidences 0.8 and 0.6, one of two right.
    # ECE = 1/3 |1 - 0.5| + 2/3 |0.5 - 0.7|.
    probabilities = [[0.5, 0.3, 0.2], [0.8, 0.1, 0.1], [0.2, 0.6, 0.2]]
    assert calibration_error(probabilities, [0, 0, 2], bins=2) == pytest.approx(0.3)


def test_calibration_of_a_calibrated_and_of_an_overconfident_model() -> None:
    rng = np.random.default_rng(0)
    probability_NC = rng.dirichlet(np.ones(4), size=20_000)
    label_N = (probability_NC.cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1)
    assert calibration_error(probability_NC, label_N) < 0.02
    certain = np.eye(4)[np.zeros(100, dtype=int)]
    assert calibration_error(certain, np.arange(100) % 4) == pytest.approx(0.75)


def test_divergences_by_hand() -> None:
    """Half and half from (1/4, 3/4): log(2) / 2 + log(2/3) / 2 = 0.1438. A class that nobody chose adds nothing."""
    votes_NC, predicted_NC = [[0.5, 0.5], [1.0, 0.0]], [[0.25, 0.75], [0.25, 0.75]]
    expected = [math.log(2) / 2 + math.log(2 / 3) / 2, math.log(4)]
    np.testing.assert_allclose(kl_divergence(votes_NC, predicted_NC), expected)
    # Of (1, 0) and (1/4, 3/4) the middle is (5/8, 3/8).
    js = (math.log(8 / 5) + math.log(2 / 5) / 4 + 3 / 4 * math.log(2)) / 2
    assert js_divergence(votes_NC, predicted_NC)[1] == pytest.approx(js)


def test_divergences_agree_with_scipy() -> None:
    draw = np.random.default_rng(0)
    votes_NC, predicted_NC = draw.dirichlet(np.ones(4), 50), draw.dirichlet(np.ones(4), 50)
    votes_NC[:10] = np.eye(4)[draw.integers(0, 4, 10)]
    np.testing.assert_allclose(kl_divergence(votes_NC, predicted_NC), entropy(votes_NC, predicted_NC, axis=1))
    # scipy's is the square root.
    js = jensenshannon(votes_NC, predicted_NC, axis=1) ** 2
    np.testing.assert_allclose(js_divergence(votes_NC, predicted_NC), js)
    np.testing.assert_allclose(js_divergence(predicted_NC, votes_NC), js)


def test_divergences_are_0_in_agreement_and_finite_at_worst() -> None:
    same, apart = [[0.2, 0.8], [1.0, 0.0]], ([[1.0, 0.0]], [[0.0, 1.0]])
    assert kl_divergence(same, same).tolist() == js_divergence(same, same).tolist() == [0.0, 0.0]
    assert kl_divergence(*apart)[0] == pytest.approx(-math.log(1e-12))
    assert js_divergence(*apart)[0] == pytest.approx(math.log(2))
