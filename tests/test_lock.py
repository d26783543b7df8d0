"""One run at a time in a folder, on a disk and in an object store."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

from raysys import lock
from raysys.errors import StorageError
from raysys.lock import LEASE, locked
from raysys.storage import Folder
from raysys.termination import Terminated, raise_terminated


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease's times, shortened; those that a busy machine may delay, less so."""
    for name, seconds in {"_RENEWED_S": 0.1, "_EXPIRES_S": 0.9, "_ASKED_S": 0.02, "_SETTLED_S": 0.3}.items():
        monkeypatch.setattr(lock, name, seconds)


@pytest.fixture(params=["disk", "memory"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    where = str(tmp_path) if request.param == "disk" else f"memory://lock-{uuid.uuid4().hex}"
    return Folder.at(where) / "run"


def test_a_second_run_is_refused_and_one_after_it_is_not(run: Folder) -> None:
    with locked(run), pytest.raises(StorageError, match=r"another run is using this folder .*process"), locked(run):
        pass
    with locked(run):
        pass
    with locked(run / "another"), locked(run):
        pass


def test_a_killed_run_leaves_no_lock_on_a_disk(tmp_path: Path) -> None:
    code = f"""
from raysys.lock import locked
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


@pytest.mark.parametrize("clock_s", [-1e6, 1e6])
def test_a_lease_runs_out_and_is_renewed(clock_s: float) -> None:
    """Whatever the clock of the killed machine said."""
    run = Folder.at(f"memory://lock-{uuid.uuid4().hex}")
    run.write_json(LEASE, {"by": "killed", "id": "x", "renewed": time.time() + clock_s})
    began = time.monotonic()
    with locked(run):
        assert time.monotonic() - began > lock._EXPIRES_S
        first = run.read_json(LEASE)["renewed"]
        end = time.monotonic() + 10
        while run.read_json(LEASE)["renewed"] == first and time.monotonic() < end:
            time.sleep(0.01)
        assert run.read_json(LEASE)["renewed"] > first
    assert not run.exists(LEASE)


@pytest.fixture
def lockless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """On a disk that does not support locks."""

    def unknown(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", unknown)
    return Folder.at(str(tmp_path))


def test_of_many_that_start_together_one_locks_the_folder_and_the_others_leave_it_alone(lockless: Folder) -> None:
    run = lockless
    at_once, refused, inside = threading.Barrier(8), [], []

    def begin() -> None:
        at_once.wait()
        try:
            with locked(run):
                inside.append(run.read_json(LEASE)["id"])
                time.sleep(1.5 * lock._EXPIRES_S)
                assert run.read_json(LEASE)["id"] == inside[0]
        except StorageError as error:
            refused.append(error)

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(inside), len(refused)) == (1, 7)
    assert not run.exists(LEASE)


def _stand_still_in(run: Folder) -> None:
    with locked(run):
        run.write_json(LEASE, {"by": "another", "id": "y", "renewed": time.time()})
        time.sleep(5)


def test_a_run_that_stalled_and_lost_its_folder_ends_without_disturbing_the_next(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = Folder.at(f"memory://lock-{uuid.uuid4().hex}")
    before = signal.signal(signal.SIGTERM, raise_terminated)
    try:
        with pytest.raises(Terminated):
            _stand_still_in(run)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "another one has taken its folder" in capsys.readouterr().out
    assert run.read_json(LEASE)["id"] == "y"


def test_a_disk_without_locks_uses_a_lease(lockless: Folder) -> None:
    with locked(lockless), pytest.raises(StorageError, match="another run is using this folder"), locked(lockless):
        pass
    assert not lockless.exists(LEASE)


def test_a_full_disk_does_not_prevent_locking_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(lock, "_me", full)
    with locked(Folder.at(str(tmp_path))):
        pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(StorageError, match=r"file/run/\.lock: cannot be locked"),
        locked(Folder.at(f"{tmp_path}/file/run")),
    ):
        pass
