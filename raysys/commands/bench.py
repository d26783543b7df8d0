"""Measure how fast training, evaluation, the data's parts and the orchestration are on this machine; print a table and
keep it as JSON."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro


@dataclass(frozen=True, kw_only=True)
class Command:
    rows: Literal["main", "training", "scaling"] = "main"
    """main: all but the long ones. training: step and evaluation alone, which need neither Ray nor a corpus.
    scaling: how time and memory grow with the corpus and the number of trials, with a picture."""
    out: Path = Path("runs/bench.json")
    """Where the rows are written."""
    repeats: int = 3
    """Rounds of each comparison; the table shows their median and range."""
    ravdess: str | None = None
    """Folder of RAVDESS, for the rows on corpus size; None: the demo corpus."""


def main() -> None:
    command = tyro.cli(Command, description=__doc__)
    from raysys.allocator import ENVIRONMENT

    # All loops are measured as a trial runs, the plain one too; the allocator reads this when a process starts.
    if any(os.environ.get(name) != value for name, value in ENVIRONMENT.items()):
        os.execve(sys.executable, [sys.executable, "-m", "raysys", "bench", *sys.argv[1:]], os.environ | ENVIRONMENT)
    from raysys.bench import run

    match command.rows:
        case "main":
            run.bench(command.out, repeats=command.repeats)
        case "training":
            run.bench_training(command.out, repeats=command.repeats)
        case "scaling":
            run.bench_scaling(command.out, ravdess=command.ravdess)
