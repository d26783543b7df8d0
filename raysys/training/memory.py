"""A GPU without memory: the training's own need, which would come again, or a neighbour's, which may pass."""

from __future__ import annotations

import re

import torch

from raysys.errors import MachineError, TrainingError

_REQUEST = re.compile(r"Tried to allocate ([\d.]+) (bytes|KiB|MiB|GiB)")
_BYTES = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_OF_A_CONTEXT = 2**30
"""What a process holds on a GPU beyond PyTorch's own memory: CUDA's context, cuDNN's and NCCL's buffers."""


def out_of_memory(error: torch.OutOfMemoryError, device: torch.device, where: str) -> Exception:
    """What an exhausted GPU means for the trial.

    Args:
        error: as PyTorch raised it.
        device: of the trial.
        where: in the training.

    Returns: a MachineError if the request would have fitted without other processes; otherwise a TrainingError that
        says what needs less memory.
    """
    said = f"{where}: {str(error).splitlines()[0]}"
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        own = torch.cuda.memory_reserved(device)
        others = total - free - own
        if fits_alone(requested(str(error)), own, total) and others > _OF_A_CONTEXT:
            return MachineError(
                f"{said} Other processes hold about {others / 2**30:.1f} of the GPU's {total / 2**30:.1f} GiB, this "
                f"trial {own / 2**30:.1f}. Trials that share a GPU need a larger --cluster.gpus-per-worker."
            )
    return TrainingError(
        f"{said} A smaller --train.batch-size with more --train.accumulate, or a shorter --train.crop-s, needs less "
        f"memory."
    )


def requested(said: str) -> int:
    """Bytes that PyTorch could not allocate, from its message; 0 if it does not say."""
    found = _REQUEST.search(said)
    return int(float(found[1]) * _BYTES[found[2]]) if found else 0


def fits_alone(request: int, own: int, total: int) -> bool:
    """Whether a process that holds `own` bytes of a GPU's `total` could allocate `request` more alone."""
    return own + request + _OF_A_CONTEXT <= total
