"""All rows of the benchmark, as a table and as a file."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import resource
from pathlib import Path

import torch

from raysys.bench.data import data_rows
from raysys.bench.measure import Row, row_of
from raysys.bench.training import evaluation_row, small_setting, training_rows

_UTTERANCES = 96
_NOTE = "wav2vec 2.0 and DistilBERT at a fourth of their width, batch 16, float32"


def bench(out: Path, *, repeats: int) -> None:
    """Measure, print, and write `out` as JSON: {"machine": ..., "rows": [{"name", "value", "unit", "low", "high"}]}.

    Args:
        repeats: rounds of each comparison, after one that is not counted.
    """
    machine = _machine()
    print(", ".join(f"{name} {value}" for name, value in machine.items()), flush=True)
    rows: list[Row] = []
    with small_setting(_UTTERANCES) as setting:
        rows += _shown(training_rows(setting, repeats=repeats, note=_NOTE))
        rows += _shown([evaluation_row(setting, repeats=repeats, note=_NOTE)])
        rows += _shown(data_rows(setting.speech, repeats=repeats))
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows += _shown([row_of("peak_memory", [peak_kb / 2**20], "GiB", "of this process")])
    out.parent.mkdir(parents=True, exist_ok=True)
    values = {"machine": machine, "rows": [dataclasses.asdict(row) for row in rows]}
    out.write_text(json.dumps(values, indent=2) + "\n")
    print(f"load at the end {os.getloadavg()[0]:.1f}; {out}")


def _shown(rows: list[Row]) -> list[Row]:
    for row in rows:
        spread = "" if row.low == row.high else f"{row.low:.3g} to {row.high:.3g}"
        print(f"{row.name:22} {row.value:9.3g} {row.unit:14} {spread:18} {row.note}", flush=True)
    return rows


def _machine() -> dict[str, object]:
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "load": round(os.getloadavg()[0], 1),
    }
