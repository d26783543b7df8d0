"""Measure the speed of training, evaluation, data processing and orchestration on this machine; print a table and
save it as JSON."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from raysys.cli import exit_codes
from raysys.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Command:
    rows: Literal["main", "training", "scaling", "sizes", "onnx", "serving"] = "main"
    """main: all but the long ones. training: only training step and evaluation, which need neither Ray nor a corpus.
    scaling: how time and memory grow with corpus size and number of trials, with a figure. sizes: seconds and memory of
    preparing, and of training on, --sizes utterances. onnx: prediction by PyTorch and by exported graphs. serving:
    requests per second and latencies of --model behind `raysys serve`, batched and one by one."""
    out: Path = Path("runs/bench.json")
    """Output file for the rows."""
    repeats: int = 3
    """Rounds per comparison; the table shows median and range."""
    ravdess: str | None = None
    """Folder of RAVDESS for the corpus-size rows; None: the demo corpus."""
    sizes: tuple[int, ...] = (2_000, 20_000)
    """Numbers of utterances for the sizes rows, 1,200 and more, made up beside --out."""
    model: str | None = None
    """Model or run for the serving rows."""


def main() -> None:
    command = tyro.cli(Command, description=__doc__)
    with exit_codes():
        if command.rows == "serving" and command.model is None:
            raise ConfigError("--rows serving measures a model: add --model with the folder of a model or a run.")
    from raysys.allocator import ENVIRONMENT

    # Measure all loops, the plain one too, with a trial's settings; the allocator reads them at process start.
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
        case "sizes":
            run.bench_sizes(command.out, command.sizes, scratch=command.out.parent / f"{command.out.stem}-sizes")
        case "onnx":
            run.bench_onnx(command.out, repeats=command.repeats)
        case "serving":
            assert command.model is not None
            run.bench_serving(command.out, command.model)
