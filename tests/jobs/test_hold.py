"""cluster/hold.py: its requests to the autoscaler, when the command starts, and how both end."""

from __future__ import annotations

import runpy
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

HOLD = Path(__file__).resolve().parents[2] / "cluster" / "hold.py"


class Autoscaler:
    """Adds one GPU node each time it is polled, up to the number requested."""

    def __init__(self, most: int) -> None:
        self.most, self.gpus, self.asked = most, 0, list[int]()

    def request(self, bundles: list[dict[str, int]]) -> None:
        assert all(bundle == {"GPU": 1} for bundle in bundles)
        self.asked.append(len(bundles))

    def resources(self) -> dict[str, float]:
        self.gpus = min(self.gpus + 1, self.asked[-1], self.most)
        return {"GPU": float(self.gpus)} if self.gpus else {}


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The script's `main`, with a cluster that grows to two GPUs."""
    before = signal.getsignal(signal.SIGTERM)
    module = runpy.run_path(str(HOLD))
    main, cluster = module["main"], Autoscaler(most=2)
    monkeypatch.setattr(ray, "init", lambda **_: None)
    monkeypatch.setattr(ray, "cluster_resources", cluster.resources)
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True}] * (1 + cluster.gpus) + [{"Alive": False}])
    monkeypatch.setitem(main.__globals__, "request_resources", cluster.request)
    monkeypatch.setitem(main.__globals__, "POLL_S", 0.01)
    monkeypatch.setitem(main.__globals__, "RENEWED_S", 0.05)
    monkeypatch.setitem(main.__globals__, "PATIENCE_S", 0.5)

    def run(*arguments: str) -> tuple[Any, Autoscaler]:
        monkeypatch.setattr("sys.argv", ["hold.py", *arguments])
        try:
            return main(), cluster
        except SystemExit as stopped:
            return stopped.code, cluster

    yield run
    signal.signal(signal.SIGTERM, before)


def python(code: str) -> list[str]:
    return ["--", sys.executable, "-c", code]


def test_the_command_starts_when_the_gpus_are_there_and_they_are_released_after_it(hold: Any, tmp_path: Path) -> None:
    code, cluster = hold("--gpus", "2", "--nodes", "3", *python(f"open({str(tmp_path / 'ran')!r}, 'w'); exit(75)"))
    assert (tmp_path / "ran").exists()
    assert code == 75
    assert cluster.gpus == 2
    assert set(cluster.asked[:-1]) == {2} and cluster.asked[-1] == 0


def test_gpus_are_requested_again_while_the_command_runs(hold: Any) -> None:
    """Ray Data makes requests too, and the last one counts."""
    _, cluster = hold("--gpus", "2", *python("import time; time.sleep(1)"))
    waiting = 2  # polls until both are there
    assert cluster.asked[-1] == 0
    assert set(cluster.asked[:-1]) == {2} and len(cluster.asked) > waiting + 5


def test_gpus_that_never_come_are_an_error_and_are_released(hold: Any, tmp_path: Path) -> None:
    code, cluster = hold("--gpus", "3", *python(f"open({str(tmp_path / 'ran')!r}, 'w')"))
    assert "the cluster has 2 of 3 GPUs and 3 of 1 nodes" in code
    assert not (tmp_path / "ran").exists()
    assert set(cluster.asked[:-1]) == {3} and cluster.asked[-1] == 0


def test_sigterm_reaches_the_command(hold: Any) -> None:
    code, cluster = hold(
        *python(
            "import os, signal, time; signal.signal(signal.SIGTERM, lambda *_: exit(75));"
            "os.kill(os.getppid(), signal.SIGTERM); time.sleep(30)"
        )
    )
    assert code == 75
    assert cluster.asked == [0, 0]


def test_without_a_command_the_gpus_of_a_killed_job_are_released(hold: Any) -> None:
    assert hold("--gpus", "0")[1].asked == [0]
