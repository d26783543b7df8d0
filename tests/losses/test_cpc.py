"""Cross-modal CPC against a plain loop, and its masks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from raysys.losses.cpc import cross_modal_cpc, temporal_cpc


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
    # Predictions equal to orthogonal targets: cosine 1 with their own target, 0 with the two others.
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
    # With all rows in one group there are no negatives: no loss and no gradient.
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
        predicted_ND, target_ND, torch.tensor(usable, dtype=torch.bool), torch.arange(n), temperature=0.07
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


def temporal_by_loops(predicted: Tensor, latents: Tensor, lengths: list[int], temperature: float) -> list[float]:
    """Sum over frames and steps, one utterance at a time, in Python floats."""

    def score(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b)) / temperature

    sums = []
    for row, length in enumerate(lengths):
        z, total = latents[row, :length].double().tolist(), 0.0
        for k in range(1, len(predicted) + 1):
            guess = predicted[k - 1, row].double().tolist()
            for j in range(length - k):
                scores = [score(guess[j], frame) for frame in z]
                total -= scores[j + k] - math.log(sum(math.exp(s) for s in scores))
        sums.append(total)
    return sums


def valid(lengths: list[int], longest: int) -> Tensor:
    return torch.arange(longest) < torch.tensor(lengths)[:, None]


def test_temporal_by_hand() -> None:
    # Three orthogonal frames; the next one is predicted correctly from the first and the second: cosine 1 with the
    # target and 0 with two distractors, including the frame itself.
    latents_BJL = torch.eye(3)[None]
    predicted_KBJL = torch.roll(latents_BJL, -1, dims=1)[None]
    sums_B, pairs_B = temporal_cpc(predicted_KBJL, latents_BJL, torch.ones(1, 3).bool(), temperature=1.0)
    assert pairs_B.tolist() == [2]
    assert sums_B.item() == pytest.approx(2 * math.log(1 + 2 / math.e), abs=1e-6)


def test_temporal_agrees_with_loops_and_padding_is_no_distractor() -> None:
    generator = torch.Generator().manual_seed(0)
    lengths = [7, 2, 1, 5]
    latents_BJL = torch.randn(4, 7, 3, generator=generator)
    predicted_KBJL = torch.randn(4, 4, 7, 3, generator=generator)
    sums_B, pairs_B = temporal_cpc(predicted_KBJL, latents_BJL, valid(lengths, 7), temperature=0.3)
    # 7 frames: 6 + 5 + 4 + 3; 5 frames: 4 + 3 + 2 + 1.
    assert pairs_B.tolist() == [18, 1, 0, 10]
    assert sums_B.tolist() == pytest.approx(temporal_by_loops(predicted_KBJL, latents_BJL, lengths, 0.3), rel=1e-5)


def test_temporal_of_frames_too_few_is_zero_with_a_gradient() -> None:
    latents_BJL = torch.randn(2, 1, 3, requires_grad=True)
    sums_B, pairs_B = temporal_cpc(torch.randn(12, 2, 1, 3), latents_BJL, torch.ones(2, 1).bool(), temperature=0.1)
    sums_B.sum().backward()
    assert sums_B.tolist() == [0.0, 0.0] and pairs_B.tolist() == [0, 0]
    assert latents_BJL.grad is not None and not latents_BJL.grad.any()


def test_temporal_computes_in_float32_under_autocast() -> None:
    latents_BJL, predicted_KBJL = torch.randn(1, 4, 3), torch.randn(2, 1, 4, 3)
    expected, _ = temporal_cpc(predicted_KBJL, latents_BJL, torch.ones(1, 4).bool(), temperature=0.07)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, _ = temporal_cpc(predicted_KBJL, latents_BJL, torch.ones(1, 4).bool(), temperature=0.07)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("usable", [[True] * 5, [True, False, True, True, False], [False, True, True, False, False]])
def test_rows_left_out_cost_what_a_batch_without_them_does(usable: list[bool]) -> None:
    """Masking gives the value and the gradient of selecting the usable rows."""
    predicted_ND, target_ND = rows(5)
    group_N = torch.tensor([0, 1, 0, 2, 1])
    usable_N = torch.tensor(usable)
    losses, gradients = [], []
    for chosen in (torch.arange(5), usable_N.nonzero()[:, 0]):
        leaves = [part_ND.clone().requires_grad_() for part_ND in (predicted_ND, target_ND)]
        loss = cross_modal_cpc(
            leaves[0][chosen], leaves[1][chosen], usable_N[chosen], group_N[chosen], temperature=0.07
        )
        loss.backward()
        losses.append(loss.detach())
        gradients.append([leaf.grad for leaf in leaves])
    torch.testing.assert_close(losses[0], losses[1], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-6, rtol=1e-6)
