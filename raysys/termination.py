"""Handle SIGTERM, sent by a spot machine, a batch system or Kubernetes some seconds before the end; and Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

Handler = Callable[[int, FrameType | None], object]


class Terminated(KeyboardInterrupt):
    """SIGTERM was received.

    Ray's compiled code passes on only KeyboardInterrupt, and that as a plain one: `came` tells them apart.
    """


_came = threading.Event()


def came() -> bool:
    """Whether a KeyboardInterrupt was caused by SIGTERM."""
    return _came.is_set()


def note() -> None:
    """Record SIGTERM, and ignore further ones, so that they do not interrupt the handling of the first."""
    _came.set()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def raise_terminated(*_: object) -> None:
    """Handler that raises `Terminated` wherever the program is."""
    note()
    raise Terminated


def handle(handler: Handler) -> None:
    """Install a handler for SIGTERM; does nothing outside the main thread."""
    _came.clear()
    _set(signal.SIGTERM, handler)


def _set(which: int, handler: Handler) -> None:
    if threading.current_thread() is threading.main_thread():
        signal.signal(which, handler)


@contextlib.contextmanager
def handling(handler: Handler) -> Iterator[None]:
    """Install a handler for SIGTERM and Ctrl-C temporarily; each reaches the handler once."""
    before = {which: signal.getsignal(which) for which in (signal.SIGTERM, signal.SIGINT)}
    # A shell starts a script's background processes with Ctrl-C ignored; it is meant for others.
    if before[signal.SIGINT] is signal.SIG_IGN:
        del before[signal.SIGINT]
    _came.clear()
    for which in before:
        _set(which, handler)
    try:
        yield
    finally:
        for which, earlier in before.items():
            if signal.getsignal(which) is handler and callable(earlier):
                _set(which, earlier)
