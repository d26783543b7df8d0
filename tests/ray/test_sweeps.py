"""Grid search and ablation on real Ray clusters, on small corpora with tiny encoders."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray
from ray.cluster_utils import Cluster

from raysys.cli import parse
from raysys.config import ExperimentConfig
from raysys.errors import ConfigError
from raysys.inference import load_model, read_waveform
from raysys.runs.ablation import ablation
from raysys.runs.grid import gridsearch
from raysys.runs.variants import chosen
from raysys.training.checkpoint_files import BEST, LAST
from tests.corpora.iemocap_folder import write_iemocap
from tests.ray.conftest import Head

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).resolve().parents[2]
GRID = ("loss.alpha=0.1,1", "loss.beta=0.1,0")


def _flags(corpus: Path, runs: Path, *more: str) -> list[str]:
    flags = ["--preset", "demo-short", "--corpus.name", "iemocap", "--corpus.root", str(corpus)]
    flags += ["--model.audio", "light", "--model.text", "tiny", "--model.width", "32", "--model.heads", "4"]
    flags += ["--model.feed-forward", "64", "--train.epochs", "2", "--train.batch-size", "8", "--augment.cbca", "none"]
    return [*flags, "--run.root", str(runs), "--track.no-wandb", *more]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_iemocap(tmp_path_factory.mktemp("corpus") / "IEMOCAP", sessions=3, traps=False)


def _config(*flags: str) -> ExperimentConfig:
    return parse(list(flags)).config


def _results(run: Path) -> dict[str, dict[str, Any]]:
    """Content of every result.json, by the trial's folder."""
    return {path.parent.name: json.loads(path.read_text()) for path in sorted(run.glob("trials/*/result.json"))}


def _lasting(results: dict[str, Any]) -> dict[str, Any]:
    """A sweep's results without the times that it took."""
    kept = {name: value for name, value in results.items() if name not in ("seconds", "made")}
    return kept | {"grid": {k: v for k, v in results["grid"].items() if k != "seconds_beyond_training"}}


def _kill_when(started: subprocess.Popen[bytes], run: Path, n_results: int, limit_s: float = 300) -> None:
    end = time.monotonic() + limit_s
    while len(_results(run)) < n_results:
        assert started.poll() is None, "the sweep ended before it could be killed"
        assert time.monotonic() < end, f"no {n_results} results after {limit_s} s"
        time.sleep(0.05)
    started.send_signal(signal.SIGKILL)
    started.wait()


@pytest.mark.slow
def test_a_grid_search_killed_half_way_goes_on_and_gives_what_an_undisturbed_one_gives(
    joined: Head, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    whole = dataclasses.asdict(
        gridsearch(_config(*_flags(corpus, runs, "--run.name", "whole")), GRID, early_stopping=False)
    )
    folder = runs / "whole"
    trials = _results(folder)
    assert len(trials) == 4 * 3
    final = json.loads((folder / "final" / "result.json").read_text())
    assert final["point"].startswith("final")
    assert whole["grid"]["n_trials"] == 12
    assert pq.read_table(folder / "predictions.parquet").num_rows == 3 * 2 * 4 * 2
    assert not list(folder.glob("trials/*/*.safetensors"))
    assert len(list(folder.glob("trials/*/model/config.json"))) == 3, (
        "a model of each fold's choice, and of nothing else"
    )
    _check_choices(whole, list(trials.values()))

    # Killed after a few trials; the same command again.
    flags = _flags(corpus, runs, "--run.name", "killed")
    command = [sys.executable, str(ROOT / "jobs" / "gridsearch.py"), *flags]
    command += [part for axis in GRID for part in ("--grid", axis)]
    killed = runs / "killed"
    with (tmp_path / "log").open("wb") as log:
        started = subprocess.Popen(command, env=os.environ | joined.environment, stdout=log, stderr=log)
        _kill_when(started, killed, 4)
    written = {name: (killed / "trials" / name / "result.json").stat().st_mtime_ns for name in _results(killed)}
    assert 4 <= len(written) < 12
    capsys.readouterr()
    # Gone on with one trial at a time, all in one process, where the undisturbed sweep ran two at once.
    again = dataclasses.asdict(
        gridsearch(_config(*flags, "--cluster.max-concurrent-trials", "1"), GRID, early_stopping=False)
    )
    assert f"kept      {len(written)} of 12 trials" in capsys.readouterr().out
    for name, mtime in written.items():
        assert (killed / "trials" / name / "result.json").stat().st_mtime_ns == mtime, "a finished trial was repeated"
    assert _lasting(again) == _lasting(whole)
    for predictions in folder.rglob("predictions.parquet"):
        same = killed / predictions.relative_to(folder)
        assert pq.read_table(same).equals(pq.read_table(predictions)), f"{same} differs to the bit"

    # The final model, in a fresh process, says what it says here.
    _check_model(folder, corpus)

    # Test labels planted at random after training: every nested choice stays; what is called optimistic moves.
    _plant(folder)
    planted = dataclasses.asdict(
        gridsearch(_config(*_flags(corpus, runs, "--run.name", "whole")), GRID, early_stopping=False)
    )
    assert planted["grid"]["nested"] == whole["grid"]["nested"]
    assert planted["grid"]["final"] == whole["grid"]["final"]
    assert [f["epoch"] for f in planted["folds"]] == [f["epoch"] for f in whole["folds"]]
    assert planted["grid"]["optimistic"] != whole["grid"]["optimistic"]

    # The folder belongs to this grid.
    with pytest.raises(ConfigError, match="another configuration"):
        gridsearch(_config(*flags), GRID[:1], early_stopping=False)


def _check_choices(results: dict[str, Any], trials: list[dict[str, Any]]) -> None:
    """Computed again from the trials' own files."""
    for fold, point in results["grid"]["nested"].items():
        rivals = [t for t in trials if t["fold"] == int(fold)]
        best = max(rivals, key=lambda t: (t["validation_ua"], -t["validation_loss"]))
        assert point == best["point"]
        assert results["folds"][int(fold) - 1]["trial"] == f"trials/{best['trial_id']}"
    means = {p["name"]: p["validation_ua"] for p in results["grid"]["points"]}
    for name, mean in means.items():
        assert mean == pytest.approx(np.mean([t["validation_ua"] for t in trials if t["point"] == name]))
    final = results["grid"]["final"]
    assert means[final["point"]] == max(means.values())
    assert final["epochs"] in [t["epoch"] for t in trials if t["point"] == final["point"]]


def _check_model(run: Path, corpus: Path) -> None:
    path = sorted(corpus.glob("Session1/sentences/wav/*/*.wav"))[0]
    here = load_model(str(run / "model")).probabilities([read_waveform(str(path))], ["never leave"])
    code = "import sys; from raysys.inference import load_model, read_waveform as read\n"
    code += "print(load_model(sys.argv[1]).probabilities([read(sys.argv[2])], ['never leave']).tolist())"
    done = subprocess.run(
        [sys.executable, "-c", code, str(run / "model"), str(path)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-2000:]
    np.testing.assert_allclose(json.loads(done.stdout), here, atol=1e-6)
    assert "has no test score" in (run / "model" / "README.md").read_text()


def _plant(run: Path) -> None:
    """Every trace of the test labels in the trials' folders becomes random."""
    generator = random.Random(0)
    for folder in (run / "trials").iterdir():
        if not (folder / "test_curve.json").exists():
            continue
        curve = json.loads((folder / "test_curve.json").read_text())
        planted = [[[generator.randint(0, 9) for _ in row] for row in matrix] for matrix in curve]
        (folder / "test_curve.json").write_text(json.dumps(planted))
        result = json.loads((folder / "result.json").read_text())
        result |= {"wa": generator.random(), "ua": generator.random(), "confusion": planted[0]}
        # As early versions wrote it, without checksums: otherwise the trial counts as damaged.
        del result["crc32"]
        result["files"] = {}
        (folder / "result.json").write_text(json.dumps(result))


@pytest.mark.nightly
def test_early_stopping_leaves_stopped_points_out_and_counts_the_epochs_saved(
    joined: Head, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = _flags(corpus, tmp_path / "runs", "--run.name", "halved", "--train.epochs", "8")
    grid = ("loss.alpha=0.1,1,0.01,0.001",)
    results = dataclasses.asdict(gridsearch(_config(*flags), grid, early_stopping=True))
    found, points = results["grid"], results["grid"]["points"]
    trials = _results(tmp_path / "runs" / "halved")
    stopped = list((tmp_path / "runs" / "halved").glob("trials/*/stopped.json"))
    assert found["n_stopped"] == len(stopped) > 0
    assert len(trials) + len(stopped) == 12
    assert found["epochs_saved"] == sum(8 - json.loads(path.read_text())["epochs"] for path in stopped) > 0
    assert "stopped early, which saved" in capsys.readouterr().out
    finished = {(t["point"], t["fold"]) for t in trials.values()}
    assert all((point, int(fold)) in finished for fold, point in found["nested"].items())
    for point in points:
        assert point["stopped"] == (sum(p == point["name"] for p, _ in finished) < 3)
    assert not next(p for p in points if p["name"] == found["final"]["point"])["stopped"]
    assert not [path for path in stopped if (path.parent / BEST).exists() or (path.parent / LAST).exists()]


# Runs in every Python process of a node, before anything else: it writes down which files are opened below the
# folder that stands for the nodes' own disks.
_WITNESS = """
import os, sys
_local, _own, _log = (os.environ[name] for name in ("WITNESS_LOCAL", "WITNESS_OWN", "WITNESS_LOG"))
def _see(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and arguments[0].startswith(_local):
        if not arguments[0].startswith(_own):
            with os.fdopen(os.open(_log, os.O_CREAT | os.O_APPEND | os.O_WRONLY), "a") as file:
                file.write(arguments[0] + chr(10))
sys.addaudithook(_see)
open(os.path.join(_own, "watched"), "a").close()
"""


@pytest.fixture
def three_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, Path]]:
    """A cluster of three nodes, each with a home and temporary folder of its own; theirs, and the witness's log."""
    local, log, site = tmp_path / "local", tmp_path / "opened", tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(_WITNESS)
    # Unix sockets lie below it: the path must be short.
    short = Path(f"/tmp/rs{os.getpid()}")

    def own(name: str) -> dict[str, str]:
        folder = local / name
        (folder / "tmp").mkdir(parents=True)
        places = {"HOME": str(folder), "TMPDIR": str(folder / "tmp"), "RAY_worker_niceness": "0"}
        watch = {"WITNESS_LOCAL": str(local), "WITNESS_OWN": str(folder), "WITNESS_LOG": str(log)}
        return places | watch | {"PYTHONPATH": f"{site}:{ROOT}"}

    # Room for one trial of two CPUs and one more for its data: three trials at once need three nodes.
    node = {"num_cpus": 3, "object_store_memory": 200_000_000}
    cluster = Cluster(head_node_args=node | {"env_vars": own("head"), "temp_dir": str(short)}, initialize_head=True)
    try:
        for name in ("second", "third"):
            cluster.add_node(**node, env_vars=own(name))
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        yield local, log
    finally:
        ray.shutdown()
        cluster.shutdown()
        shutil.rmtree(short, ignore_errors=True)


@pytest.mark.nightly
def test_an_ablation_runs_on_every_node_and_none_reads_anothers_disk(
    three_nodes: tuple[Path, Path], corpus: Path, tmp_path: Path
) -> None:
    local, log = three_nodes
    flags = _flags(
        corpus, tmp_path / "shared", "--run.name", "wide", "--train.epochs", "1", "--cluster.cpus-per-worker", "2"
    )
    config = _config(*flags)
    results = dataclasses.asdict(ablation(config, chosen(config, ["mean=model.pooling mean"], []), [0]))
    rows = results["ablation"]["variants"]
    assert [row["name"] for row in rows] == [
        "full", "no CPC, no ECL", "cross-entropy on both views", "no augmentation", "no CCB1", "no CCB2", "audio only",
        "text only", "mean",
    ]  # fmt: skip
    trials = _results(tmp_path / "shared" / "wide")
    assert len(trials) == 9 * 3
    # Whether the third has a trial left by the time its process has started is a matter of luck.
    assert len({t["node"] for t in trials.values()}) >= 2, "one node trained everything"
    assert not list((tmp_path / "shared" / "wide").glob("trials/*/*.safetensors")), "an ablation chooses nothing"
    assert rows[0]["difference"] is None
    for row in rows[1:]:
        low, high = row["difference"]["ua_ci95"]
        assert low <= row["difference"]["ua"] <= high
        assert row["difference"]["ua"] == pytest.approx(row["ua_mean"] - rows[0]["ua_mean"])
    sizes = {row["name"]: row["parameters"] for row in rows}
    assert max(sizes, key=lambda name: sizes[name]) in ("full", "no augmentation", "mean")
    assert sizes["full"] == sizes["no augmentation"] == sizes["mean"]
    assert all(sizes[name] < sizes["full"] for name in ("no CPC, no ECL", "no CCB1", "no CCB2", "audio only"))
    # The witness was there, and saw each node on its own disk alone.
    assert sorted(path.parent.name for path in local.glob("*/watched")) == ["head", "second", "third"]
    assert not log.exists(), f"a node read another's disk: {log.read_text()[:2000]}"
