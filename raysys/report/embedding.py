"""t-SNE of final features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

FEWEST = 10
"""Fewer points have no neighbourhoods to show."""


def embed(values_NF: NDArray[np.float32]) -> NDArray[np.float32]:
    """t-SNE (van der Maaten and Hinton 2008) to the plane, from a start by principal components.

    The same features give the same picture. Distances between far groups and sizes of groups mean nothing.

    Args:
        values_NF: N >= `FEWEST` rows.

    Returns: N x 2.
    """
    perplexity = min(30.0, (len(values_NF) - 1) / 3)
    # One thread: sums in another order give another picture, and on busy cores many threads wait for each other.
    with threadpool_limits(limits=1):
        tsne = TSNE(n_components=2, init="pca", perplexity=perplexity, random_state=0)
        embedded: NDArray[np.float32] = tsne.fit_transform(values_NF)
    return embedded
