"""Measure how fast training, evaluation and the data's parts are on this machine; print a table and keep it as JSON."""

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True, kw_only=True)
class Command:
    out: Path = Path("runs/bench.json")
    """Where the rows are written."""
    repeats: int = 3
    """Rounds of each comparison; the table shows their median and range."""


if __name__ == "__main__":
    command = tyro.cli(Command, description=__doc__)
    from raysys.bench.run import bench

    bench(command.out, repeats=command.repeats)
