"""Copies from the host to a device that nobody waits for."""

from __future__ import annotations

import torch
from torch import Tensor


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A small tensor on a device. From other than pinned memory, a copy may wait for all that was launched before."""
    pinned = tensor.pin_memory() if device.type == "cuda" else tensor
    return pinned.to(device, non_blocking=True)
