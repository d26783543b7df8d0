"""What is printed while recordings are predicted, and when all are."""

from __future__ import annotations

import time
from collections.abc import Callable

from raysys.data.progress import clock
from raysys.prediction.output import Summary

_PAUSE_S = 10.0
_SHOWN = 5


class Progress:
    """A line every ten seconds: files and audio done, both at the pace since the first ones, and the time left.

    Args:
        total: files in all.
        done: by an earlier start.
        now: seconds.
        show: takes a line.
    """

    def __init__(
        self,
        total: int,
        done: int,
        *,
        now: Callable[[], float] = time.monotonic,
        show: Callable[[str], None] = lambda line: print(line, flush=True),
    ) -> None:
        self._total, self._done, self._before = total, done, done
        self._now, self._show = now, show
        self._started = self._shown = now()
        self._seconds = 0.0
        self._first: tuple[float, int, float] | None = None

    def add(self, files: int, seconds: float) -> None:
        """So many more files are done, with so much audio."""
        now = self._now()
        self._done += files
        self._seconds += seconds
        # The first ones waited for processes to start: they are no measure of the rest.
        self._first = self._first or (now, self._done, self._seconds)
        if now - self._shown >= _PAUSE_S:
            self._shown = now
            heard = f"{self._seconds / 3600:.2f} h of audio"
            self._show(f"[{clock(now - self._started)}] {self._done}/{self._total} files  {heard}{self._pace(now)}")

    def _pace(self, now: float) -> str:
        assert self._first is not None
        at, files, seconds = self._first
        if now == at:
            return ""
        pace = f"  {(self._seconds - seconds) / (now - at):.0f} h per hour"
        if self._done == files:
            return pace  # A long recording is on its way.
        rate = (self._done - files) / (now - at)
        return f"  {rate:.1f} files/s{pace}  about {clock((self._total - self._done) / rate)} left"

    def end(self, summary: Summary, out: str) -> None:
        """Print what the output contains, and how long it took."""
        passed = max(self._now() - self._started, 1e-9)
        files = self._done - self._before
        self._show(f"files     {self._total}, rows {summary.rows}, of which {summary.failed} have no prediction")
        for _, (n, first) in sorted(summary.failures.items(), key=lambda item: -item[1][0])[:_SHOWN]:
            self._show(f"  {n} such as {first}")
        if len(summary.failures) > _SHOWN:
            self._show(f"  and {len(summary.failures) - _SHOWN} more kinds of reasons, in the column note")
        here = f" ({files} of the files)" if self._before else ""
        self._show(
            f"time      {passed:.1f} s{here}, {files / passed:.1f} files/s, "
            f"{self._seconds / passed:.0f} h of audio per hour\n"
            f"written   {out}"
        )
