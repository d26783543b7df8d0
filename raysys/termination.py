"""SIGTERM, which a spot machine, a batch system or Kubernetes sends some seconds before the end."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

Handler = Callable[[int, FrameType | None], object]


class Terminated(BaseException):
    """SIGTERM came. Like KeyboardInterrupt no Exception, so that nothing on the way out takes it for a fault."""


def raise_terminated(*_: object) -> None:
    """Handler that raises `Terminated` where the program is; a second signal does not disturb what that sets off."""
    ignore()
    raise Terminated


def ignore() -> None:
    """Let further SIGTERMs pass."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def handle(handler: Handler) -> None:
    """Set what SIGTERM does; in a thread that gets no signals nothing."""
    if threading.current_thread() is threading.main_thread():
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
