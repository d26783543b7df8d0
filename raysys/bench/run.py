"""All benchmark rows, as a table and as a file."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from raysys.bench.data import data_rows
from raysys.bench.measure import Row, row_of
from raysys.bench.speech import wav_bytes
from raysys.bench.training import evaluation_row, full_setting, small_setting, training_rows

_UTTERANCES = 2000
_BATCHES = 4
_REQUESTS = 300
_SERVED_S = 3.0
_MODELS = (
    "small: wav2vec 2.0 and DistilBERT at a quarter of width and depth, batch 16, float32\n"
    "full: paper preset at full size, batch 16, bfloat16; its plain loop: float32, batch 2, accumulated 8 times"
)
_SMALL = "small"
_FULL = "full"


def bench(out: Path, *, repeats: int) -> None:
    """Measure, print, and write `out` as JSON: {"machine": ..., "rows": [{"name", "value", "unit", "low", "high"}]}.

    Args:
        repeats: rounds per comparison.
    """
    from raysys.bench.orchestration import orchestration_rows

    machine = _introduce()
    rows = _gpu_rows(repeats) if torch.cuda.is_available() else []
    print(_MODELS)
    setting = small_setting(_UTTERANCES)
    rows += _shown(training_rows(setting, batches=_BATCHES, repeats=repeats, note=_SMALL))
    rows += _shown([evaluation_row(setting, batches=_BATCHES, repeats=repeats, note=_SMALL)])
    rows += _shown(data_rows(setting.speech, repeats=repeats))
    with tempfile.TemporaryDirectory() as scratch:
        rows += _shown(orchestration_rows(Path(scratch)))
    _write(out, machine, rows)


def bench_scaling(out: Path, *, ravdess: str | None) -> None:
    """The long-running rows, with a figure beside `out`."""
    from raysys.bench.scaling import scaling_rows

    machine = _introduce()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        rows, growth = scaling_rows(ravdess, Path(scratch), out.with_suffix(".png"), _shown)
    _write(out, machine, rows, growth=growth)


def bench_onnx(out: Path, *, repeats: int) -> None:
    """Prediction by PyTorch and by exported graphs, which need neither Ray nor a corpus."""
    from raysys.bench.onnx import onnx_rows

    machine = _introduce()
    _write(out, machine, onnx_rows(repeats, _shown))


def bench_training(out: Path, *, repeats: int) -> None:
    """Only training and evaluation, which need neither Ray nor a corpus."""
    machine = _introduce()
    if torch.cuda.is_available():
        rows = _gpu_rows(repeats)
    else:
        print(_MODELS)
        setting = small_setting(_UTTERANCES)
        rows = _shown(training_rows(setting, batches=_BATCHES, repeats=repeats, note=_SMALL))
        rows += _shown([evaluation_row(setting, batches=_BATCHES, repeats=repeats, note=_SMALL)])
    _write(out, machine, rows)


def bench_serving(out: Path, model: str) -> None:
    """A model behind `raysys serve`, asked for noise of three seconds."""
    # Imported here: the other rows do not need what serving does.
    from raysys.bench.serving import serving_rows

    machine = _introduce()
    rows: list[Row] = []
    for found in serving_rows(model, [wav_bytes(seed, _SERVED_S) for seed in range(8)], requests=_REQUESTS):
        rows += _shown(found)
    _write(out, machine, rows, model=model)


def bench_sizes(out: Path, sizes: Sequence[int], *, scratch: Path) -> None:
    """Seconds and memory of each phase at these numbers of utterances, made up below `scratch`, which stays."""
    from raysys.bench.size import size_rows

    machine = _introduce()
    _write(out, machine, [row for found in size_rows(scratch, sizes) for row in _shown(found)])


def _gpu_rows(repeats: int) -> list[Row]:
    print(_MODELS)
    device = torch.device("cuda")
    torch.cuda.reset_peak_memory_stats()
    setting = full_setting(_UTTERANCES, device)
    rows = training_rows(setting, batches=8, repeats=repeats, note=_FULL, plain_batch=2)
    rows.append(evaluation_row(setting, batches=8, repeats=repeats, note=_FULL))
    rows.append(row_of("memory", [torch.cuda.max_memory_allocated() / 2**30], "GiB", torch.cuda.get_device_name()))
    return _shown([dataclasses.replace(row, name=f"gpu_{row.name}") for row in rows])


def _introduce() -> dict[str, object]:
    machine = _machine()
    print(", ".join(f"{name} {value}" for name, value in machine.items()), flush=True)
    return machine


def _write(out: Path, machine: dict[str, object], rows: list[Row], **more: object) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    values = {"machine": machine, "rows": [dataclasses.asdict(row) for row in rows], **more}
    out.write_text(json.dumps(values, indent=2) + "\n")
    print(f"load at the end {os.getloadavg()[0]:.1f}; {out}")


def _shown(rows: list[Row]) -> list[Row]:
    for row in rows:
        spread = "" if row.low == row.high else f"{row.low:.3g} to {row.high:.3g}"
        print(f"{row.name:26} {row.value:9.3g} {row.unit:14} {spread:18} {row.note}", flush=True)
    return rows


def _machine() -> dict[str, object]:
    gpu = {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    return gpu | {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "load": round(os.getloadavg()[0], 1),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()
