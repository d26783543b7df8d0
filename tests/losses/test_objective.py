"""Cross-entropy of the objective: a sum over any number of rows, including none."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from raysys.losses.objective import balanced_class_weights, cross_entropy_sum


def test_by_hand() -> None:
    # softmax(log 1, log 3) = (1/4, 3/4); with smoothing 0.2 the label has weight 0.9, the other class 0.1.
    logits_BC = torch.log(torch.tensor([[1.0, 3.0], [1.0, 3.0]]))
    labels_B = torch.tensor([0, 1])
    loss = cross_entropy_sum(logits_BC, labels_B, label_smoothing=0.0)
    assert loss.item() == pytest.approx(math.log(4) + math.log(4 / 3), abs=1e-6)
    smooth = cross_entropy_sum(logits_BC[:1], labels_B[:1], label_smoothing=0.2)
    assert smooth.item() == pytest.approx(0.9 * math.log(4) + 0.1 * math.log(4 / 3), abs=1e-6)


def test_no_rows_give_zero_with_a_gradient() -> None:
    logits_BC = torch.zeros(0, 4, requires_grad=True)
    loss = cross_entropy_sum(logits_BC, torch.zeros(0, dtype=torch.long), label_smoothing=0.1)
    loss.backward()
    assert loss.item() == 0.0
    assert logits_BC.grad is not None


def test_huge_and_half_precision_logits_give_a_finite_float32() -> None:
    logits_BC = torch.tensor([[1e4, -1e4]], dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = cross_entropy_sum(logits_BC, torch.tensor([1]), label_smoothing=0.0)
    assert loss.dtype == torch.float32 and loss.isfinite()


def test_balanced_class_weights_by_hand_and_as_scikit_learn_has_them() -> None:
    assert balanced_class_weights([1, 3]) == (2.0, 2 / 3)
    labels = [0] * 5 + [1] * 2 + [2] * 9
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert balanced_class_weights([5, 2, 9]) == pytest.approx(expected.tolist())


def test_class_weights_are_those_of_torch() -> None:
    logits_BC, labels_B = torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    weights_C = torch.tensor([0.5, 1.0, 4.0])
    found = cross_entropy_sum(logits_BC, labels_B, label_smoothing=0.1, class_weights_C=weights_C)
    mean = torch.nn.functional.cross_entropy(logits_BC, labels_B, weight=weights_C, label_smoothing=0.1)
    torch.testing.assert_close(found / weights_C[labels_B].sum(), mean)
