"""The folder of a private Ray cluster: closed to others, short enough for sockets, with room. Ray is not started."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from raysys.errors import ClusterError
from raysys.runs.session_folder import session_folder

GIB = 1024**3


@pytest.fixture
def short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A short path to an empty folder, with room for everything."""
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    link = Path(f"/tmp/t{os.getpid()}")
    link.symlink_to(tmp_path)
    monkeypatch.setenv("TMPDIR", str(link))
    has(monkeypatch, shared=4 * GIB, disk=4 * GIB)
    yield link
    link.unlink()


def has(monkeypatch: pytest.MonkeyPatch, *, shared: int, disk: int) -> None:
    def usage(path: str) -> SimpleNamespace:
        return SimpleNamespace(free=shared if path == "/dev/shm" else disk)

    monkeypatch.setattr(shutil, "disk_usage", usage)


@pytest.mark.parametrize("before", ["nothing", "a folder open to all"])
@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_nobody_else_may_enter_it(short: Path, before: str, umask: int) -> None:
    own = short / f"ray{os.geteuid()}"
    if before != "nothing":
        own.mkdir()
        own.chmod(0o777)
    previous = os.umask(umask)
    try:
        folder = session_folder(2 * GIB)
    finally:
        os.umask(previous)
    assert folder == f"{own}/r" and os.path.isdir(folder)
    # Ray opens its own folder to everyone; what is above it closes it again.
    assert own.stat().st_mode & 0o777 == 0o700


def test_what_somebody_else_put_in_its_place_is_not_used(short: Path) -> None:
    theirs = short / "theirs"
    theirs.mkdir()
    (short / f"ray{os.geteuid()}").symlink_to(theirs)
    folder = Path(session_folder(2 * GIB))
    assert list(theirs.iterdir()) == [] and folder.parent.parent == short
    assert folder.parent.stat().st_mode & 0o777 == 0o700


def test_a_folder_too_long_for_sockets_is_refused_with_the_length_that_is_not(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest = 107 - len(f"/ray{os.geteuid()}/r/session_2026-01-01_00-00-00_000000_{os.getpid()}/sockets/plasma_store")
    fits = f"{short}/{'x' * (longest - len(str(short)) - 1)}"
    monkeypatch.setenv("TMPDIR", fits)
    made = f"{session_folder(2 * GIB)}/session_2026-11-28_00-53-17_683975_{os.getpid()}/sockets"
    os.makedirs(made)
    with socket.socket(socket.AF_UNIX) as ours:
        ours.bind(f"{made}/plasma_store")
    # As Slurm makes them; counted in bytes.
    monkeypatch.setenv("TMPDIR", f"{short}/é{'x' * (longest - len(str(short)) - 2)}")
    with pytest.raises(ClusterError) as error:
        session_folder(2 * GIB)
    assert f"{longest + 1} bytes long, expected at most {longest}:" in str(error.value)
    assert "Set RAY_TMPDIR to a shorter folder" in str(error.value)
    monkeypatch.setenv("RAY_TMPDIR", str(short))
    assert session_folder(2 * GIB).startswith(f"{short}/ray")


@pytest.mark.parametrize(
    ("shared", "disk", "fits"),
    [
        (3 * GIB, GIB, True),
        # In a container of 64 MB of shared memory, objects are stored in the folder.
        (64 * 1024**2, 3 * GIB, True),
        (64 * 1024**2, 2 * GIB, False),
        (3 * GIB, 50 * 1024**2, False),
    ],
)
def test_a_disk_without_room_for_objects_or_logs_is_refused(
    short: Path, monkeypatch: pytest.MonkeyPatch, shared: int, disk: int, fits: bool
) -> None:
    has(monkeypatch, shared=shared, disk=disk)
    if fits:
        session_folder(2 * GIB)
        return
    with pytest.raises(ClusterError, match=r"GB are free, and Ray needs .*RAY_TMPDIR .*--shm-size"):
        session_folder(2 * GIB)


def test_a_folder_that_cannot_be_made_is_named(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (short / "file").write_text("in the way")
    monkeypatch.setenv("TMPDIR", f"{short}/file")
    with pytest.raises(ClusterError, match=rf"^TMPDIR {short}/file: Ray's folder cannot be created there"):
        session_folder(2 * GIB)
