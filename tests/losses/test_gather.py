"""Gradients of w workers equal those of one worker with all rows, however the rows are split."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from raysys.losses.contrastive import info_nce_pairs, n_pair
from raysys.losses.gather import gather_rows, gather_values
from tests.workers import run_workers

_FEATURES = 5


def contrastive(left_NE: Tensor, right_NE: Tensor, labels_N: Tensor) -> Tensor:
    utterance_N = torch.arange(len(labels_N)).repeat(2)
    both_NE = torch.cat([left_NE, right_NE])
    return n_pair(both_NE, labels_N.repeat(2), utterance_N) + info_nce_pairs(left_NE, right_NE, temperature=0.5)


def data(n: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, _FEATURES, generator=generator)
    left_NF, right_NF = torch.randn(2, n, _FEATURES, generator=generator)
    return weight, left_NF, right_NF, torch.arange(n) % 2


def one_worker_gradient(n: int) -> tuple[Tensor, Tensor]:
    weight, left_NF, right_NF, labels_N = data(n)
    weight.requires_grad_()
    loss = contrastive(left_NF @ weight.T, right_NF @ weight.T, labels_N)
    loss.backward()
    assert weight.grad is not None
    return loss.detach(), weight.grad


def worker(rank: int, cases: list[tuple[int, ...]], folder: str) -> None:
    """One of several processes; it runs all cases, since starting takes far longer than they do."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=len(cases[0]))
    for counts in cases:
        found = one_of_several(rank, counts) if sum(counts) else nothing_anywhere(counts)
        torch.save(found, Path(folder) / f"{counts}-{rank}.pt")
    dist.destroy_process_group()


def one_of_several(rank: int, counts: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """This worker's rows through the shared weight, the whole loss, and DDP's mean."""
    weight, left_NF, right_NF, labels_N = data(sum(counts))
    weight.requires_grad_()
    own = slice(sum(counts[:rank]), sum(counts[: rank + 1]))
    left_NE = gather_rows(left_NF[own] @ weight.T, counts)
    right_NE = gather_rows(right_NF[own] @ weight.T, counts)
    gathered_N, odd_N = gather_values(labels_N[own], counts), gather_values(labels_N[own] == 1, counts)
    assert torch.equal(gathered_N, labels_N)
    assert odd_N.dtype == torch.bool and torch.equal(odd_N, labels_N == 1)
    assert gather_values(torch.full((1, 2, 3), rank), [1] * len(counts)).shape == (len(counts), 2, 3)

    loss = contrastive(left_NE, right_NE, gathered_N)
    loss.backward()
    assert weight.grad is not None
    dist.all_reduce(weight.grad)
    return loss.detach(), weight.grad / len(counts)


def nothing_anywhere(counts: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    rows_ND = torch.zeros(0, 3, requires_grad=True)
    total = gather_rows(rows_ND * 2, counts).sum()
    total.backward()
    assert rows_ND.grad is not None
    return total.detach(), rows_ND.grad


@pytest.mark.parametrize(
    "cases",
    [[(3, 3), (5, 1), (0, 4), (4, 0), (0, 0)], [(2, 3, 1), (3, 0, 4)]],
    ids=["two workers", "three workers"],
)
def test_gradients_equal_those_of_one_worker(cases: list[tuple[int, ...]], tmp_path: Path) -> None:
    run_workers(worker, len(cases[0]), cases, str(tmp_path))
    for counts in cases:
        expected = (torch.zeros(()), torch.zeros(0, 3))
        if sum(counts):
            expected = one_worker_gradient(sum(counts))
        for rank in range(len(counts)):
            found = torch.load(tmp_path / f"{counts}-{rank}.pt")
            torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


def test_without_workers_the_rows_are_their_own() -> None:
    rows_ND, values_N = torch.randn(3, 2, requires_grad=True), torch.arange(3)
    assert gather_rows(rows_ND, [3]) is rows_ND
    assert gather_values(values_N, [3]) is values_N


def test_half_precision_is_raised_to_float32() -> None:
    rows_ND = torch.randn(3, 2, dtype=torch.bfloat16, requires_grad=True)
    gathered_ND = gather_rows(rows_ND, [3])
    gathered_ND.sum().backward()
    assert gathered_ND.dtype == torch.float32
    assert rows_ND.grad is not None and rows_ND.grad.dtype == torch.bfloat16
