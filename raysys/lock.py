"""One run at a time in a folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from raysys.errors import StorageError
from raysys.storage import Folder

LOCK = ".lock"
LEASE = ".lease"
_NO_LOCKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK}
_RENEWED_S = 20.0
_EXPIRES_S = 90.0
_ASKED_S = 2.0
_SETTLED_S = 3.0


@contextlib.contextmanager
def locked(run: Folder, instead: str = "--run.name") -> Iterator[None]:
    """Lock a run's folder, or that of another job.

    On a disk the operating system holds the lock and releases it with the process, however that ends. In an object
    store, or on network storage without locks, the lock is a file that is renewed during the run; if a run was killed,
    the next one waits 90 s for its lock to expire.

    Args:
        instead: the flag that chooses another folder.

    Raises:
        StorageError: another run holds it.
    """
    with _flocked(run, instead) if run.is_local and _knows_locks(run) else _leased(run, instead):
        yield


def _knows_locks(run: Folder) -> bool:
    """Whether the file system supports locks: not every network file system does."""
    try:
        Path(run.path).mkdir(parents=True, exist_ok=True)
        with open(f"{run.path}/{LOCK}", "a+") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return False
        raise StorageError(f"{run.location}/{LOCK}: cannot be locked ({error}). May this user write there?") from error
    return True


@contextlib.contextmanager
def _flocked(run: Folder, instead: str) -> Iterator[None]:
    with open(f"{run.path}/{LOCK}", "r+b", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _refusal(run, file.read().decode(), instead) from error
        # The lock works without this; on a full disk the error should name the first file that matters.
        with contextlib.suppress(OSError):
            file.truncate(0)
            file.write(_me().encode())
        yield


@contextlib.contextmanager
def _leased(run: Folder, instead: str) -> Iterator[None]:
    _outwait(run, instead)
    mine = uuid.uuid4().hex

    def renew() -> None:
        run.write_json(LEASE, {"by": _me(), "id": mine, "renewed": time.time()})

    renew()
    # If several start together, the last one to write has the lock.
    time.sleep(_SETTLED_S)
    held = _holder(run)
    if held is not None and held["id"] != mine:
        raise _refusal(run, held["by"], instead)
    done = threading.Event()
    thread = threading.Thread(target=_keep, args=(run, mine, renew, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        # The run has ended, whatever the store says now; without its lock's renewal, the next one waits.
        with contextlib.suppress(StorageError):
            held = _holder(run)
            if held is not None and held["id"] == mine:
                run.delete(LEASE)


def _keep(run: Folder, mine: str, renew: Callable[[], None], done: threading.Event) -> None:
    while not done.wait(_RENEWED_S):
        # A store that is unreachable for a while must not end a run; every kind raises its own errors.
        with contextlib.suppress(Exception):
            held = _holder(run)
            if held is not None and held["id"] != mine:
                print(
                    f"note      {run.location}: this run was suspended, and another one has taken its folder",
                    flush=True,
                )
                os.kill(os.getpid(), signal.SIGTERM)
                return
            renew()


def _outwait(run: Folder, instead: str) -> None:
    """Wait until an existing lease is released or expires, without comparing the clocks of two machines.

    Raises:
        StorageError: the lease is being renewed.
    """
    first = _holder(run)
    if first is None:
        return
    print(
        f"note      {run.location}: held by {first['by']}; waiting up to {_EXPIRES_S:.0f} s to see whether that run is "
        f"still alive"
    )
    end = time.monotonic() + _EXPIRES_S
    while time.monotonic() < end:
        time.sleep(_ASKED_S)
        held = _holder(run)
        if held is None:
            return
        if held != first:
            raise _refusal(run, held["by"], instead)


def _holder(run: Folder) -> dict[str, Any] | None:
    try:
        held: dict[str, Any] = run.read_json(LEASE)
    except FileNotFoundError:
        return None
    except ValueError:
        return {"by": "an unnamed run", "id": ""}
    return held


def _me() -> str:
    return json.dumps({"host": socket.gethostname(), "process": os.getpid()})


def _refusal(run: Folder, holder: str, instead: str) -> StorageError:
    return StorageError(
        f"{run.location}: another run is using this folder ({holder}). Wait for its end or stop it, "
        f"or choose another {instead}."
    )
