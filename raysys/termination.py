"""SIGTERM, which a spot machine, a batch system or Kubernetes sends some seconds before the end."""

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
    if threading.current_thread() is threading.main_thread():
        _came.clear()
        signal.signal(signal.SIGTERM, handler)


@contextlib.contextmanager
def handling(handler: Handler) -> Iterator[None]:
    """Set what SIGTERM does for a while."""
    before = signal.getsignal(signal.SIGTERM)
    handle(handler)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is handler and callable(before):
            handle(before)
