"""Cross-entropy of the objective: a sum that may be over no rows."""

from __future__ import annotations

import math

import pytest
import torch

from raysys.losses.objective import cross_entropy_sum


def test_by_hand() -> None:
    # softmax(log 1, log 3) = (1/4, 3/4); smoothed by 0.2, a label weighs 0.9, the other 0.1.
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
