"""One run at a time in a folder, on a disk and in an object store."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from raysys.errors import StorageError
from raysys.orchestrate import lock
from raysys.orchestrate.lock import LEASE, locked
from raysys.storage import Folder


@pytest.fixture(params=["disk", "memory"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    where = str(tmp_path) if request.param == "disk" else f"memory://lock-{uuid.uuid4().hex}"
    return Folder.at(where) / "run"


def test_a_second_run_is_refused_and_one_after_it_is_not(run: Folder) -> None:
    with locked(run), pytest.raises(StorageError, match=r"a run is at work in this folder .*process"), locked(run):
        pass
    with locked(run):
        pass
    with locked(run / "another"), locked(run):
        pass


def test_a_run_that_is_killed_holds_nothing_on_a_disk(tmp_path: Path) -> None:
    code = f"""
from raysys.orchestrate.lock import locked
from raysys.storage import Folder
with locked(Folder.at({str(tmp_path)!r})):
    print("held", flush=True)
    input()
"""
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None and other.stdout.readline() == b"held\n"
    with pytest.raises(StorageError), locked(Folder.at(str(tmp_path))):
        pass
    other.kill()
    other.wait()
    with locked(Folder.at(str(tmp_path))):
        pass


def test_a_lease_runs_out_and_is_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Folder.at(f"memory://lock-{uuid.uuid4().hex}")
    run.write_json(LEASE, {"by": "killed", "id": "x", "renewed": time.time() - 91})
    monkeypatch.setattr(lock, "_RENEWED_S", 0.01)
    with locked(run):
        first = run.read_json(LEASE)["renewed"]
        end = time.monotonic() + 10
        while run.read_json(LEASE)["renewed"] == first and time.monotonic() < end:
            time.sleep(0.01)
        assert run.read_json(LEASE)["renewed"] > first
    assert not run.exists(LEASE)


def test_a_disk_without_locks_is_held_by_a_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", unknown)
    run = Folder.at(str(tmp_path))
    with locked(run), pytest.raises(StorageError, match="a run is at work in this folder"), locked(run):
        pass
    assert not run.exists(LEASE)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(StorageError, match=r"file/run/\.lock: cannot be locked"),
        locked(Folder.at(f"{tmp_path}/file/run")),
    ):
        pass
