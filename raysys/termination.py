"""SIGTERM, which a spot machine, a batch system or Kubernetes sends some seconds before the end; and Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

Handler = Callable[[int, FrameType | None], object]


class Terminated(KeyboardInterrupt):
    """SIGTERM came.

    Ray's compiled code lets a KeyboardInterrupt through and nothing else, and that as a plain one: `came` tells.
    """


_came = threading.Event()


def came() -> bool:
    """Whether a KeyboardInterrupt is SIGTERM's."""
    return _came.is_set()


def note() -> None:
    """SIGTERM came; a second one does not disturb what the first sets off."""
    _came.set()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def raise_terminated(*_: object) -> None:
    """Handler that raises `Terminated` where the program is."""
    note()
    raise Terminated


def handle(handler: Handler) -> None:
    """Set what SIGTERM does from now on; in a thread that gets no signals nothing."""
    _came.clear()
    _set(signal.SIGTERM, handler)


def _set(which: int, handler: Handler) -> None:
    if threading.current_thread() is threading.main_thread():
        signal.signal(which, handler)


@contextlib.contextmanager
def handling(handler: Handler) -> Iterator[None]:
    """Set what SIGTERM and Ctrl-C do for a while; each comes to the handler once."""
    before = {which: signal.getsignal(which) for which in (signal.SIGTERM, signal.SIGINT)}
    # A shell starts what a script puts in the background with Ctrl-C ignored; it is for others.
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
