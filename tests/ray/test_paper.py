"""Everything that the paper reports, at the smallest size, on a real cluster; killed in the middle and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.corpora.iemocap_folder import write_iemocap
from tests.ray.conftest import Head

pytestmark = [pytest.mark.cluster, pytest.mark.nightly]
ROOT = Path(__file__).resolve().parents[2]


def write_ravdess(root: Path, *, actors: int = 5) -> Path:
    """One file of each emotion by each actor; noise, in RAVDESS's names."""
    rng = np.random.default_rng(0)
    for actor in range(1, actors + 1):
        for emotion in range(1, 9):
            path = root / f"Actor_{actor:02d}" / f"03-01-{emotion:02d}-01-01-01-{actor:02d}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, rng.normal(size=8000) * 0.02 * emotion, 16_000)
    return root


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two points on three sessions, and on the paper's five groups of actors, each of one."""
    folder = tmp_path_factory.mktemp("paper")
    iemocap = write_iemocap(folder / "IEMOCAP", sessions=3, traps=False)
    ravdess = write_ravdess(folder / "RAVDESS")
    flags = ["--iemocap", str(iemocap), "--ravdess", str(ravdess), "--preset", "light", "--train.epochs", "2"]
    flags += ["--model.width", "32", "--model.feed-forward", "64", "--augment.cbca", "none", "--augment.variants", "1"]
    flags += ["--grid", "loss.alpha=1,0.1", "--grid", "loss.beta=0.1"]
    flags += ["--run.root", str(folder / "runs"), "--run.name", "paper", "--track.no-wandb"]
    return [sys.executable, str(ROOT / "jobs" / "paper.py"), *flags]


def results(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.glob("*/trials/*/result.json")}


def test_the_whole_paper_killed_in_the_middle_goes_on_and_repeats_nothing(joined: Head, command: list[str]) -> None:
    folder = Path(command[command.index("--run.root") + 1]) / "paper"
    with (folder.parent.parent / "log").open("wb") as log:
        started = subprocess.Popen(command, env=os.environ | joined.environment, stdout=log, stderr=log)
        end = time.monotonic() + 600
        # In the ablation: the first grid is finished.
        while len([name for name in results(folder) if name.startswith("iemocap-ablation")]) < 5:
            assert started.poll() is None, (folder.parent.parent / "log").read_text()[-3000:]
            assert time.monotonic() < end
            time.sleep(0.1)
        started.send_signal(signal.SIGKILL)
        started.wait()
    before = results(folder)
    done = subprocess.run(command, env=os.environ | joined.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert {name: mtime for name, mtime in results(folder).items() if name in before} == before

    assert "kept      6 of 6 trials" in done.stdout
    assert "taken     3 of " in done.stdout, "the full model's trials are the grid search's own"
    found = {name: json.loads((folder / name / "results.json").read_text()) for name in _runs(folder)}
    assert set(found) == {"iemocap-grid", "iemocap-ablation", "ravdess-grid"}
    full = next(v for v in found["iemocap-ablation"]["ablation"]["variants"] if v["name"] == "full")
    grid = found["iemocap-grid"]
    assert (full["wa_mean"], full["ua_mean"]) == (grid["pooled"]["wa"], grid["pooled"]["ua"])
    assert tuple(full["ua_ci95"]) == tuple(grid["pooled"]["ua_ci95"])
    assert full["optimistic_ua"] is not None
    for name in ("iemocap-grid", "ravdess-grid"):
        assert (folder / name / "model" / "model.safetensors").exists()
    for name in ("report.html", "paper.tex", "paper.md", "paper.csv", "figures/iemocap-ablation.png"):
        assert (folder / name).exists(), name
    assert len(list((folder.parent / ".cache").iterdir())) and not list(folder.glob("*/.cache")), "one cache for all"


def _runs(folder: Path) -> list[str]:
    return [path.parent.name for path in folder.glob("*/results.json")]
