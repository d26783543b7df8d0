"""Timing side by side: what is compared runs in turns, so that a busy machine slows both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measurement: the median of its repetitions, and their range.

    Attributes:
        note: what it was measured on, or what limits it.
    """

    name: str
    value: float
    unit: str
    low: float
    high: float
    note: str = ""


def row_of(name: str, values: Sequence[float], unit: str, note: str = "") -> Row:
    return Row(name=name, value=statistics.median(values), unit=unit, low=min(values), high=max(values), note=note)


def side_by_side(runs: Sequence[Callable[[], object]], repeats: int) -> list[list[float]]:
    """Seconds of each run, by run, of `repeats` rounds in which each takes its turn. Warm up before."""
    seconds: list[list[float]] = [[] for _ in runs]
    for _ in range(repeats):
        for taken, run in zip(seconds, runs, strict=True):
            started = time.perf_counter()
            run()
            taken.append(time.perf_counter() - started)
    return seconds


def ratios(slow: Sequence[float], fast: Sequence[float]) -> list[float]:
    """How many times faster, round by round."""
    return [a / b for a, b in zip(slow, fast, strict=True)]
