"""Scores by hand, against scikit-learn, and the bootstrap against plain resampling."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

from raysys.metrics import (
    Metric,
    absent_classes,
    bootstrap_interval,
    calibration_error,
    confusion,
    macro_f1,
    paired_difference,
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
    with pytest.raises(ValueError, match="expected equal numbers"):
        bootstrap_interval([0, 1], [0, 1], ["a"], [0, 0], "wa")
    columns = r"labels, predictions_a, predictions_b, speakers, folds have \[2, 2, 3, 2, 2\] values"
    with pytest.raises(ValueError, match=columns):
        paired_difference([0, 1], [0, 1], [[0, 1, 1], [0, 0, 0]], ["a", "b"], [0, 0], "wa")
    with pytest.raises(ValueError, match=r"\[0, 0, 0, 0, 0\] values"):
        paired_difference([], [], [], [], [], "wa")


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


def corpus(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """24 speakers in 6 folds, 60 utterances each of 8 classes, as RAVDESS; some are easier."""
    rng = np.random.default_rng(seed)
    speaker_N = np.repeat(np.arange(24), 60)
    label_N = rng.integers(8, size=len(speaker_N))
    right_N = rng.random(len(speaker_N)) < rng.uniform(0.3, 0.9, size=24)[speaker_N]
    predicted_N = np.where(right_N, label_N, rng.integers(8, size=len(speaker_N)))
    return label_N, predicted_N, speaker_N, speaker_N // 4


def interval_by_loops(columns: tuple[np.ndarray, ...], metric: Metric, n: int) -> tuple[float, float]:
    label_N, predicted_N, speaker_N, fold_N = columns
    rng = np.random.default_rng(1)
    scores = []
    for _ in range(n):
        rows: list[int] = []
        for fold in np.unique(fold_N):
            speakers = np.unique(speaker_N[fold_N == fold])
            for speaker in rng.choice(speakers, size=len(speakers)):
                rows += np.flatnonzero((speaker_N == speaker) & (fold_N == fold)).tolist()
        scores.append(float(score(confusion(label_N[rows], predicted_N[rows], 8), metric)))
    low, high = np.percentile(scores, [2.5, 97.5])
    return float(low), float(high)


@pytest.mark.parametrize("metric", ["wa", "ua", "macro_f1"])
def test_interval_agrees_with_plain_resampling(metric: Metric) -> None:
    columns = corpus()
    found = bootstrap_interval(*columns, metric, n=4000)
    assert found == pytest.approx(interval_by_loops(columns, metric, 1000), abs=0.01)
    assert found[0] < weighted_accuracy(columns[0], columns[1]) < found[1] or metric != "wa"


def test_interval_is_wider_than_one_that_treats_utterances_as_independent() -> None:
    label_N, predicted_N, speaker_N, fold_N = corpus()
    low, high = bootstrap_interval(label_N, predicted_N, speaker_N, fold_N, "wa")
    each_alone = np.arange(len(label_N))
    naive_low, naive_high = bootstrap_interval(label_N, predicted_N, each_alone, fold_N, "wa")
    assert high - low > 1.3 * (naive_high - naive_low)


def test_interval_repeats_with_its_seed_and_is_fast() -> None:
    columns = corpus()
    started = time.process_time()
    first = bootstrap_interval(*columns, "ua", seed=3)
    assert time.process_time() - started < 1.0
    assert bootstrap_interval(*columns, "ua", seed=3) == first
    assert bootstrap_interval(*columns, "ua", seed=4) != first


def test_speakers_are_drawn_within_their_fold() -> None:
    # Fold a is all right, fold b all wrong: equal speakers within folds leave nothing to vary.
    labels, predictions = [0] * 8, [0] * 4 + [1] * 4
    speakers, folds = list("ppqqrrss"), list("aaaabbbb")
    assert bootstrap_interval(labels, predictions, speakers, folds, "wa") == (0.5, 0.5)


def test_folds_of_one_speaker_are_resampled_together() -> None:
    # Leave one speaker out: within its fold, a speaker could only be replaced by itself.
    labels, predictions = [0] * 8, [0] * 4 + [1] * 4
    speakers = list("ppqqrrss")
    low, high = bootstrap_interval(labels, predictions, speakers, speakers, "wa")
    assert (low, high) == (0.0, 1.0)
    alone = bootstrap_interval([0, 1], [0, 0], ["p", "p"], [1, 1], "ua")
    assert alone == (0.5, 0.5)


def test_draws_without_a_class_average_over_those_present() -> None:
    # Only one speaker has class 1: UA of a draw without it is the recall of class 0.
    labels, predictions, speakers = [0, 0, 1], [0, 0, 0], ["p", "p", "q"]
    assert bootstrap_interval(labels, predictions, speakers, [0, 0, 0], "ua") == (0.0, 1.0)


def another(predicted_N: np.ndarray, label_N: np.ndarray, share: float, seed: int = 5) -> np.ndarray:
    """Predictions that are right where the given ones are, and some of the rest: a correlated, better system."""
    mended_N = np.random.default_rng(seed).random(len(label_N)) < share
    return np.where(mended_N, label_N, predicted_N)


@pytest.mark.parametrize("metric", ["wa", "ua", "macro_f1"])
def test_a_system_does_not_differ_from_itself(metric: Metric) -> None:
    label_N, predicted_N, speaker_N, fold_N = corpus()
    assert paired_difference(label_N, predicted_N, predicted_N, speaker_N, fold_N, metric) == (0.0, 0.0, 0.0)


def test_difference_by_hand() -> None:
    # One fold. Of speaker p (two utterances), b gets one more right than a; of q (two), one fewer; of r (four), two
    # more. Draws of three speakers whose own gains are 1/2, -1/2, 1/2 an utterance.
    labels = [0, 1, 0, 1, 0, 0, 1, 1]
    a = [0, 0, 0, 1, 0, 1, 1, 0]
    b = [0, 1, 0, 0, 0, 0, 1, 1]
    speakers, folds = list("ppqqrrrr"), [1] * 8
    # WA: 5 of 8 to 7 of 8. UA: recalls 3/4 and 2/4 to 4/4 and 3/4.
    assert paired_difference(labels, a, b, speakers, folds, "wa") == pytest.approx((2 / 8, -1 / 2, 1 / 2))
    assert paired_difference(labels, a, b, speakers, folds, "ua")[0] == pytest.approx(7 / 8 - 5 / 8)
    # The other way round, the signs and the ends change.
    assert paired_difference(labels, b, a, speakers, folds, "wa") == pytest.approx((-2 / 8, -1 / 2, 1 / 2))


@pytest.mark.parametrize("metric", ["wa", "ua", "macro_f1"])
def test_difference_agrees_with_every_possible_draw_one_by_one(metric: Metric) -> None:
    """Two folds of two speakers: four draws each, equally likely; two seeds of a, three of b."""
    rng = np.random.default_rng(2)
    speaker_N = np.repeat(np.arange(4), [7, 9, 11, 8])
    fold_N, label_N = speaker_N // 2, rng.integers(3, size=35)
    a_SN, b_SN = (np.where(rng.random((s, 35)) < 0.5, label_N, rng.integers(3, size=(s, 35))) for s in (2, 3))

    def mean_score(predicted_SN: np.ndarray, rows: list[int]) -> float:
        return float(np.mean([score(confusion(label_N[rows], row_N[rows], 3), metric) for row_N in predicted_SN]))

    def difference(speakers: tuple[int, ...]) -> float:
        rows = [int(row) for speaker in speakers for row in np.flatnonzero(speaker_N == speaker)]
        return mean_score(b_SN, rows) - mean_score(a_SN, rows)

    every = sorted(difference(draw) for draw in itertools.product((0, 1), (0, 1), (2, 3), (2, 3)))
    found = paired_difference(label_N, a_SN, b_SN, speaker_N, fold_N, metric, n=20_000, level=0.8125)
    # A tail of 3/32 falls into the middle of the second of the sixteen draws, in order, from either end.
    assert found == pytest.approx((difference((0, 1, 2, 3)), every[1], every[-2]))


def test_pairing_cancels_speaker_difficulty() -> None:
    label_N, predicted_N, speaker_N, fold_N = corpus()
    better_N = another(predicted_N, label_N, share=0.1)
    gain, low, high = paired_difference(label_N, predicted_N, better_N, speaker_N, fold_N, "ua")
    ends = [bootstrap_interval(label_N, p, speaker_N, fold_N, "ua") for p in (predicted_N, better_N)]
    independent = sum((end[1] - end[0]) ** 2 for end in ends) ** 0.5
    assert 0 < low < gain < high
    assert high - low < 0.5 * independent


def test_copies_of_a_seed_are_one_seed_and_seeds_are_averaged() -> None:
    label_N, predicted_N, speaker_N, fold_N = corpus()
    seeds_SN = np.stack([another(predicted_N, label_N, share=0.1, seed=seed) for seed in range(3)])
    columns = (speaker_N, fold_N)
    once = paired_difference(label_N, predicted_N, seeds_SN[0], *columns, "ua")
    copies_SN = np.repeat(seeds_SN[:1], 3, axis=0)
    assert paired_difference(label_N, predicted_N, copies_SN, *columns, "ua") == pytest.approx(once)
    alone = [paired_difference(label_N, predicted_N, row_N, *columns, "ua")[0] for row_N in seeds_SN]
    mean = paired_difference(label_N, predicted_N, seeds_SN, *columns, "ua")[0]
    assert mean == pytest.approx(np.mean(alone))
    assert len({round(value, 6) for value in alone}) == 3


def test_difference_repeats_with_its_seed_and_widens_with_its_level() -> None:
    label_N, predicted_N, speaker_N, fold_N = corpus()
    columns = (label_N, predicted_N, another(predicted_N, label_N, share=0.1), speaker_N, fold_N)
    first = paired_difference(*columns, "wa", seed=3)
    assert paired_difference(*columns, "wa", seed=3) == first
    assert paired_difference(*columns, "wa", seed=4) != first
    wider = paired_difference(*columns, "wa", seed=3, level=0.99)
    assert wider[0] == first[0] and wider[1] < first[1] and wider[2] > first[2]
