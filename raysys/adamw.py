"""AdamW (Loshchilov and Hutter 2019) built on PyTorch's functional step.

Bit-identical to `torch.optim.AdamW`, on CPUs to its fused form. That class imports PyTorch's compiler on the first
call: 4 CPU seconds in every training process, before its first step.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

_BETAS = (0.9, 0.999)
_EPS = 1e-8


class AdamW:
    """Adam with decoupled weight decay.

    Args:
        groups: each with `params`, `lr` and `weight_decay`; other entries are kept unchanged.

    Attributes:
        param_groups: `groups`; a changed `lr` takes effect at the next step.
        state: `step`, `exp_avg` and `exp_avg_sq` of each parameter that has had a gradient, as in torch.optim.
    """

    def __init__(self, groups: Iterable[dict[str, Any]]) -> None:
        self.param_groups = [{**group, "params": list(group["params"])} for group in groups]
        self.state: defaultdict[Tensor, dict[str, Tensor]] = defaultdict(dict)

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            moved: list[Tensor] = [p for p in group["params"] if p.grad is not None]
            self._step(moved, lr=group["lr"], weight_decay=group["weight_decay"])

    def _step(self, moved: Sequence[Tensor], *, lr: float, weight_decay: float) -> None:
        states = [self.state[p] for p in moved]
        for parameter, state in zip(moved, states, strict=True):
            if not state:
                # On the CPU, as in torch.optim: a GPU step then needs no synchronisation.
                state["step"] = torch.tensor(0.0)
                state["exp_avg"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
                state["exp_avg_sq"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        adamw(
            list(moved),
            [p.grad for p in moved if p.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            amsgrad=False,
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            lr=lr,
            weight_decay=weight_decay,
            eps=_EPS,
            maximize=False,
            # One pass over each parameter; a GPU's default is fast, and would need `step` on the GPU.
            fused=all(parameter.device.type == "cpu" for parameter in moved),
        )

    def zero_grad(self) -> None:
        """Clear all gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None
