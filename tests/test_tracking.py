"""Everything sent to W&B is in the run's local file; if W&B fails, training continues."""

from __future__ import annotations

import json
import logging
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb
from wandb.proto import wandb_internal_pb2

from raysys import tracking
from raysys.errors import ConfigError
from raysys.storage import Folder
from raysys.tracking import WandbTracker, check_names, wandb_folder

ROOT = Path(__file__).resolve().parents[1]
KEY = "0123456789abcdef" * 2 + "planted0"
CLASSES = ("anger", "joy", "fear")
CONFUSION = [[5, 1, 0], [2, 7, 3], [0, 4, 6]]
EPOCHS = [{"loss_total": 1.5, "validation_ua": 0.25}, {"loss_total": 1.25, "validation_ua": 0.5}, {"loss_total": 1.0}]
POINTS = [
    {"name": "alpha=1", "validation_ua": None, "stopped": True, "test_wa": None},
    {"name": "alpha=0.1", "validation_ua": 0.75, "stopped": False, "test_wa": 0.5},
]
_BLOCK = 32_768


class Kept:
    """A .wandb file, read back: records of protocol buffers in LevelDB's log format."""

    def __init__(self, path: Path) -> None:
        self.folder = path.parent
        self.config: dict[str, Any] = {}
        self.history: dict[int, dict[str, Any]] = {}
        self.summary: dict[str, Any] = {}
        self.ended = False
        for record in _records(path.read_bytes()):
            match record.WhichOneof("record_type"):
                case "run":
                    self.run = record.run
                    _update(self.config, record.run.config.update)
                case "config":
                    _update(self.config, record.config.update)
                case "history":
                    _update(self.history.setdefault(record.history.step.num, {}), record.history.item)
                case "summary":
                    _update(self.summary, record.summary.update)
                case "exit":
                    self.ended = True

    def metric(self, name: str) -> list[Any]:
        """Its values, ordered by step."""
        return [self.history[step][name] for step in sorted(self.history) if name in self.history[step]]

    def table(self, name: str) -> dict[str, Any]:
        return json.loads((self.folder / "files" / self.summary[name]["path"]).read_text())


def _records(data: bytes) -> Iterator[wandb_internal_pb2.Record]:
    assert data[:4] == b":W&B"
    at, parts = 7, b""
    while at + 7 <= len(data):
        left = _BLOCK - at % _BLOCK
        if left < 7:
            at += left
            continue
        _, size, kind = struct.unpack_from("<IHB", data, at)
        parts += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # A whole record, or the last part of one.
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def _update(values: dict[str, Any], items: Any) -> None:
    for item in items:
        *path, last = list(item.nested_key) or [item.key]
        inner = values
        for name in path:
            inner = inner.setdefault(name, {})
        inner[last] = json.loads(item.value_json)


def read_back(folder: Path) -> dict[str, list[Kept]]:
    """Runs by their id, earliest first."""
    found: dict[str, list[Kept]] = {}
    for path in sorted(folder.rglob("*.wandb")):
        kept = Kept(path)
        found.setdefault(kept.run.run_id, []).append(kept)
    return found


def clean(environment: dict[str, str], home: Path) -> dict[str, str]:
    """Without a login, and with everything wandb might write inside `home`."""
    kept = {name: value for name, value in environment.items() if not name.startswith(("WANDB_", "XDG_"))}
    return kept | {"HOME": str(home), "TMPDIR": str(home), "NETRC": str(home / "netrc")}


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make(folder: Path | str, run_id: str = "t0", **others: Any) -> WandbTracker:
    values = {"project": "speech", "group": "sweep", "name": f"sweep, {run_id}", "config": {"a": 1}} | others
    return WandbTracker(run_id=run_id, folder=str(folder), **values)


# Real runs, offline, in separate processes: wandb keeps a service running and caches the environment.

SWEEP = """
import json, sys
from raysys.tracking import WandbTracker

folder, told = sys.argv[1], json.loads(sys.argv[2])

def tracker(run_id, **others):
    config = {"loss": {"alpha": 0.1, "scl": "n_pair"}, "corpus": {"classes": ["joy", "fear"]}, "point": run_id}
    return WandbTracker(project="speech", group="sweep", name=f"sweep, {run_id}", run_id=run_id, folder=folder,
                        config=config, **others)

for run_id in ("t1", "t2"):
    trial = tracker(run_id)
    for epoch, metrics in enumerate(told["epochs"]):
        trial.epoch(metrics, epoch)
    trial.finish({"ua": 0.625, "fold": 1, "point": run_id, "confusion": told["confusion"]}, told["classes"])
stopped = tracker("stopped")
stopped.epoch({"loss_total": 7.0}, 0)
# As after a fault: the same trial again, in the process that it began in.
for epoch in (0, 1):
    again = tracker("again")
    again.epoch({"loss_total": float(epoch)}, epoch)
again.finish({"ua": 0.5}, told["classes"])
tracker("s1", job_type="summary").table("points", told["points"], {"ua": 0.875})
"""


def run_sweep(folder: Path, environment: dict[str, str], first: str = "") -> subprocess.CompletedProcess[str]:
    """`first`: code to run before."""
    told = {"epochs": EPOCHS, "classes": CLASSES, "confusion": CONFUSION, "points": POINTS}
    command = [sys.executable, "-c", first + SWEEP, str(folder), json.dumps(told)]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300)


@dataclass(frozen=True)
class Unreachable:
    """A sweep with a key, an unreachable server and a read-only home, as in many containers."""

    place: Path
    server: str
    done: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def unreachable(tmp_path_factory: pytest.TempPathFactory) -> Unreachable:
    place = tmp_path_factory.mktemp("sweep")
    (place / "home").write_text("")
    server = f"http://127.0.0.1:{closed_port()}"
    environment = clean(dict(os.environ), place / "home") | {"TMPDIR": str(place)}
    done = run_sweep(place / "runs" / "x", environment | {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": server})
    assert (done.returncode, done.stdout) == (0, ""), done.stderr[-3000:]
    return Unreachable(place, server, done)


@pytest.fixture(scope="module")
def sweep(unreachable: Unreachable) -> dict[str, list[Kept]]:
    return read_back(unreachable.place / "runs" / "x")


def test_each_trial_has_a_run_with_its_configuration_metrics_and_scores(sweep: dict[str, list[Kept]]) -> None:
    assert sweep.keys() == {"t1", "t2", "stopped", "again", "s1"}
    for run_id in ("t1", "t2"):
        (kept,) = sweep[run_id]
        assert kept.run.project == "speech"
        assert kept.run.run_group == "sweep"
        assert kept.run.display_name == f"sweep, {run_id}"
        assert kept.run.job_type == "trial"
        assert kept.ended
        config = {k: v for k, v in kept.config.items() if k != "_wandb"}
        expected = {"loss": {"alpha": 0.1, "scl": "n_pair"}, "corpus": {"classes": ["joy", "fear"]}, "point": run_id}
        assert config == expected
        for epoch, metrics in enumerate(EPOCHS):
            assert metrics.items() <= kept.history[epoch].items()
        assert kept.metric("loss_total") == [1.5, 1.25, 1.0]
        assert kept.metric("validation_ua") == [0.25, 0.5]
        assert kept.metric("epoch") == [0, 1, 2]
        assert {"ua": 0.625, "fold": 1, "point": run_id, "loss_total": 1.0}.items() <= kept.summary.items()


def test_the_confusion_matrix_is_kept_with_its_counts(sweep: dict[str, list[Kept]]) -> None:
    table = sweep["t1"][0].table("confusion_table")
    assert table["columns"] == ["Actual", "Predicted", "nPredictions"]
    assert {(true, predicted): n for true, predicted, n in table["data"]} == {
        (CLASSES[i], CLASSES[k]): CONFUSION[i][k] for i in range(3) for k in range(3)
    }
    chart = sweep["t1"][0].config["_wandb"]["visualize"]["confusion"]["panel_config"]
    assert chart["panelDefId"] == "wandb/confusion_matrix/v1"
    assert chart["fieldSettings"] == {name: name for name in table["columns"]}


def test_the_summary_run_holds_the_sweeps_table(sweep: dict[str, list[Kept]]) -> None:
    (kept,) = sweep["s1"]
    assert kept.run.job_type == "summary"
    assert kept.summary["ua"] == 0.875
    table = kept.table("points")
    assert [dict(zip(table["columns"], row, strict=True)) for row in table["data"]] == POINTS
    assert kept.ended


def test_a_stopped_trial_takes_nothing_from_the_next_in_its_process(sweep: dict[str, list[Kept]]) -> None:
    (kept,) = sweep["stopped"]
    assert kept.metric("loss_total") == [7.0]
    assert kept.run.display_name == "sweep, stopped"
    assert kept.ended, "otherwise `wandb sync` would show it as running"


def test_a_trial_restarted_in_its_process_continues_under_its_id(sweep: dict[str, list[Kept]]) -> None:
    assert [kept.metric("loss_total") for kept in sweep["again"]] == [[0.0], [1.0]]
    assert sweep["again"][-1].summary["ua"] == 0.5


def test_an_unreachable_server_costs_no_metrics_and_no_key(
    unreachable: Unreachable, sweep: dict[str, list[Kept]]
) -> None:
    said = f"Weights & Biases: kept offline, because {unreachable.server} does not answer "
    assert unreachable.done.stderr.count(said) == 6, "one for each run"
    assert "Weights & Biases stopped" not in unreachable.done.stderr
    assert sweep["t1"][0].metric("loss_total") == [1.5, 1.25, 1.0]
    written = [path for path in unreachable.place.rglob("*") if path.is_file()]
    assert written
    for path in written:
        assert KEY.encode() not in path.read_bytes(), path
    assert not list(unreachable.place.glob("*/artifacts")), "pending uploads are stored in the run's folder"


@pytest.mark.nightly
def test_a_server_that_accepts_connections_without_answering_costs_no_metrics(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with socket.create_server(("127.0.0.1", 0), backlog=100) as mute:
        server = f"http://127.0.0.1:{mute.getsockname()[1]}"
        environment = clean(dict(os.environ), home) | {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": server}
        began = time.monotonic()
        done = run_sweep(tmp_path / "runs", environment, "from raysys import tracking; tracking._BEGIN_S = 4.0")
        took = time.monotonic() - began
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("upload it later with `wandb sync`") == 1, "only one of six trials waits"
    assert "left out" not in done.stderr
    assert took < 60
    runs = read_back(tmp_path / "runs")
    for name in ("t1", "t2"):
        # The run that could not start leaves a file too; it sorts after the offline one.
        assert runs[name][0].metric("loss_total") == [1.5, 1.25, 1.0]
        assert runs[name][0].summary["ua"] == 0.625


@pytest.mark.nightly
def test_a_wandb_process_that_cannot_start_blocks_nothing(tmp_path: Path) -> None:
    """As on a disk mounted noexec: wandb then waits for a lock that it holds itself."""
    home = tmp_path / "home"
    home.mkdir()
    without = f"""
import wandb.sdk.lib.service.service_process as service
from raysys import tracking
service.get_core_path = lambda: {str(tmp_path / "nowhere")!r}
tracking._CALL_S = 4.0
"""
    began = time.monotonic()
    done = run_sweep(tmp_path / "runs", clean(dict(os.environ), home), without)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr[-3000:]
    assert "tracking with Weights & Biases stopped: no answer for 4 s" in done.stderr, (
        "if it raises now, remove this test"
    )
    assert time.monotonic() - began < 60


# With a fake wandb run.


class FakeRun:
    """Accepts what a wandb run accepts; `finish` does what it is told."""

    def __init__(self) -> None:
        self.logged: list[dict[str, Any]] = []
        self.steps: list[int | None] = []
        self.summary: dict[str, Any] = {}
        self.finished = 0

    def log(self, values: dict[str, Any], step: int | None = None) -> None:
        self.logged.append(values)
        self.steps.append(step)

    def finish(self) -> None:
        self.finished += 1


@pytest.fixture(autouse=True)
def no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_DATA_DIR", "put back after the test")
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """Every call of wandb.init: its arguments, and the run it returned."""
    monkeypatch.setattr(WandbTracker, "_open", None)
    calls: list[SimpleNamespace] = []

    def init(**arguments: Any) -> FakeRun:
        calls.append(SimpleNamespace(**arguments, run=FakeRun()))
        return calls[-1].run

    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setattr(wandb, "setup", lambda settings: None)
    return calls


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a server that accepts connections."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize(
    ("environment", "mode"),
    [
        ({}, "offline"),
        ({"WANDB_API_KEY": KEY}, "online"),
        ({"WANDB_API_KEY": ""}, "offline"),
        ({"WANDB_API_KEY": KEY, "WANDB_MODE": "offline"}, "offline"),
        ({"WANDB_API_KEY": KEY, "WANDB_MODE": ""}, "online"),
        ({"WANDB_MODE": "disabled"}, "disabled"),
        ({"WANDB_MODE": "online"}, "online"),
    ],
)
def test_a_run_is_online_with_a_key_and_as_wandb_mode_says(
    asked: list[SimpleNamespace],
    server: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    environment: dict[str, str],
    mode: str,
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", server)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    make(tmp_path)
    assert asked[0].mode == mode
    assert asked[0].resume == ("allow" if mode == "online" else None)


def test_a_server_that_is_down_is_waited_for_a_few_seconds_at_most(
    asked: list[SimpleNamespace], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    waits: list[float] = []

    def silent(address: tuple[str, int], timeout: float) -> None:
        waits.append(timeout)
        raise TimeoutError("timed out")

    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setattr(socket, "create_connection", silent)
    make(tmp_path)
    assert asked[0].mode == "offline"
    assert 0 < waits[0] <= 5
    assert "https://api.wandb.ai does not answer" in caplog.text
    assert KEY not in caplog.text


ADDRESSES = ["http://localhost:80x", "http://[::1", "nonsense", "http://me:planted@localhost:80x", "http://a..b:1"]


@pytest.mark.parametrize("key", [KEY, ""])
@pytest.mark.parametrize("address", ADDRESSES)
def test_an_invalid_server_address_stops_nothing(
    asked: list[SimpleNamespace],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    address: str,
    key: str,
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", address)
    monkeypatch.setenv("WANDB_API_KEY", key)
    tracker = make(tmp_path)
    tracker.epoch({"loss": 1.0}, 0)
    tracker.finish({"ua": 0.5, "confusion": CONFUSION}, CLASSES)
    if "a..b" not in address:
        assert "WANDB_BASE_URL is not a server's address; expected" in caplog.text
    assert "planted" not in caplog.text


class Proxy:
    """A proxy of HTTP on this machine: what it was asked, with which login; it answers one status to all."""

    def __init__(self, status: str) -> None:
        self.asked: list[str] = []
        self._status = status
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listening.accept()
            with connection:
                self.asked.append(connection.recv(65536).decode())
                connection.sendall(f"HTTP/1.1 {self._status}\r\nContent-Length: 0\r\n\r\n".encode())


def proxies(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in values.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("status", ["200 Connection established", "403 Forbidden"])
def test_a_server_behind_a_proxy_is_asked_for_through_it(
    asked: list[SimpleNamespace], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, status: str
) -> None:
    proxy = Proxy(status)
    proxies(monkeypatch, **{variable: f"http://me:plan%40ted@{proxy.host}"})
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    # Nobody answers there, with a proxy or without.
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.invalid:8443")
    tracker = make(tmp_path)
    assert proxy.asked[0].startswith("CONNECT wandb.invalid:8443 HTTP/1.")
    # "me:plan@ted".
    assert "Proxy-Authorization: Basic bWU6cGxhbkB0ZWQ=" in proxy.asked[0]
    if status.startswith("200"):
        assert asked[0].mode == "online" and tracker.notes == []
        return
    assert asked[0].mode == "offline"
    assert tracker.notes == [
        "Weights & Biases: kept offline, because https://wandb.invalid:8443 does not answer through the proxy "
        "127.0.0.1 (Tunnel connection failed: 403 Forbidden); upload it later with `wandb sync`"
    ]


@pytest.mark.parametrize("no_proxy", ["127.0.0.1", "localhost,127.0.0.1", "*"])
def test_a_host_in_no_proxy_is_asked_directly(
    asked: list[SimpleNamespace], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: str, no_proxy: str
) -> None:
    gone = f"http://127.0.0.1:{closed_port()}"
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", server)
    proxies(monkeypatch, http_proxy=gone, no_proxy=no_proxy)
    make(tmp_path)
    proxies(monkeypatch, http_proxy=gone)
    make(tmp_path)
    assert [run.mode for run in asked] == ["online", "offline"]


@pytest.mark.parametrize("name", ["a/b", "what?", "50%", "a:b", "#1", "a\\b", "x" * 129])
def test_a_project_or_entity_that_wandb_refuses_is_refused_before_anything_starts(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(wandb.errors.UsageError):
        wandb.Settings(project=name)
    with pytest.raises(ConfigError, match=r"^--track\.project \(or WANDB_PROJECT\) is '"):
        check_names(name)
    check_names("speech emotion_1.0-é")
    monkeypatch.setenv("WANDB_ENTITY", name)
    with pytest.raises(ConfigError, match=r"^WANDB_ENTITY is '"):
        check_names("speech")


def test_names_too_long_for_wandb_are_cut(asked: list[SimpleNamespace], tmp_path: Path) -> None:
    make(tmp_path, group="g" * 200, name="n" * 200)
    assert (len(asked[0].group), len(asked[0].name)) == (128, 128)


def test_later_trials_of_a_process_say_why_they_are_offline_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: str
) -> None:
    modes: list[str] = []

    def init(mode: str, **_: Any) -> FakeRun:
        modes.append(mode)
        if mode == "online":
            raise wandb.Error("Run initialization has timed out after 20.0 sec.")
        return FakeRun()

    monkeypatch.setattr(WandbTracker, "_offline", "")
    monkeypatch.setattr(WandbTracker, "_open", None)
    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setattr(wandb, "setup", lambda settings: None)
    monkeypatch.setattr(wandb, "teardown", lambda: None)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", server)
    said = (
        "Weights & Biases: kept offline, because Run initialization has timed out after 20.0 sec; upload it later with "
        "`wandb sync`"
    )
    assert [make(tmp_path, run_id).notes for run_id in ("t0", "t1")] == [[said], [said]]
    assert modes == ["online", "offline", "offline"]


def test_a_login_in_the_servers_address_is_not_logged(
    asked: list[SimpleNamespace], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(**_: Any) -> None:
        raise wandb.Error(f"no answer of {address}")

    port = closed_port()
    address = f"http://me:planted@127.0.0.1:{port}"
    monkeypatch.setenv("WANDB_BASE_URL", address)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    make(tmp_path)
    assert asked[0].mode == "offline"
    assert f"http://127.0.0.1:{port} does not answer" in caplog.text
    monkeypatch.setattr(wandb, "init", refuse)
    make(tmp_path)
    assert f"Biases stopped: no answer of http://127.0.0.1:{port}" in caplog.text
    assert "planted" not in caplog.text and "me:" not in caplog.text


@pytest.mark.parametrize("error", [wandb.Error("no such project"), OSError("no space"), RuntimeError("?")])
def test_a_run_that_cannot_begin_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def init(**_: Any) -> None:
        raise error

    monkeypatch.setattr(wandb, "init", init)
    tracker = make(tmp_path)
    tracker.epoch({"loss": 1.0}, 0)
    tracker.table("points", POINTS, {"ua": 0.5})
    tracker.finish({"ua": 0.5, "confusion": CONFUSION}, CLASSES)
    assert [record.getMessage() for record in caplog.records] == [f"tracking with Weights & Biases stopped: {error}"]


def test_a_folder_that_cannot_be_made_stops_nothing(
    asked: list[SimpleNamespace], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    make(tmp_path / "file" / "runs").epoch({"loss": 1.0}, 0)
    assert asked == []
    assert "Biases stopped" in caplog.text


@pytest.mark.parametrize("step", ["log", "summary", "finish"])
@pytest.mark.parametrize("error", [wandb.Error("the connection was lost"), SystemExit(3)])
def test_a_run_that_breaks_or_would_end_the_program_stops_nothing_and_is_named_once(
    asked: list[SimpleNamespace],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    step: str,
    error: BaseException,
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise error

    tracker = make(tmp_path)
    run = asked[0].run
    monkeypatch.setattr(run, step, SimpleNamespace(update=broken) if step == "summary" else broken)
    for epoch in range(3):
        tracker.epoch({"loss": 1.0}, epoch)
    tracker.finish({"ua": 0.5}, CLASSES)
    assert [record.getMessage() for record in caplog.records] == [f"tracking with Weights & Biases stopped: {error}"]
    assert capfd.readouterr() == ("", ""), "no traceback from another thread"


@pytest.mark.parametrize("end", ["finish", "table"])
def test_a_hanging_upload_blocks_neither_this_trial_nor_the_next(
    asked: list[SimpleNamespace],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    end: str,
) -> None:
    """An upload is slow, not stuck: the next trial is still tracked, unlike after a call that never returned."""
    monkeypatch.setattr(tracking, "_FINISH_S", 0.2)
    monkeypatch.setattr(wandb, "Table", lambda **_: None)
    released = threading.Event()
    tracker = make(tmp_path)
    monkeypatch.setattr(asked[0].run, "finish", lambda: released.wait(60))
    try:
        if end == "table":
            tracker.table("points", POINTS, {"ua": 0.5})
        else:
            tracker.finish({"ua": 0.5}, CLASSES)
        following = make(tmp_path, "t1")
        following.epoch({"loss": 1.0}, 0)
        following.finish({}, CLASSES)
    finally:
        released.set()
    assert asked[0].run.summary == {"ua": 0.5}
    assert asked[1].run.logged == [{"loss": 1.0, "epoch": 0}]
    assert asked[1].run.finished == 1
    assert asked[1].reinit == "create_new", "otherwise wandb returns the run that hangs"
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "continuing without waiting" in caplog.text


def test_a_call_that_never_returns_is_the_last(
    asked: list[SimpleNamespace], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(WandbTracker, "_stuck", False)
    released = threading.Event()
    tracker = make(tmp_path)
    monkeypatch.setattr(tracking, "_CALL_S", 0.2)
    monkeypatch.setattr(asked[0].run, "log", lambda *_, **__: released.wait(60))
    try:
        for epoch in range(50):
            tracker.epoch({"loss": 1.0}, epoch)
        tracker.finish({"ua": 0.5}, CLASSES)
        make(tmp_path, "t1").finish({"ua": 0.5}, CLASSES)
    finally:
        released.set()
    assert len(asked) == 1, "the next call would wait for the same locks"
    assert [record.getMessage() for record in caplog.records] == [
        "tracking with Weights & Biases stopped: no answer for 0.2 s"
    ]


def test_a_resumed_trial_continues_at_its_epoch(asked: list[SimpleNamespace], tmp_path: Path) -> None:
    tracker = make(tmp_path)
    for epoch in (5, 6):
        tracker.epoch({"loss": 1.0}, epoch)
    assert asked[0].id == "t0"
    assert asked[0].run.steps == [5, 6]


def test_arguments_are_not_changed(asked: list[SimpleNamespace], tmp_path: Path) -> None:
    config, metrics, summary = {"a": {"b": 1}}, {"loss": 1.0}, {"ua": 0.5, "confusion": CONFUSION}
    tracker = make(tmp_path, config=config)
    tracker.epoch(metrics, 3)
    tracker.finish(summary, CLASSES)
    assert (config, metrics) == ({"a": {"b": 1}}, {"loss": 1.0})
    assert summary == {"ua": 0.5, "confusion": CONFUSION}
    assert asked[0].run.logged[0] == {"loss": 1.0, "epoch": 3}
    assert asked[0].run.summary == {"ua": 0.5}, "the matrix is logged as a chart"


def test_files_are_stored_with_a_run_on_a_disk_and_never_at_an_address(tmp_path: Path) -> None:
    assert wandb_folder(Folder.at(str(tmp_path / "runs" / "x"))) == str(tmp_path / "runs" / "x")
    elsewhere = wandb_folder(Folder.at("memory://bucket/runs/x"))
    assert Path(elsewhere).is_absolute()
    assert "memory" not in elsewhere
