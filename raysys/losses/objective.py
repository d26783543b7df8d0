"""Cross-entropy term of the training objective."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

_LEAST = 1e-8


def cross_entropy_sum(
    logits_BC: Tensor,
    labels_B: Tensor,
    *,
    label_smoothing: float,
    class_weights_C: Tensor | None = None,
    targets_BC: Tensor | None = None,
    shift_C: Tensor | None = None,
    focal: float = 0.0,
) -> Tensor:
    """Cross-entropy of equation 2, or the focal loss, summed over the rows.

        sum_i sum_c -q_i(c) w(c) (1 - y_i(c))^f log y_i(c),   y_i = softmax(logits_i + shift),
        q_i(c) = (1 - s) t_i(c) + s / C,

    t_i the targets: 1 for the label and 0 otherwise, unless they are given. f = 0 is cross-entropy.

    A sum, because the mean is over the rows of all workers and all accumulated passes of a step:
    the caller scales by workers / global weight. Always float32, regardless of autocast.

    Args:
        logits_BC: scores before the softmax, B rows (0 allowed: the sum is 0, with a gradient).
        labels_B: class of each row, int64.
        label_smoothing: s, 0 <= s < 1.
        class_weights_C: w; None: all 1.
        targets_BC: t, rows that sum to 1, float32: annotators' votes, or the two labels of a mixed row.
        shift_C: added to the logits, see `logit_shift`; None: nothing.
        focal: f, 0 or more.

    Source: of the focal loss Lin et al., "Focal loss for dense object detection", 2017, equation 4, here for a softmax
    and for soft targets.
    """
    with torch.autocast(device_type=logits_BC.device.type, enabled=False):
        scores_BC = logits_BC.float() if shift_C is None else logits_BC.float() + shift_C
        if focal > 0:
            if targets_BC is None:
                targets_BC = F.one_hot(labels_B, scores_BC.shape[1]).float()
            targets_BC = (1 - label_smoothing) * targets_BC + label_smoothing / scores_BC.shape[1]
            return _focal_sum(scores_BC, targets_BC, class_weights_C, focal)
        return F.cross_entropy(
            scores_BC,
            labels_B if targets_BC is None else targets_BC,
            weight=class_weights_C,
            reduction="sum",
            label_smoothing=label_smoothing,
        )


def _focal_sum(scores_BC: Tensor, targets_BC: Tensor, class_weights_C: Tensor | None, focal: float) -> Tensor:
    log_share_BC = F.log_softmax(scores_BC, dim=-1)
    # Where a prediction is certain the base is 0, of which a power below 1 has no finite gradient.
    missing_BC = (1 - log_share_BC.exp()).clamp(min=_LEAST)
    loss_BC = -targets_BC * missing_BC**focal * log_share_BC
    return (loss_BC if class_weights_C is None else loss_BC * class_weights_C).sum()


def logit_shift(counts: Sequence[float], strength: float) -> tuple[float, ...]:
    """strength x log(n_c / N), which logit adjustment adds to the logits in training alone.

    The softmax of the unshifted logits then is that of a corpus whose classes are equally frequent (strength 1).

    Args:
        counts: n_c, training utterances of each class, above 0; those with soft labels count in parts.
        strength: tau.

    Source: Menon et al., "Long-tail learning via logit adjustment", 2021, equation 10.
    """
    return tuple(strength * math.log(count / sum(counts)) for count in counts)


def balanced_class_weights(counts: Sequence[float]) -> tuple[float, ...]:
    """w(c) = N / (C n_c): every class has the same total weight, and the mean weight of an utterance is 1.

    Args:
        counts: n_c, training utterances of each class, above 0; those with soft labels count in parts.
    """
    return tuple(sum(counts) / (len(counts) * count) for count in counts)
