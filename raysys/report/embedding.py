"""t-SNE of final features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

FEWEST = 10
"""Minimum number of points; fewer have no neighbourhoods to show."""


def embed(values_NF: NDArray[np.float32]) -> NDArray[np.float32]:
    """t-SNE (van der Maaten and Hinton 2008) to 2D, initialised with principal components.

    Deterministic. Distances between distant clusters and cluster sizes mean nothing.

    Args:
        values_NF: N >= `FEWEST` rows.

    Returns: N x 2.
    """
    perplexity = min(30.0, (len(values_NF) - 1) / 3)
    # One thread: another summation order gives another picture, and on busy cores threads wait for each other.
    with threadpool_limits(limits=1):
        tsne = TSNE(n_components=2, init="pca", perplexity=perplexity, random_state=0)
        embedded: NDArray[np.float32] = tsne.fit_transform(values_NF)
    return embedded
