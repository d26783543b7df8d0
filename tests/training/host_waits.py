"""Find what would make the host wait for a GPU, on a machine without one.

What `Tensor.to(device)` returns, and whatever is computed from it, counts as the GPU's, and says that it is. A copy of
it to the host waits for everything that was launched before, and so does an operator whose result has a size that
depends on values.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_WAITING = {
    f"aten::{name}"
    for name in (
        "_local_scalar_dense",
        "_unique2",
        "bincount",
        "equal",
        "isin",
        "masked_select",
        "nonzero",
        "repeat_interleave",
        "unique_consecutive",
        "unique_dim",
    )
}
"""Operators that read values of a GPU's tensors on the host."""
_READING = (Tensor.cpu, Tensor.tolist, Tensor.numpy)
"""Methods that read a tensor, which on a CPU run no operator."""
_IS_CUDA = Tensor.is_cuda.__get__  # type: ignore[attr-defined]
_MAKING = (torch.tensor, torch.as_tensor, torch.from_numpy, Tensor.new_tensor)
"""Functions that copy the host's values, and wait until they have arrived."""


class HostWaits:
    """Attributes:
    found: what waited, and where.
    """

    def __init__(self) -> None:
        self.found: list[str] = []
        # Kept, so that no other tensor gets the same address.
        self._storages: dict[int, Any] = {}

    @contextmanager
    def counted(self) -> Iterator[None]:
        with _Calls(self), _Operators(self):
            yield

    def place(self, network: nn.Module) -> None:
        """Count a network as the device's."""
        for tensor in (*network.parameters(), *network.buffers()):
            self.mark(tensor)

    def mark(self, value: Any) -> None:
        for tensor in tree_leaves(value):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                self._storages[storage._cdata] = storage

    def holds(self, value: Any) -> bool:
        return isinstance(value, Tensor) and value.untyped_storage()._cdata in self._storages

    def note(self, what: str) -> None:
        """Remember the innermost line of the project, or of a package if there is none, as in a backward pass."""
        frames = [frame for frame in traceback.extract_stack() if Path(frame.filename).name != Path(__file__).name]
        own = [frame for frame in frames if "/raysys/" in frame.filename] or frames
        others = [frame for frame in frames if "site-packages/transformers" in frame.filename]
        places = [f"{Path(f.filename).name}:{f.lineno}" for f in (*own[-1:], *others[-1:])]
        self.found.append(f"{what} at {', '.join(places)}")


class _Calls(TorchFunctionMode):
    """Copies between host and device, which on a CPU are none."""

    def __init__(self, waits: HostWaits) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, waits = kwargs or {}, self.waits
        if func in _READING and waits.holds(args[0]):
            waits.note(func.__name__)
        if func == _IS_CUDA and waits.holds(args[0]):
            return True
        if func is Tensor.to:
            return self._moved(func, args, kwargs)
        result = func(*args, **kwargs)
        if isinstance(kwargs.get("device"), torch.device):
            if func in _MAKING:
                waits.note(func.__name__)
            waits.mark(result)
        return result

    def _moved(self, func: Any, args: Any, kwargs: Any) -> Any:
        waits = self.waits
        wanted = [value for value in (*args[1:], *kwargs.values()) if isinstance(value, torch.device | str)]
        result = func(*args, **kwargs)
        if "cpu" in [value for value in wanted if isinstance(value, str)] and waits.holds(args[0]):
            waits.note("to the host")
        elif wanted and isinstance(wanted[0], torch.device) and not waits.holds(args[0]):
            if not kwargs.get("non_blocking"):
                waits.note("a blocking copy to the device")
            result = result.clone()
            waits.mark(result)
        return result


class _Operators(TorchDispatchMode):
    """Operators on the device's tensors."""

    def __init__(self, waits: HostWaits) -> None:
        super().__init__()
        self.waits = waits

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, waits = kwargs or {}, self.waits
        on_device = any(map(waits.holds, tree_leaves((args, kwargs))))
        if on_device:
            name = func._schema.name
            packs = name == "aten::_pack_padded_sequence"
            if packs and waits.holds(args[1]):
                waits.note(name)
            if name in _WAITING or (name.startswith("aten::index") and self._by_values(args)):
                waits.note(name)
        result = func(*args, **kwargs)
        if on_device:
            # How many rows each step of a packed sequence has is always on the host.
            waits.mark(result[0] if packs else result)
        return result

    def _by_values(self, args: Any) -> bool:
        """Whether an index is a mask, whose true values are counted on the host, or must be copied to the device."""
        indices = args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else []
        given = [index for index in indices if isinstance(index, Tensor)]
        if any(not self.waits.holds(index) for index in given):
            return True
        # A single number is written under the mask, without an index.
        single = len(args) > 2 and isinstance(args[2], Tensor) and args[2].ndim == 0 and not self.waits.holds(args[2])
        return not single and any(index.dtype == torch.bool for index in given)
