"""Cross-entropy of the objective: a sum over any number of rows, including none."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from raysys.losses.objective import balanced_class_weights, cross_entropy_sum, logit_shift


def in_float64(
    logits_BC: np.ndarray, targets_BC: np.ndarray, weights_C: np.ndarray, *, focal: float, smoothing: float
) -> float:
    """The docstring's formula, term by term."""
    total = 0.0
    for logits_C, targets_C in zip(logits_BC, targets_BC, strict=True):
        shares_C = np.exp(logits_C - logits_C.max()) / np.exp(logits_C - logits_C.max()).sum()
        for share, target, weight in zip(shares_C, targets_C, weights_C, strict=True):
            aimed = (1 - smoothing) * target + smoothing / len(targets_C)
            total -= aimed * weight * (1 - share) ** focal * math.log(share)
    return total


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


def test_focal_loss_by_hand() -> None:
    """Predicted with 1/4 it keeps (3/4)^2 of its cross-entropy, with 3/4 only (1/4)^2."""
    logits_BC = torch.log(torch.tensor([[1.0, 3.0], [1.0, 3.0]]))
    loss = cross_entropy_sum(logits_BC, torch.tensor([0, 1]), label_smoothing=0.0, focal=2.0)
    assert loss.item() == pytest.approx(9 / 16 * math.log(4) + 1 / 16 * math.log(4 / 3), abs=1e-6)


@pytest.mark.parametrize("focal", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_soft_targets_focus_smoothing_and_weights_agree_with_numpy(focal: float, soft: bool, smoothing: float) -> None:
    draw = np.random.default_rng(0)
    logits_BC, labels_B = draw.normal(0, 3, (7, 4)), draw.integers(0, 4, 7)
    targets_BC = draw.dirichlet(np.ones(4), 7) if soft else np.eye(4)[labels_B]
    weights_C = np.array([0.5, 1.0, 2.0, 4.0])
    loss = cross_entropy_sum(
        torch.tensor(logits_BC, dtype=torch.float32),
        torch.tensor(labels_B),
        label_smoothing=smoothing,
        class_weights_C=torch.tensor(weights_C, dtype=torch.float32),
        targets_BC=torch.tensor(targets_BC, dtype=torch.float32) if soft else None,
        focal=focal,
    )
    assert loss.item() == pytest.approx(
        in_float64(logits_BC, targets_BC, weights_C, focal=focal, smoothing=smoothing), rel=1e-5
    )


def test_a_target_that_is_one_class_is_its_label() -> None:
    logits_BC, labels_B = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0])
    for focal in (0.0, 1.0):
        hard = cross_entropy_sum(logits_BC, labels_B, label_smoothing=0.1, focal=focal)
        soft = cross_entropy_sum(
            logits_BC, labels_B, label_smoothing=0.1, focal=focal, targets_BC=torch.eye(3)[labels_B]
        )
        torch.testing.assert_close(soft, hard)


def test_soft_cross_entropy_is_least_at_the_votes() -> None:
    """Its excess over the votes' entropy is their KL divergence: so it is at its minimum where predictions are them."""
    votes_BC = torch.tensor([[0.7, 0.2, 0.1]])
    logits_BC = votes_BC.log().requires_grad_()
    loss = cross_entropy_sum(logits_BC, torch.tensor([0]), label_smoothing=0.0, targets_BC=votes_BC)
    loss.backward()
    assert loss.item() == pytest.approx(-sum(q * math.log(q) for q in (0.7, 0.2, 0.1)), abs=1e-6)
    assert logits_BC.grad is not None
    torch.testing.assert_close(logits_BC.grad, torch.zeros(1, 3), atol=1e-6, rtol=0)


@pytest.mark.parametrize("focal", [0.5, 2.0])
def test_focal_loss_has_a_finite_gradient_where_a_prediction_is_certain(focal: float) -> None:
    logits_BC = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    loss = cross_entropy_sum(logits_BC, torch.tensor([0, 0]), label_smoothing=0.0, focal=focal)
    loss.backward()
    assert loss.item() == pytest.approx(200.0)
    assert logits_BC.grad is not None and logits_BC.grad.isfinite().all()
    empty_BC = torch.zeros(0, 2, requires_grad=True)
    assert cross_entropy_sum(empty_BC, torch.zeros(0, dtype=torch.long), label_smoothing=0.1, focal=focal).item() == 0


def test_logit_adjustment_by_hand() -> None:
    """Counts 1 and 3 are priors 1/4 and 3/4: with equal logits, the adjusted shares are these."""
    assert logit_shift([1, 3], 1.0) == pytest.approx([math.log(1 / 4), math.log(3 / 4)])
    assert logit_shift([1, 3], 0.5) == pytest.approx([math.log(1 / 4) / 2, math.log(3 / 4) / 2])
    loss = cross_entropy_sum(
        torch.zeros(2, 2), torch.tensor([0, 1]), label_smoothing=0.0, shift_C=torch.tensor(logit_shift([1, 3], 1.0))
    )
    assert loss.item() == pytest.approx(math.log(4) + math.log(4 / 3))


def test_adjusted_logits_that_fit_the_training_part_favour_no_class() -> None:
    """Without other information the adjusted loss is least at equal logits, plain cross-entropy at the frequencies."""
    labels_B = torch.tensor([0, 1, 1, 1])
    shift_C = torch.tensor(logit_shift([1, 3], 1.0))
    for shift, best_C in ((shift_C, torch.zeros(2)), (None, torch.log(torch.tensor([0.25, 0.75])))):
        logits_C = best_C.clone().requires_grad_()
        cross_entropy_sum(logits_C.expand(4, 2), labels_B, label_smoothing=0.0, shift_C=shift).backward()
        assert logits_C.grad is not None
        torch.testing.assert_close(logits_C.grad, torch.zeros(2), atol=1e-6, rtol=0)
