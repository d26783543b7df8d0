"""Checkpoints: one safetensors file each, its state as JSON in the file's header. Nothing is unpickled.

One file is written atomically, so weights and state are never of different epochs.
"""

from __future__ import annotations

import json
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from raysys.storage import Folder

LAST = "last.safetensors"
BEST = "best.safetensors"


def trainable_state(network: nn.Module) -> dict[str, Tensor]:
    """A copy on the CPU of the parameters that are trained; frozen ones come back from their source."""
    return {
        name: parameter.detach().to("cpu", copy=True).contiguous()
        for name, parameter in network.named_parameters()
        if parameter.requires_grad
    }


def load_trainable_state(network: nn.Module, state: dict[str, Tensor]) -> None:
    """Put trainable parameters back.

    Raises:
        ValueError: names or shapes are not those of the network's trainable parameters.
    """
    own = {n: p for n, p in network.named_parameters() if p.requires_grad}
    if own.keys() != state.keys():
        odd = sorted(own.keys() ^ state.keys())
        raise ValueError(f"the checkpoint is of another network; {len(odd)} names differ: {odd[:5]}")
    # copy_ would spread a row over a whole matrix.
    odd = sorted(name for name, parameter in own.items() if parameter.shape != state[name].shape)
    if odd:
        raise ValueError(f"the checkpoint is of another network; {len(odd)} shapes differ: {odd[:5]}")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(state[name])


def save(
    folder: Folder,
    name: str,
    tensors: dict[str, Tensor],
    meta: dict[str, Any],
) -> None:
    """Write tensors and JSON-able metadata as one file."""
    data = safetensors.torch.save(tensors, metadata={"raysys": json.dumps(meta)})
    folder.write_bytes(name, data)


def load(folder: Folder, name: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Read what `save` wrote; None where there is no such file."""
    if not folder.exists(name):
        return None
    data = folder.read_bytes(name)
    header_length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + header_length])
    return safetensors.torch.load(data), json.loads(header["__metadata__"]["raysys"])


def optimizer_tensors(network: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """The optimizer's moments and step counts by parameter name."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in network.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer/{key}/{name}"] = value.detach().to("cpu", copy=True).contiguous()
    return tensors


def load_optimizer_tensors(network: nn.Module, optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put moments and step counts back."""
    parameters = dict(network.named_parameters())
    for full_name, value in tensors.items():
        if full_name.startswith("optimizer/"):
            _, key, name = full_name.split("/", 2)
            parameter = parameters[name]
            # The step count stays on the CPU, where AdamW keeps it unless it is fused.
            place = torch.device("cpu") if key == "step" else parameter.device
            optimizer.state[parameter][key] = value.to(place)
