"""Cross-entropy term of the training objective."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy_sum(
    logits_BC: Tensor, labels_B: Tensor, *, label_smoothing: float, class_weights_C: Tensor | None = None
) -> Tensor:
    """Cross-entropy of equation 2, summed over the rows.

        sum_i -[(1 - s) w(label_i) log y_i(label_i) + s / C sum_c w(c) log y_i(c)],   y_i = softmax(logits_i).

    A sum, because the mean is over the rows of all workers and all accumulated passes of a step:
    the caller scales by workers / global weight. Always float32, regardless of autocast.

    Args:
        logits_BC: scores before the softmax, B rows (0 allowed: the sum is 0, with a gradient).
        labels_B: class of each row, int64.
        label_smoothing: s, 0 <= s < 1.
        class_weights_C: w; None: all 1.
    """
    with torch.autocast(device_type=logits_BC.device.type, enabled=False):
        return F.cross_entropy(
            logits_BC.float(), labels_B, weight=class_weights_C, reduction="sum", label_smoothing=label_smoothing
        )


def balanced_class_weights(counts: Sequence[int]) -> tuple[float, ...]:
    """w(c) = N / (C n_c): every class has the same total weight, and the mean weight of an utterance is 1.

    Args:
        counts: n_c, training utterances of each class, at least 1.
    """
    return tuple(sum(counts) / (len(counts) * count) for count in counts)
