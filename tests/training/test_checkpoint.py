"""Checkpoints: everything is restored, nothing is pickled, those of another network are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors
import torch
from torch import nn

from raysys.adamw import AdamW
from raysys.storage import Folder
from raysys.training import checkpoint, checkpoint_files

torch.set_num_threads(1)


def make_network(width: int = 3) -> nn.Sequential:
    network = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 2))
    network[0].bias.requires_grad_(False)
    return network


def make_adamw(network: nn.Module) -> AdamW:
    return AdamW([{"params": [p for p in network.parameters() if p.requires_grad], "lr": 0.1, "weight_decay": 0.01}])


def learn(network: nn.Module, optimizer: AdamW, steps: int) -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        optimizer.zero_grad()
        network(torch.randn(5, 4, generator=generator)).square().sum().backward()
        optimizer.step()


def saved(tmp_path: Path) -> tuple[Folder, nn.Sequential, AdamW]:
    """Weights and optimizer state after three steps, in a file."""
    network = make_network()
    optimizer = make_adamw(network)
    learn(network, optimizer, 3)
    folder = Folder.at(str(tmp_path / "new" / "folder"))
    state = checkpoint.trainable_state(network)
    state |= checkpoint.optimizer_tensors(network, optimizer)
    checkpoint.save(folder, checkpoint_files.LAST, state, {"epoch": 2, "history": [{"loss": 0.1}]})
    return folder, network, optimizer


def test_training_continues_bit_for_bit(tmp_path: Path) -> None:
    folder, network, optimizer = saved(tmp_path)
    loaded = checkpoint.load(folder, checkpoint_files.LAST)
    assert loaded is not None
    tensors, meta = loaded
    assert meta == {"epoch": 2, "history": [{"loss": 0.1}]}

    again = make_network()
    again[0].bias.data.copy_(network[0].bias)  # Frozen: reloaded from its source.
    fresh = make_adamw(again)
    weights = {n: t for n, t in tensors.items() if not n.startswith("optimizer/")}
    assert weights.keys() == {"0.weight", "2.weight", "2.bias"}
    checkpoint.load_trainable_state(again, weights)
    checkpoint.load_optimizer_tensors(again, fresh, tensors)
    learn(network, optimizer, 2)
    learn(again, fresh, 2)
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, dict(again.named_parameters())[name]), name


def test_state_is_a_copy(tmp_path: Path) -> None:
    """Best weights that share memory with the network would end up as the last ones."""
    _, network, optimizer = saved(tmp_path)
    state = checkpoint.trainable_state(network)
    before = {name: tensor.clone() for name, tensor in state.items()}
    learn(network, optimizer, 1)
    assert all(torch.equal(state[name], before[name]) for name in state)


def test_other_networks_are_refused() -> None:
    network = make_network()
    state = checkpoint.trainable_state(network)
    network[0].bias.requires_grad_(True)
    with pytest.raises(ValueError, match=r"another network.*0\.bias"):
        checkpoint.load_trainable_state(network, state)
    network[0].bias.requires_grad_(False)
    with pytest.raises(ValueError, match=r"another network.*9\.bias"):
        checkpoint.load_trainable_state(network, state | {"9.bias": torch.zeros(1)})


@pytest.mark.parametrize("width", [1, 5])
def test_weights_of_another_shape_are_refused(width: int) -> None:
    """A width of 1 would silently broadcast to the whole weight."""
    state = checkpoint.trainable_state(make_network(width))
    with pytest.raises(ValueError, match=r"another network.*0\.weight"):
        checkpoint.load_trainable_state(make_network(), state)


def test_file_is_safetensors_and_nothing_is_pickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was unpickled")

    folder, _, _ = saved(tmp_path)
    for module, name in ((torch, "load"), (__import__("pickle"), "loads")):
        monkeypatch.setattr(module, name, refuse)
    assert checkpoint.load(folder, checkpoint_files.LAST) is not None
    with safetensors.safe_open(f"{folder.path}/{checkpoint_files.LAST}", "pt") as file:
        assert json.loads(file.metadata()["raysys"])["epoch"] == 2
        assert "optimizer/exp_avg/0.weight" in file.keys()  # noqa: SIM118


def test_a_missing_file_is_none(tmp_path: Path) -> None:
    assert checkpoint.load(Folder.at(str(tmp_path / "nowhere")), checkpoint_files.LAST) is None
