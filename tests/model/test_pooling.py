"""mp(.): values by hand, and padding is ignored."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from raysys.model.pooling import Pooling, masked_max, masked_mean

torch.set_num_threads(1)

Kind = Literal["max", "attention", "mean", "statistics"]

SEQUENCE_BTD = torch.tensor([[[-1.0, 4.0], [-3.0, 2.0], [9.0, 9.0]], [[1.0, 0.0]] * 3])
VALID_BT = torch.tensor([[True, True, False], [True, True, True]])


def test_values_by_hand() -> None:
    """All valid values of a channel may be negative: zero padding would win."""
    assert masked_max(SEQUENCE_BTD, VALID_BT).tolist() == [[-1.0, 4.0], [1.0, 0.0]]
    assert masked_mean(SEQUENCE_BTD, VALID_BT).tolist() == [[-2.0, 3.0], [1.0, 0.0]]


def test_attention_is_a_softmax_of_the_score() -> None:
    pooling = Pooling("attention", 2)
    assert pooling.score is not None
    with torch.no_grad():
        pooling.score.weight.copy_(torch.tensor([[0.5, 0.0]]))
    # Scores -0.5 and -1.5: weights e / (e + 1) and 1 / (e + 1).
    first = torch.tensor(1.0).exp() / (torch.tensor(1.0).exp() + 1)
    expected_D = first * SEQUENCE_BTD[0, 0] + (1 - first) * SEQUENCE_BTD[0, 1]
    torch.testing.assert_close(pooling(SEQUENCE_BTD, VALID_BT)[0], expected_D)


def test_statistics_are_attentive_mean_and_deviation_and_plain_mean() -> None:
    pooling = Pooling("statistics", 2)
    assert pooling.score is not None and pooling.project is not None
    with torch.no_grad():
        pooling.score.weight.copy_(torch.tensor([[0.5, 0.0]]))
        pooling.project.bias.zero_()
        found = []
        for part in range(3):
            pooling.project.weight.zero_()[:, 2 * part : 2 * part + 2] = torch.eye(2)
            found.append(pooling(SEQUENCE_BTD, VALID_BT)[0])
    # Scores -0.5 and -1.5, as above; the deviation of two values of weights w and 1 - w is their distance x
    # sqrt(w (1 - w)).
    w = torch.tensor(1.0).exp() / (torch.tensor(1.0).exp() + 1)
    torch.testing.assert_close(found[0], w * SEQUENCE_BTD[0, 0] + (1 - w) * SEQUENCE_BTD[0, 1])
    torch.testing.assert_close(found[1], torch.full((2,), 2.0) * (w * (1 - w)).sqrt(), atol=1e-4, rtol=0)
    assert found[2].tolist() == [-2.0, 3.0]


@pytest.mark.parametrize("kind", ["max", "attention", "mean", "statistics"])
def test_padding_never_counts(kind: Kind) -> None:
    torch.manual_seed(0)
    pooling = Pooling(kind, 5)
    sequence_BTD = torch.randn(3, 6, 5, requires_grad=True)
    valid_BT = torch.arange(6) < torch.tensor([1, 4, 6])[:, None]
    pooled_BD = pooling(sequence_BTD, valid_BT)
    pooled_BD.sum().backward()
    assert sequence_BTD.grad is not None
    assert not sequence_BTD.grad[~valid_BT].any()
    assert bool(sequence_BTD.grad.isfinite().all())
    for row, length in enumerate([1, 4, 6]):
        alone_1D = pooling(sequence_BTD[row : row + 1, :length], valid_BT[row : row + 1, :length])
        torch.testing.assert_close(pooled_BD[row], alone_1D[0])
    if kind != "statistics":
        torch.testing.assert_close(pooled_BD[0], sequence_BTD[0, 0])


@pytest.mark.parametrize("kind", ["max", "attention", "mean", "statistics"])
def test_half_precision_stays_finite_and_half(kind: Kind) -> None:
    pooled_BD = Pooling(kind, 2).bfloat16()(SEQUENCE_BTD.bfloat16(), VALID_BT)
    assert pooled_BD.dtype == torch.bfloat16
    assert bool(pooled_BD.isfinite().all())
