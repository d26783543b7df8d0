"""Temperature scaling: known temperatures, grids in plain loops, and what it must not change."""

from __future__ import annotations

import math

import numpy as np
import pytest

from raysys.calibration import at_temperature, fit_temperature
from raysys.metrics import calibration_error


def softmax(logits_NC: np.ndarray) -> np.ndarray:
    raised = np.exp(logits_NC - logits_NC.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def drawn(n: int, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from their softmax: they are calibrated at a temperature of 1."""
    rng = np.random.default_rng(0)
    logits_NC = 2 * rng.standard_normal((n, n_classes))
    return logits_NC, np.array([rng.choice(n_classes, p=row) for row in softmax(logits_NC)])


@pytest.mark.parametrize("temperature", [0.25, 1.0, 3.0])
def test_probabilities_are_those_of_the_logits_divided_by_it(temperature: float) -> None:
    logits_NC = np.random.default_rng(1).standard_normal((7, 4))
    np.testing.assert_allclose(at_temperature(softmax(logits_NC), temperature), softmax(logits_NC / temperature))


def test_two_classes_by_hand() -> None:
    # Odds of 9 at T = 2 are odds of 3.
    np.testing.assert_allclose(at_temperature([[0.9, 0.1]], 2.0), [[0.75, 0.25]])


def test_certainty_stays_finite() -> None:
    found = at_temperature(np.array([[1.0, 0.0, 0.0]], np.float32), 5.0)
    assert np.isfinite(found).all() and found.argmax() == 0 and found.sum() == pytest.approx(1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_spoiled_calibrated_probabilities_is_found(temperature: float) -> None:
    logits_NC, labels_N = drawn(20_000, 4)
    spoiled_NC = softmax(logits_NC * temperature)
    found = fit_temperature(spoiled_NC, labels_N)
    assert found == pytest.approx(temperature, rel=0.03)
    assert calibration_error(at_temperature(spoiled_NC, found), labels_N) < 0.012


def test_it_has_the_lowest_loss_of_a_fine_grid() -> None:
    logits_NC, labels_N = drawn(60, 3)
    known_NC = softmax(1.7 * logits_NC)

    def loss(temperature: float) -> float:
        rows = zip(known_NC, labels_N, strict=True)
        total = 0.0
        for row, label in rows:
            raised = [p ** (1 / temperature) for p in row]
            total -= math.log(raised[label] / sum(raised))
        return total

    best = min(np.geomspace(0.25, 4, 6_000), key=loss)
    assert fit_temperature(known_NC, labels_N) == pytest.approx(best, rel=2e-3)


def test_labels_that_are_all_right_or_all_wrong_give_the_limits() -> None:
    known_NC = [[0.9, 0.1], [0.2, 0.8]]
    assert fit_temperature(known_NC, [0, 1]) == pytest.approx(0.25, rel=0.01)
    assert fit_temperature(known_NC, [1, 0]) == pytest.approx(4, rel=0.01)
