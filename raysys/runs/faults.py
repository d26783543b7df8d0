"""Errors of a trial: a fault of its machine can pass and is tried again; a fault of the program would come again."""

from __future__ import annotations

import contextlib
import errno
import re
import traceback
from collections.abc import Iterator

from ray.exceptions import RayTaskError

from raysys.data.tasks import without_advice
from raysys.errors import MachineError, StorageError, TrainingError, UserError
from raysys.storage import Folder

TRACEBACK = "error-{rank}.txt"
"""In a trial's folder: the traceback of an error that the program did not expect."""
_LONGEST = 600
"""Characters of an error's text that are shown; its traceback has all."""
_OF_A_MACHINE = re.compile(r"CUDA error|cuDNN error|NCCL error|\bgloo\b|can't start new thread|can't allocate memory")
"""What PyTorch and Python raise as a plain RuntimeError for a device, a lost peer, or too many threads."""


_MOUNT_IS_GONE = (errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ENODEV)


@contextlib.contextmanager
def named(folder: Folder, *, rank: int = 0) -> Iterator[None]:
    """Turn an error that would come again into one for the user, with its traceback in the trial's folder.

    Raises:
        TrainingError: an error that the program did not expect.
        MachineError: storage that was there does not answer.
    """
    from raysys.training.loop import Paused

    try:
        yield
    except StorageError as error:
        if _mount_is_gone(error):
            raise MachineError(str(error)) from error
        raise
    except (UserError, Paused):
        raise
    except Exception as error:
        if passes(error):
            raise
        name = TRACEBACK.format(rank=rank)
        # The text is what counts: a disk that is full must not hide it.
        with contextlib.suppress(StorageError):
            folder.write_bytes(name, "".join(traceback.format_exception(error)).encode())
        raise TrainingError(
            f"{_line(error)}. No machine is at fault: every attempt would end here, so there is only one. "
            f"Traceback: {folder.location}/{name}"
        ) from error


def passes(error: BaseException) -> bool:
    """Whether another attempt, perhaps on another machine, may succeed."""
    import torch
    import torch.distributed

    if isinstance(error, RayTaskError):
        # Raised by a task's function: what counts is what it raised there.
        return not isinstance(error.cause, Exception) or passes(error.cause)
    kinds = (MachineError, OSError, MemoryError, torch.AcceleratorError, torch.OutOfMemoryError)
    if isinstance(error, (*kinds, torch.distributed.DistError)) or _is_rays(error):
        return True
    return isinstance(error, RuntimeError) and _OF_A_MACHINE.search(str(error)) is not None


def fault(error: BaseException) -> str:
    """One line on a fault of a machine; empty where Ray lost a process, of which it only says that it is gone."""
    causes = getattr(error, "worker_failures", {0: error}).values()
    if any(map(_is_rays, causes)):
        return ""
    return _line(next(iter(causes)))


def _mount_is_gone(error: StorageError) -> bool:
    """Whether a write failed because a file system that was there does not answer. A full disk stays full."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in _MOUNT_IS_GONE


def _is_rays(error: BaseException) -> bool:
    return type(error).__module__.startswith("ray.")


def _line(error: BaseException) -> str:
    if isinstance(error, RayTaskError) and isinstance(error.cause, Exception):
        error = error.cause
    text = " ".join(without_advice(str(error)).split())
    shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    return f"{type(error).__name__}: {shown}" if shown else type(error).__name__
