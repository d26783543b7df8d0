"""Overhead of the system around training: startup, feeding, one more trial."""

from __future__ import annotations

import json
from pathlib import Path

from raysys.bench.commands import run_job
from raysys.bench.measure import Row, row_of

_TWO_STEPS = ("--train.epochs", "1", "--train.max-steps", "2")
_FEED = ("--preset", "light", "--corpus.name", "demo", "--train.epochs", "2")


def orchestration_rows(scratch: Path) -> list[Row]:
    """Rows measured on the demo corpus, with the jobs' own commands."""
    cold = run_job("crossval", scratch, "cold", *_TWO_STEPS)
    grid = run_job("gridsearch", scratch, "grid", "--grid", "loss.alpha=1,0.1", *_TWO_STEPS)
    beyond = json.loads((grid.folder / "results.json").read_text())["grid"]["seconds_beyond_training"]
    made = run_job("crossval", scratch, "made", *_FEED)
    fresh = run_job("crossval", scratch, "fresh", *_FEED, "--augment.variants", "0")
    waits = [[h["waited_s"] / h["seconds"] for h in ran.histories()] for ran in (made, fresh)]
    gib = 2**30
    return [
        row_of("time_to_first_step_s", [grid.first_step_s], "s", "a grid on the demo, already decoded and augmented"),
        row_of("time_to_first_step_cold_s", [cold.first_step_s], "s", "demo generated, decoded and augmented first"),
        row_of("trial_overhead_s", [beyond], "s", "median over a grid of 10 trials"),
        row_of("data_wait_share", waits[0], "of 1", "light, demo, precomputed views; by epoch and fold"),
        row_of("data_wait_share_new_views", waits[1], "of 1", "the same, augmented during training"),
        row_of("driver_memory", [fresh.driver_bytes / gib], "GiB", "the same"),
        row_of("trial_memory", [fresh.trial_bytes / gib], "GiB", "the same; largest training process"),
        row_of("shared_memory", [fresh.store_bytes / gib], "GiB", "the same; most mapped by one process"),
    ]
