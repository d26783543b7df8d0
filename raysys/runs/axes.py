"""The axes of a grid, and its points. Imports neither Ray nor torch, so that a wrong axis is told at once."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from raysys.config import ExperimentConfig
from raysys.errors import ConfigError
from raysys.runs.points import Point, refuse_equal, varied

PAPER_GRID = ("loss.alpha=1,0.1,0.01,0.001", "loss.beta=1,0.1,0.01,0.001")
"""The paper's 4 x 4 grid (METHOD, section 4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A flag, without its dashes, and the values that a grid gives it, as typed."""

    flag: str
    values: tuple[str, ...]


def parse_axes(grid: Sequence[str]) -> tuple[Axis, ...]:
    """`axis=v1,v2` strings to axes.

    Raises:
        ConfigError: an axis without a name or values, or one that is given twice.
    """
    axes: list[Axis] = []
    for text in grid:
        flag, equals, listed = text.partition("=")
        values = tuple(value.strip() for value in listed.split(",") if value.strip())
        flag = flag.strip().removeprefix("--").replace("_", "-")
        if not equals or not flag or not values:
            raise ConfigError(f"--grid {text}: expected axis=v1,v2, such as --grid loss.alpha=1,0.1.")
        if twice := sorted(value for value, n in Counter(values).items() if n > 1):
            raise ConfigError(f"--grid {text}: {', '.join(twice)} is there more than once.")
        if flag in {axis.flag for axis in axes}:
            raise ConfigError(f"--grid {text}: the axis {flag} is given twice; put all its values into one.")
        axes.append(Axis(flag=flag, values=values))
    if not axes:
        raise ConfigError("--grid: the grid is empty; give at least one axis=v1,v2.")
    return tuple(axes)


def grid_points(config: ExperimentConfig, axes: Sequence[Axis]) -> tuple[Point, ...]:
    """Every combination of the axes' values; the first axis varies slowest.

    Raises:
        ConfigError: an axis that does not exist or may not vary, a value that it refuses.
    """
    short = [axis.flag.rsplit(".", 1)[-1] for axis in axes]
    names = short if len(set(short)) == len(short) else [axis.flag for axis in axes]
    points: list[Point] = []
    for values in itertools.product(*(axis.values for axis in axes)):
        flags = [part for axis, value in zip(axes, values, strict=True) for part in (f"--{axis.flag}", value)]
        where = "--grid " + " ".join(f"{axis.flag}={value}" for axis, value in zip(axes, values, strict=True))
        name = " ".join(f"{name}={value}" for name, value in zip(names, values, strict=True))
        points.append(Point(name=name, config=varied(config, flags, where), typed=values))
    refuse_equal(points)
    if len({point.config.train.select for point in points}) > 1:
        raise ConfigError(
            "--grid train.select: points are chosen by one validation score. Set --train.select for the whole job."
        )
    return tuple(points)
