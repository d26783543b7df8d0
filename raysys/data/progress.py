"""How far work on many utterances has come, for a person who waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable

_QUIET_S = 5.0
"""Work that is done by then needs no line."""
_PAUSE_S = 15.0


class Progress:
    """Prints a line such as `features  1280 of 5760, about 1:20 left`, at most every 15 s and none in the first 5.

    Args:
        title: of at most nine letters, what the lines begin with.
        what: is being done to how many, such as '5760 waveforms go through a frozen encoder'; the first line.
        total: number of pieces of work.
        clock: seconds.
        show: takes a line.
    """

    def __init__(
        self,
        title: str,
        what: str,
        total: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        show: Callable[[str], None] = lambda line: print(line, flush=True),
    ) -> None:
        self._title, self._what, self._total = title, what, total
        self._clock, self._show = clock, show
        self._done = 0
        self._started = clock()
        self._first: tuple[float, int] | None = None
        self._said: float | None = None

    def add(self, n: int) -> None:
        """So many pieces more are done."""
        self._done += n
        elapsed = self._clock() - self._started
        # The first pieces wait for processes to start: they are no measure of the rest.
        self._first = self._first or (elapsed, self._done)
        if elapsed < _QUIET_S or self._done >= self._total or (self._said or -_PAUSE_S) > elapsed - _PAUSE_S:
            return
        if self._said is None:
            self._show(f"{self._title:<10}{self._what}")
        self._said = elapsed
        self._show(f"{self._title:<10}{self._done} of {self._total}{self._left(elapsed)}")

    def _left(self, elapsed: float) -> str:
        assert self._first is not None
        first_at, first = self._first
        if self._done == first:
            return ""
        left_s = round((elapsed - first_at) / (self._done - first) * (self._total - self._done))
        return f", about {left_s // 60}:{left_s % 60:02d} left"


def clock(seconds: float) -> str:
    """Such as 1:05, or 2:01:05 from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
