"""Temperature scaling: probabilities that mean what they say (Guo et al. 2017, section 4.2)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

_HIGHEST = 4.0
"""Temperatures are sought between its inverse and it: of a few utterances that are all right, the best would be 0."""
_SMALLEST = 1e-12
_GOLDEN = (math.sqrt(5) - 1) / 2
_TOLERANCE = 1e-4
"""Of the logarithm of a temperature."""


def at_temperature(probabilities_NC: ArrayLike, temperature: float) -> NDArray[np.float64]:
    """Probabilities of the logits divided by T, from those of the logits: p^(1/T), scaled to a sum of 1.

    The most probable class stays the same; above 1 its probability falls, below 1 it rises.

    Args:
        probabilities_NC: rows that sum to 1.
        temperature: T > 0.
    """
    scaled_NC = np.log(np.clip(np.asarray(probabilities_NC, dtype=np.float64), _SMALLEST, None)) / temperature
    raised_NC: NDArray[np.float64] = np.exp(scaled_NC - scaled_NC.max(axis=1, keepdims=True))
    raised_NC /= raised_NC.sum(axis=1, keepdims=True)
    return raised_NC


def fit_temperature(probabilities_NC: ArrayLike, labels_N: ArrayLike) -> float:
    """The temperature with the lowest mean negative log-likelihood of the labels, between 0.25 and 4.

    Args:
        probabilities_NC: of utterances that the model has not learned from, N > 0.
        labels_N: their classes.
    """
    known_NC = np.asarray(probabilities_NC, dtype=np.float64)
    rows_N, label_N = np.arange(len(known_NC)), np.asarray(labels_N)

    def loss(log_temperature: float) -> float:
        chosen_N = at_temperature(known_NC, math.exp(log_temperature))[rows_N, label_N]
        return float(-np.log(chosen_N.clip(_SMALLEST)).mean())

    # Golden section search (SciPy takes half a second to import): in 1 / T the loss is convex, so it has one minimum.
    low, high = -math.log(_HIGHEST), math.log(_HIGHEST)
    while high - low > _TOLERANCE:
        first, second = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        low, high = (low, second) if loss(first) <= loss(second) else (first, high)
    return math.exp((low + high) / 2)
