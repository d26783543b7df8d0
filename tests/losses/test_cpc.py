"""Cross-modal CPC against a plain loop, and its masks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from raysys.losses.cpc import cross_modal_cpc


def cpc_by_loops(predicted: Tensor, target: Tensor, usable: Tensor, group: Tensor, temperature: float) -> float:
    rows = [i for i in range(len(predicted)) if usable[i]]
    first, second = predicted.double().tolist(), target.double().tolist()

    def score(i: int, j: int) -> float:
        dot = sum(a * b for a, b in zip(first[i], second[j], strict=True))
        return math.exp(dot / (math.hypot(*first[i]) * math.hypot(*second[j])) / temperature)

    costs = []
    for i in rows:
        among = [i] + [j for j in rows if group[j] != group[i]]
        costs.append(-math.log(score(i, i) / sum(score(i, j) for j in among)))
    return sum(costs) / len(costs)


def rows(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    predicted_ND, target_ND = torch.randn(2, n, 5, generator=torch.Generator().manual_seed(seed))
    return predicted_ND, target_ND


def test_by_hand() -> None:
    # Predictions equal to orthogonal targets: cosine 1 with one's own, 0 with the two others.
    loss = cross_modal_cpc(3 * torch.eye(3), torch.eye(3), torch.ones(3).bool(), torch.arange(3), temperature=1.0)
    assert loss.item() == pytest.approx(math.log(1 + 2 / math.e), abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_loops(seed: int) -> None:
    predicted_ND, target_ND = rows(7, seed)
    usable_N = torch.tensor([True, True, False, True, True, False, True])
    group_N = torch.tensor([0, 1, 1, 0, 2, 2, 3])
    loss = cross_modal_cpc(predicted_ND, target_ND, usable_N, group_N, temperature=0.07)
    expected = cpc_by_loops(predicted_ND, target_ND, usable_N, group_N, 0.07)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_rows_that_are_not_usable_change_nothing_whatever_they_hold() -> None:
    predicted_ND, target_ND = rows(4)
    alone = cross_modal_cpc(predicted_ND, target_ND, torch.ones(4).bool(), torch.arange(4), temperature=0.1)
    odd_D = torch.full((1, 5), torch.nan)
    predicted_ND = torch.cat([predicted_ND, odd_D]).requires_grad_()
    loss = cross_modal_cpc(
        predicted_ND,
        torch.cat([target_ND, odd_D]),
        torch.tensor([True] * 4 + [False]),
        torch.tensor([0, 1, 2, 3, 0]),
        temperature=0.1,
    )
    loss.backward()
    assert torch.equal(loss, alone)
    assert predicted_ND.grad is not None and predicted_ND.grad.isfinite().all()
    assert not predicted_ND.grad[-1].any()


def test_equal_transcripts_are_not_told_apart() -> None:
    # With all rows of one group there is nothing to tell apart: no negatives, no cost, no gradient.
    predicted_ND, target_ND = rows(5)
    predicted_ND.requires_grad_()
    usable_N, group_N = torch.ones(5).bool(), torch.full((5,), 7)
    loss = cross_modal_cpc(predicted_ND, target_ND, usable_N, group_N, temperature=0.07)
    loss.backward()
    assert loss.item() == 0.0
    assert predicted_ND.grad is not None and not predicted_ND.grad.any()


@pytest.mark.parametrize("usable", [[], [False], [True], [False, True, False]])
def test_fewer_than_two_usable_rows_give_zero_with_a_gradient(usable: list[bool]) -> None:
    n = len(usable)
    predicted_ND, target_ND = rows(n)
    predicted_ND.requires_grad_()
    target_ND.requires_grad_()
    loss = cross_modal_cpc(
        predicted_ND,
        target_ND,
        torch.tensor(usable, dtype=torch.bool),
        torch.arange(n),
        temperature=0.07,
    )
    loss.backward()
    assert loss.item() == 0.0
    for leaf in (predicted_ND, target_ND):
        assert leaf.grad is not None and not leaf.grad.any()


def test_float32_under_autocast_and_at_a_huge_scale() -> None:
    predicted_ND, target_ND = rows(6)
    usable_N, group_N = torch.ones(6).bool(), torch.arange(6)
    plain = cross_modal_cpc(predicted_ND, target_ND, usable_N, group_N, temperature=0.07)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = cross_modal_cpc(predicted_ND, target_ND, usable_N, group_N, temperature=0.07)
    assert torch.equal(plain, cast)
    huge = cross_modal_cpc(1e4 * predicted_ND, target_ND, usable_N, group_N, temperature=0.07)
    torch.testing.assert_close(huge, plain)
