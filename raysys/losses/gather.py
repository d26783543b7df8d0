"""Gather rows from all data-parallel workers into one differentiable tensor.

How many rows each worker has is in the step's plan: nobody has to send it, or to wait for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def gather_rows(rows_ND: Tensor, sizes: Sequence[int]) -> Tensor:
    """Rows of all workers, in rank order, differentiable.

    Forward: x = [x_0; x_1; ...; x_(w-1)], the same on every worker. Backward: every worker has its
    own gradient g_r of x; these are summed over the workers, and worker r gets the slice of its
    rows. If all workers compute the same loss on x, that is w times the gradient of one worker,
    which DDP's mean corrects.

    Collective: every worker must call it in the same order, and call backward; so must a worker
    with no rows, whose tensor must require a gradient if the others' do.

    Args:
        rows_ND: this worker's rows, any number including none; all other dimensions must be equal
            on all workers. Half precision is converted to float32 first, so that gradients are not
            summed in half precision.
        sizes: number of rows of each worker.

    Returns: the rows of all workers; the argument itself (in at least float32) of one worker.
    """
    rows_ND = rows_ND.to(torch.promote_types(rows_ND.dtype, torch.float32))
    if len(sizes) == 1:
        return rows_ND
    gathered: Tensor = _GatherRows.apply(rows_ND, sizes)  # type: ignore[no-untyped-call]
    return gathered


def gather_values(values_N: Tensor, sizes: Sequence[int]) -> Tensor:
    """Rows of all workers, in rank order, without gradient: labels, masks, lengths.

    Like `gather_rows`, for tensors of any type (bool is sent as uint8, which every backend supports).
    """
    if len(sizes) == 1:
        return values_N
    if values_N.dtype == torch.bool:
        return gather_values(values_N.to(torch.uint8), sizes).bool()
    return torch.cat(_all_rows(values_N.detach(), sizes))


def _all_rows(rows_ND: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """One tensor per worker. gloo aborts the process on unequal tensors: rows are sent padded to the maximum."""
    assert len(rows_ND) == sizes[dist.get_rank()]
    most = max(sizes)
    if most == 0:
        return [rows_ND for _ in sizes]
    padded = rows_ND.new_zeros((most, *rows_ND.shape[1:]))
    padded[: len(rows_ND)] = rows_ND
    received = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(received, padded)
    return [rows[:size] for rows, size in zip(received, sizes, strict=True)]


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows_ND: Tensor, sizes: Sequence[int]) -> Tensor:
        by_worker = _all_rows(rows_ND, sizes)
        ctx.first = sum(len(rows) for rows in by_worker[: dist.get_rank()])
        ctx.n_own = len(rows_ND)
        return torch.cat(by_worker)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad_ND,) = grads
        summed_ND = grad_ND.contiguous().clone()
        if summed_ND.numel() > 0:
            dist.all_reduce(summed_ND, op=dist.ReduceOp.SUM)
        return summed_ND[ctx.first : ctx.first + ctx.n_own], None
