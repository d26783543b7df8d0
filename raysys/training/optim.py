"""Optimizer and learning-rate schedule."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from raysys.adamw import AdamW
from raysys.config import OptimConfig
from raysys.model.adapt import ADAPTER, depths
from raysys.model.network import Network


def make_optimizer(network: Network, config: OptimConfig) -> AdamW:
    """Adam (AdamW with weight decay) over the trainable parameters: encoders and the rest, each at its rate.

    Adapters are no part of an encoder: they are drawn, and at its rate would stay near 0. With `layer_decay`, deeper
    layers learn more slowly.

    Only matrices and kernels decay. Biases, norms' scales, weights of a sum and learned vectors would be drawn to a 0
    that means nothing for them.
    """
    depth_of: dict[nn.Parameter, int] = {}
    if config.layer_decay < 1:
        for encoder in (network.audio_encoder, network.text_encoder):
            depth_of |= {} if encoder is None else depths(encoder)
    grouped: defaultdict[tuple[bool, int, bool], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            drawn = "_encoder." not in name or ADAPTER in name
            grouped[drawn, depth_of.get(parameter, 0), parameter.ndim < 2].append(parameter)
    groups: list[dict[str, Any]] = []
    for (drawn, depth, single), parameters in sorted(grouped.items(), key=lambda item: item[0]):
        rate = (config.lr if drawn else config.encoder_lr) * config.layer_decay**depth
        decay = 0.0 if single else config.weight_decay
        groups.append({"params": parameters, "lr": rate, "peak_lr": rate, "weight_decay": decay})
    return AdamW(groups)


def rate_factor(update: int, total: int, warmup: float) -> float:
    """Fraction of the peak rate at an update (counted from 0): linear warm-up, then linear decay towards 0."""
    rise = max(1, round(warmup * total))
    if update < rise:
        return (update + 1) / rise
    return (total - update) / max(1, total - rise)


class WeightAverage:
    """A moving average of the trained weights: m <- d m + (1 - d) w after every update.

    The decay is min(d, (1 + u) / (10 + u)) after u updates, so that the random initial weights are soon forgotten.

    Args:
        network: network whose weights are averaged, on their device.
        decay: d; 0: no averaging, the weights themselves are used.
    """

    def __init__(self, network: torch.nn.Module, decay: float) -> None:
        self._decay = decay
        self._weights = {name: p for name, p in network.named_parameters() if p.requires_grad}
        self.average = {name: p.detach().clone() for name, p in self._weights.items()} if decay else {}

    @torch.no_grad()
    def update(self, update: int) -> None:
        """Include the weights after an update (counted from 0 over the whole training)."""
        if self.average:
            decay = min(self._decay, (1 + update) / (10 + update))
            torch._foreach_lerp_(list(self.average.values()), list(self._weights.values()), 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Swap the average into the network; on exit, restore its weights."""
        with torch.no_grad():
            kept = {name: self._weights[name].detach().clone() for name in self.average}
            for name, value in self.average.items():
                self._weights[name].copy_(value)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, value in kept.items():
                    self._weights[name].copy_(value)


def set_rates(optimizer: AdamW, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor
