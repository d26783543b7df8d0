"""Our AdamW against PyTorch's, bit by bit."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from raysys.adamw import AdamW

torch.set_num_threads(1)


def make_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))


def test_weights_and_state_equal_pytorchs() -> None:
    """Two groups, changing rates, a parameter without a gradient in every third step."""
    ours, theirs = make_network(), make_network()
    settings = ({"lr": 0.1, "weight_decay": 0.05}, {"lr": 0.3, "weight_decay": 0.0})
    mine, reference = (
        make([{"params": part.parameters(), **values} for part, values in zip(network[::2], settings, strict=True)])
        for make, network in ((AdamW, ours), (partial(torch.optim.AdamW, fused=True), theirs))
    )
    generator = torch.Generator().manual_seed(1)
    for update in range(30):
        x_BD = torch.randn(4, 5, generator=generator)
        for network, optimizer in ((ours, mine), (theirs, reference)):
            optimizer.zero_grad()
            network(x_BD).square().sum().backward()
            if update % 3 == 0:
                network[2].bias.grad = None
            optimizer.param_groups[0]["lr"] = 0.1 / (update + 1)
            optimizer.step()
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(p, q)
            assert mine.state.get(p, {}).keys() == reference.state[q].keys()
            assert all(torch.equal(value, reference.state[q][key]) for key, value in mine.state.get(p, {}).items())


def test_each_group_has_its_own_rate_and_decay() -> None:
    network = make_network()
    optimizer = AdamW([{"params": network.parameters(), "lr": 0.5, "peak_lr": 2.0, "weight_decay": 0.125}])
    (group,) = optimizer.param_groups
    assert (group["lr"], group["peak_lr"], group["weight_decay"]) == (0.5, 2.0, 0.125)
    assert len(group["params"]) == 4
