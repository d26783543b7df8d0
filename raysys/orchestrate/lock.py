"""One run at a time in a folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from raysys.errors import StorageError
from raysys.storage import Folder

LOCK = ".lock"
LEASE = ".lease"
_NO_LOCKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK}
_RENEWED_S = 20.0
_EXPIRES_S = 90.0


@contextlib.contextmanager
def locked(run: Folder) -> Iterator[None]:
    """Hold a run's folder.

    On a disk the operating system holds the lock and drops it with the process, however that ends. In an object store,
    and on a network's disk that knows no locks, it is a file that is renewed while the run goes on; one of a run that
    was killed counts for 90 s more.

    Raises:
        StorageError: another run holds it.
    """
    with _flocked(run) if run.is_local and _knows_locks(run) else _leased(run):
        yield


def _knows_locks(run: Folder) -> bool:
    """Whether the disk does: not all of a network do."""
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
def _flocked(run: Folder) -> Iterator[None]:
    with open(f"{run.path}/{LOCK}", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise _refusal(run, file.read()) from error
        file.truncate(0)
        file.write(_me())
        file.flush()
        yield


@contextlib.contextmanager
def _leased(run: Folder) -> Iterator[None]:
    if run.exists(LEASE):
        held = run.read_json(LEASE)
        if time.time() - held["renewed"] < _EXPIRES_S:
            raise _refusal(run, held["by"])
    mine = uuid.uuid4().hex
    done = threading.Event()

    def renew() -> None:
        run.write_json(LEASE, {"by": _me(), "id": mine, "renewed": time.time()})

    def keep() -> None:
        while not done.wait(_RENEWED_S):
            # A store that does not answer for a while is no reason to end a run.
            with contextlib.suppress(StorageError):
                renew()

    renew()
    thread = threading.Thread(target=keep, daemon=True)
    thread.start()
    try:
        # Of two that began at once the later one wrote last.
        if run.read_json(LEASE)["id"] != mine:
            raise _refusal(run, run.read_json(LEASE)["by"])
        yield
    finally:
        done.set()
        thread.join()
        run.delete(LEASE)


def _me() -> str:
    return json.dumps({"host": socket.gethostname(), "process": os.getpid()})


def _refusal(run: Folder, holder: str) -> StorageError:
    return StorageError(
        f"{run.location}: a run is at work in this folder ({holder}). Wait for its end or stop it, "
        f"or choose another --run.name."
    )
