"""Interleaved timing: compared functions take turns, so that a busy machine slows all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measurement: median and range of its repetitions.

    Attributes:
        note: what it was measured on, or its limits.
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
    """Seconds of each run in `repeats` interleaved rounds, by run. Warm up first."""
    seconds: list[list[float]] = [[] for _ in runs]
    for _ in range(repeats):
        for taken, run in zip(seconds, runs, strict=True):
            started = time.perf_counter()
            run()
            taken.append(time.perf_counter() - started)
    return seconds


def ratios(slow: Sequence[float], fast: Sequence[float]) -> list[float]:
    """Speed-up factor for each round."""
    return [a / b for a, b in zip(slow, fast, strict=True)]
