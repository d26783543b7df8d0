"""Optimizer and schedule."""

from __future__ import annotations

import torch
from torch.optim import Optimizer

from raysys.config import OptimConfig
from raysys.model.network import Network


def make_optimizer(network: Network, config: OptimConfig) -> Optimizer:
    """Adam (AdamW with weight decay) over the trainable parameters, in two groups: encoders and the rest."""
    encoders: list[torch.nn.Parameter] = []
    rest: list[torch.nn.Parameter] = []
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            (encoders if "_encoder." in name else rest).append(parameter)
    groups = [
        {"params": encoders, "lr": config.encoder_lr, "peak_lr": config.encoder_lr},
        {"params": rest, "lr": config.lr, "peak_lr": config.lr},
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, weight_decay=config.weight_decay)


def rate_factor(update: int, total: int, warmup: float) -> float:
    """Share of the peak rate at an update (counted from 0): linear warm-up, then linear decay towards 0."""
    rise = max(1, round(warmup * total))
    if update < rise:
        return (update + 1) / rise
    return (total - update) / max(1, total - rise)


def set_rates(optimizer: Optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor
