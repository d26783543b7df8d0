"""Checkpoints: one safetensors file each, with the state as JSON in its header. Nothing is unpickled.

Files are written atomically, so weights and state always belong to the same epoch. During training a fold keeps the
last two states and the best weights that either refers to; once its result is written, nothing.
"""

from __future__ import annotations

import json
import zlib
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from raysys.adamw import AdamW
from raysys.storage import Folder
from raysys.training.checkpoint_files import BEFORE, BEST, LAST, best_name


class Damaged(Exception):
    """A corrupt checkpoint; the message says in which way."""


def trainable_state(network: nn.Module) -> dict[str, Tensor]:
    """A CPU copy of the trainable parameters; frozen ones are reloaded from their source."""
    return {
        name: parameter.detach().to("cpu", copy=True).contiguous()
        for name, parameter in network.named_parameters()
        if parameter.requires_grad
    }


def load_trainable_state(network: nn.Module, state: dict[str, Tensor]) -> None:
    """Restore the trainable parameters.

    Raises:
        ValueError: names or shapes do not match the network's trainable parameters.
    """
    own = {n: p for n, p in network.named_parameters() if p.requires_grad}
    if own.keys() != state.keys():
        odd = sorted(own.keys() ^ state.keys())
        raise ValueError(f"the checkpoint is from another network; {len(odd)} names differ: {odd[:5]}")
    # copy_ would broadcast a row to a whole matrix.
    odd = sorted(name for name, parameter in own.items() if parameter.shape != state[name].shape)
    if odd:
        raise ValueError(f"the checkpoint is from another network; {len(odd)} shapes differ: {odd[:5]}")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(state[name])


def save(
    folder: Folder,
    name: str,
    tensors: dict[str, Tensor],
    meta: dict[str, Any],
) -> None:
    """Write tensors and JSON-serialisable metadata as one file, with a checksum of both."""
    said = json.dumps(meta)
    data = safetensors.torch.save(tensors, metadata={"raysys": said, "crc32": _checksum(tensors, said)})
    folder.write_bytes(name, data)


def load(folder: Folder, name: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Read a file written by `save`; None if it does not exist.

    Raises:
        Damaged: the file is truncated or corrupt.
    """
    try:
        data = folder.read_bytes(name)
    except FileNotFoundError:
        return None
    try:
        tensors = safetensors.torch.load(data)
        header_length = int.from_bytes(data[:8], "little")
        kept = json.loads(data[8 : 8 + header_length])["__metadata__"]
        said, checksum = kept["raysys"], kept["crc32"]
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise Damaged(f"not readable as safetensors: {error}") from error
    if _checksum(tensors, said) != checksum:
        raise Damaged("its content does not match its checksum")
    return tensors, json.loads(said)


def save_last(folder: Folder, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write the state to resume from; the previous one is kept under another name."""
    folder.move(LAST, BEFORE)
    save(folder, LAST, tensors, meta)


def load_best(folder: Folder, trial_id: str, epoch: int) -> dict[str, Tensor] | None:
    """The best weights of this trial from this epoch; None if missing or damaged."""
    for name in (best_name(epoch), BEST):
        try:
            found = load(folder, name)
        except Damaged:
            continue
        if found is not None and (found[1]["trial_id"], found[1]["epoch"]) == (trial_id, epoch):
            return found[0]
    return None


def _checksum(tensors: dict[str, Tensor], said: str) -> str:
    value = zlib.crc32(said.encode())
    for name in sorted(tensors):
        value = zlib.crc32(name.encode(), value)
        # A scalar has no dimension to view as bytes.
        flat = tensors[name].detach().cpu().contiguous().reshape(-1)
        value = zlib.crc32(flat.view(torch.uint8).numpy().data, value)
    return f"{value:08x}"


def optimizer_tensors(network: nn.Module, optimizer: AdamW) -> dict[str, Tensor]:
    """The optimizer's moments and step counts by parameter name."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in network.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer/{key}/{name}"] = value.detach().to("cpu", copy=True).contiguous()
    return tensors


def load_optimizer_tensors(network: nn.Module, optimizer: AdamW, tensors: dict[str, Tensor]) -> None:
    """Restore moments and step counts."""
    parameters = dict(network.named_parameters())
    for full_name, value in tensors.items():
        if full_name.startswith("optimizer/"):
            _, key, name = full_name.split("/", 2)
            parameter = parameters[name]
            # The step count stays on the CPU, as in non-fused AdamW.
            place = torch.device("cpu") if key == "step" else parameter.device
            optimizer.state[parameter][key] = value.to(place)
