"""Checks before a cluster is used: paths that outlive the job, nodes that see the data. Ray is not started."""

from __future__ import annotations

import os
import secrets
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
import ray
from ray._private import services
from ray.core.generated import gcs_service_pb2_grpc

from raysys.config import ClusterConfig
from raysys.errors import ClusterError, StorageError
from raysys.runs import local
from raysys.runs.cluster import _too_small, probe_node, trials_at_once, usable_cores
from raysys.runs.join import join
from raysys.runs.local import keep_token_private
from raysys.storage import Folder


@pytest.fixture
def audio(tmp_path: Path) -> str:
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    return str(tmp_path / "a.wav")


def test_a_node_that_reads_the_corpus_and_writes_the_run_passes_and_leaves_no_files(tmp_path: Path, audio: str) -> None:
    run = Folder.at(str(tmp_path / "run"))
    run.write_bytes(".probe", b"token")
    assert probe_node(run.location, [audio], "token") is None
    assert run.names() == [".probe"]


def test_a_node_without_the_corpus_is_reported(tmp_path: Path, audio: str) -> None:
    missing = str(tmp_path / "b.wav")
    problem = probe_node(str(tmp_path), [audio, missing], "token")
    assert problem is not None and problem.startswith("the audio cannot be read there")
    assert missing in problem


def test_a_node_with_a_different_folder_of_that_name_is_reported(tmp_path: Path, audio: str) -> None:
    """Each node's own disk may have a /runs: a probe file written by the driver tells them apart."""
    problem = probe_node(str(tmp_path / "run"), [audio], "token")
    assert problem is not None and "cannot be read and written there" in problem
    Folder.at(str(tmp_path / "run")).write_bytes(".probe", b"of another run")
    problem = probe_node(str(tmp_path / "run"), [audio], "token")
    assert problem is not None and "is another folder there" in problem


def test_a_node_that_cannot_write_is_reported(tmp_path: Path, audio: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    Folder.at(str(tmp_path)).write_bytes(".probe", b"token")
    monkeypatch.setattr("os.replace", refuse)
    problem = probe_node(str(tmp_path), [audio], "token")
    assert problem is not None and "Read-only file system" in problem


@pytest.mark.parametrize(
    ("settings", "nodes", "gpus_per_worker", "at_once"),
    [
        (ClusterConfig(), [(4, 0)], 0.0, 2),
        (ClusterConfig(), [(1601, 0)], 0.0, 800),
        (ClusterConfig(data_cpus_per_worker=3), [(16, 0)] * 100, 0.0, 400),
        (ClusterConfig(workers_per_trial=2, cpus_per_worker=2), [(11, 0)], 0.0, 1),
        (ClusterConfig(), [(64, 8)], 1.0, 8),
        (ClusterConfig(), [(64, 8)], 0.5, 16),
        (ClusterConfig(), [(10, 8)], 1.0, 5),
        (ClusterConfig(workers_per_trial=4), [(64, 8)], 1.0, 2),
        (ClusterConfig(max_concurrent_trials=3), [(64, 8)], 1.0, 3),
        (ClusterConfig(max_concurrent_trials=30), [(64, 8)], 1.0, 8),
        # A worker's CPUs and GPUs are on one node; leftovers on several nodes do not add up to a worker.
        (ClusterConfig(), [(3, 0), (3, 0)], 0.0, 2),
        (ClusterConfig(), [(0, 0), (8, 1), (8, 1)], 1.0, 2),
        (ClusterConfig(), [(64, 0), (4, 1)], 1.0, 1),
        (ClusterConfig(), [(64, 3), (64, 3)], 2.0, 2),
        (ClusterConfig(workers_per_trial=2), [(4, 1), (4, 1), (4, 1)], 1.0, 1),
    ],
)
def test_as_many_trials_run_at_once_as_nodes_have_room_for_their_workers_and_the_tasks_of_their_data(
    settings: ClusterConfig, nodes: list[tuple[int, int]], gpus_per_worker: float, at_once: int
) -> None:
    assert trials_at_once(settings, nodes, gpus_per_worker) == at_once


def test_a_cluster_too_small_for_one_trial_has_room_for_none_and_says_what_a_trial_needs() -> None:
    two = ClusterConfig(workers_per_trial=2)
    assert trials_at_once(two, [(3, 0)], 0.0) == 0
    said = str(_too_small(two, [(3, 0)], 0.0))
    assert "needs 2 CPUs" in said and "has 2 workers" in said and "(nodes with 3 CPUs and 0 GPUs)" in said
    # As many CPUs as a worker needs, but not on the node that has the GPU.
    assert trials_at_once(ClusterConfig(cpus_per_worker=2), [(64, 0), (2, 1)], 1.0) == 0


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://127.0.0.1:8265", "not the address of a Ray cluster"),
        ("ray://127.0.0.1:10001", "not the address of a Ray cluster"),
        ("nonsense", "not the address of a Ray cluster"),
        ("127.0.0.1:1", "nothing answers there"),
        ("host.invalid:6379", "nothing answers there"),
        ("auto", "cannot be joined (Could not find any running Ray instance.)"),
    ],
)
def test_a_cluster_that_is_not_there_is_one_message_within_seconds(
    address: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("Could not find any running Ray instance.\nPlease specify the one to connect to.")

    # `auto` would join whatever cluster runs on this machine.
    monkeypatch.setattr(services, "canonicalize_bootstrap_address", refuse)
    monkeypatch.setattr(ray, "init", refuse)
    started = time.monotonic()
    with pytest.raises(ClusterError) as error:
        join(address)
    assert said in str(error.value) and "HOST:PORT" in str(error.value) and "RAY_AUTH_TOKEN" in str(error.value)
    assert time.monotonic() - started < 30


def test_auto_does_not_wait_for_a_cluster_that_has_died(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray remembers the last cluster's address, and tried for ten minutes to reach it."""
    monkeypatch.setattr(services, "canonicalize_bootstrap_address", lambda _: "127.0.0.1:1")
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("Ray would try for minutes"))
    with pytest.raises(ClusterError, match=r"127\.0\.0\.1:1: nothing answers there"):
        join("auto")


@pytest.mark.parametrize("answers", ["without the token", "nothing", "no Ray"])
def test_a_server_that_refuses_or_is_no_ray_head_is_one_message_within_a_minute(
    answers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raysys.runs.join._REACH_S", 1.0)
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("Ray would try for minutes"))

    class Head(gcs_service_pb2_grpc.NodeInfoGcsServiceServicer):
        def CheckAlive(self, request: Any, context: Any) -> None:
            # What Ray's head says to another token than its own.
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken: Authentication token is missing")

    server = grpc.server(ThreadPoolExecutor(1))
    if answers == "without the token":
        gcs_service_pb2_grpc.add_NodeInfoGcsServiceServicer_to_server(Head(), server)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1] if answers == "nothing" else server.add_insecure_port("127.0.0.1:0")
        server.start()
        with pytest.raises(ClusterError) as error:
            join(f"127.0.0.1:{port}")
    server.stop(None)
    said = str(error.value)
    if answers == "without the token":
        assert "the cluster wants its token, and this process has none or another one" in said
        assert "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN" in said and "ray get-auth-token" in said
    else:
        assert "what answers there is not a Ray head" in said and "HOST:PORT" in said


@pytest.mark.parametrize("error", [OSError("no room\nfor it"), RuntimeError(), ray.exceptions.RaySystemError("gone")])
def test_whatever_keeps_ray_from_starting_is_one_message(
    error: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(**_: object) -> None:
        raise error

    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.setattr(local, "session_folder", lambda _: str(tmp_path))
    monkeypatch.setattr(local, "keep_token_private", lambda: None)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    with pytest.raises(ClusterError) as raised:
        local.start_local(ClusterConfig(), 2)
    said = str(raised.value)
    assert (
        said.startswith("Ray cannot be started on this machine (")
        and f"{tmp_path}/session_*_{os.getpid()}/logs" in said
    )
    assert "\n" not in said and "()" not in said


def test_no_more_cores_are_counted_than_the_process_may_use() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert 1 <= usable_cores() <= len(before)


# Ray's token


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".ray" / "auth_token"


def is_a_token(path: Path) -> bool:
    return (
        len(path.read_text()) == 64 and path.stat().st_mode & 0o777 == 0o600 and os.listdir(path.parent) == [path.name]
    )


def test_a_token_is_created_once_and_is_private(token: Path) -> None:
    keep_token_private()
    assert is_a_token(token)
    first = token.read_text()
    token.chmod(0o644)
    keep_token_private()
    assert is_a_token(token) and token.read_text() == first


def test_runs_that_start_together_share_one_token_and_none_reads_a_partial_one(
    token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, seen = iter(["a" * 64, "b" * 64]), []

    def slow(_: int) -> str:
        """While one run creates its token, the other begins and ends."""
        value = next(drawn)
        if value[0] == "a":
            keep_token_private()
            seen.append(token.read_text())
        return value

    monkeypatch.setattr(secrets, "token_hex", slow)
    keep_token_private()
    assert seen == ["b" * 64]
    assert is_a_token(token) and token.read_text() == "b" * 64


def test_a_run_that_ends_while_creating_its_token_leaves_none(token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def end(_: int) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(secrets, "token_hex", end)
        with pytest.raises(KeyboardInterrupt):
            keep_token_private()
    assert not token.exists()
    keep_token_private()
    assert is_a_token(token)


@pytest.mark.parametrize("content", ["", "\n"])
def test_an_empty_token_is_replaced(token: Path, content: str) -> None:
    """Ray would not start with it."""
    token.parent.mkdir()
    token.write_text(content)
    keep_token_private()
    assert is_a_token(token)


def test_a_token_is_created_on_a_file_system_without_links(token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    keep_token_private()
    assert is_a_token(token)


def test_a_home_that_cannot_be_written_is_named(token: Path) -> None:
    token.parent.write_text("in the way")
    with pytest.raises(StorageError, match=rf"^{token}: Ray's token file cannot be created .*RAY_AUTH_TOKEN_PATH"):
        keep_token_private()
