"""A rank of a group, a process on another node, a whole node are lost: the run goes on with what is left."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from ray.cluster_utils import Cluster

from raysys.cli import parse
from raysys.runs.cluster import running
from raysys.runs.inputs import make_trials, prepare_run
from raysys.runs.points import Point
from raysys.runs.run import check
from raysys.runs.tuner import run_trials
from tests.corpora.iemocap_folder import write_iemocap
from tests.ray.conftest import Head
from tests.ray.test_faults import ended, until

pytestmark = [pytest.mark.cluster, pytest.mark.nightly]
ROOT = Path(__file__).resolve().parents[2]


def flags(corpus: Path, runs: Path) -> list[str]:
    made = ["--corpus.name", "iemocap", "--corpus.root", str(corpus), "--train.epochs", "30"]
    made += ["--model.audio", "tiny", "--model.text", "tiny", "--model.width", "32", "--model.heads", "4"]
    made += ["--model.feed-forward", "64", "--train.batch-size", "4", "--augment.variants", "0"]
    made += ["--augment.cbca", "none", "--track.no-wandb", "--run.root", str(runs)]
    return [sys.executable, str(ROOT / "jobs" / "crossval.py"), *made]


def start(command: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        env=environment | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_killed_rank_is_replaced_with_its_group(joined: Head, tmp_path: Path) -> None:
    corpus = write_iemocap(tmp_path / "IEMOCAP", sessions=3)
    command = [*flags(corpus, tmp_path)[2:], "--cluster.workers-per-trial", "2", "--train.epochs", "10"]
    command += ["--augment.variants", "2"]
    killed: list[int] = []

    def kill(fold: Path) -> None:
        history = fold / "history.jsonl"
        until(lambda: history.exists() and len(history.read_text().splitlines()) >= 3)
        killed.append(json.loads((fold / "worker-1.json").read_text())["pid"])
        os.kill(killed[0], signal.SIGKILL)

    tables = []
    for name in ("whole", "killed"):
        # One fold: a group takes most of a minute to start.
        config = parse([*command, "--run.name", name]).config
        run = check(config, [Point(name="", config=config)], "crossval")
        fold = tmp_path / name / "folds" / "1"
        thread = threading.Thread(target=kill, args=(fold,), daemon=True)
        if name == "killed":
            thread.start()
        with running(config) as joined_cluster:
            trials = make_trials(prepare_run(run, joined_cluster), run.points)[:1]
            run_trials(trials, joined_cluster, keep="all")
        tables.append(pq.read_table(fold / "predictions.parquet"))
    assert killed, "nobody was killed"
    whole, again = tables
    assert again["utterance_id"].equals(whole["utterance_id"])
    for column in (name for name in whole.column_names if name.startswith("p_")):
        np.testing.assert_allclose(again[column], whole[column], atol=1e-4)


@pytest.fixture
def head_alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head on which nothing trains."""
    for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    yield made
    made.shutdown()


@pytest.fixture
def cluster(head_alone: Cluster) -> Cluster:
    """A head and three nodes of two CPUs on this machine: each has room for one trial."""
    for _ in range(3):
        head_alone.add_node(num_cpus=2)
    head_alone.wait_for_nodes()
    return head_alone


def environment_of(cluster: Cluster) -> dict[str, str]:
    return os.environ | {"RAY_ADDRESS": cluster.address, "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}


def test_a_run_starts_on_a_cluster_without_room_asks_for_it_and_trains_on_nodes_that_join(
    head_alone: Cluster, tmp_path: Path
) -> None:
    environment = environment_of(head_alone)
    command = [*flags(write_iemocap(tmp_path / "IEMOCAP", sessions=3), tmp_path), "--train.epochs", "5"]
    process = start([*command, "--run.name", "grown"], environment)
    # One CPU is enough to decode, and not for a trial.
    head_alone.add_node(num_cpus=1)

    def asked() -> bool:
        status = ["ray", "status", "--address", head_alone.address]
        said = subprocess.run(status, env=environment, capture_output=True, text=True, check=False).stdout
        return "3+ pending placement groups" in said

    until(asked, process)
    for _ in range(2):
        head_alone.add_node(num_cpus=2)
    assert "note      no node has 2 CPUs and 0 GPUs for a worker; trials wait until one joins" in ended(process)
    nodes = {json.loads(path.read_text())["node"] for path in (tmp_path / "grown").glob("folds/*/result.json")}
    assert len(nodes) == 2


def test_the_trial_of_a_lost_node_goes_on_elsewhere(cluster: Cluster, tmp_path: Path) -> None:
    corpus = write_iemocap(tmp_path / "IEMOCAP", sessions=3)
    environment = environment_of(cluster)
    command = [*flags(corpus, tmp_path), "--train.epochs", "60"]
    ended(start([*command, "--run.name", "whole"], environment))
    process = start([*command, "--run.name", "hurt"], environment)
    lost, *_ = cluster.worker_nodes
    run = tmp_path / "hurt"

    def trained() -> Path | None:
        """Folder of the trial that has trained some epochs on the node."""
        for path in run.glob("folds/*/worker-0.json"):
            history = path.parent / "history.jsonl"
            with contextlib.suppress(FileNotFoundError):  # it may end this moment
                node = json.loads(path.read_text())["node"]
                if node == lost.node_id and len(history.read_text().splitlines()) >= 3:
                    return path.parent
        return None

    folder = until(trained, process)
    cluster.remove_node(lost, allow_graceful=False)
    said = ended(process)
    assert f"fold {folder.name}: its process was lost; it resumes from its last checkpoint" in said
    assert (folder / "result.json").exists()
    assert pq.read_table(run / "predictions.parquet").equals(pq.read_table(tmp_path / "whole" / "predictions.parquet"))
