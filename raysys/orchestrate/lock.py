"""One run at a time in a folder."""

from __future__ import annotations

import contextlib
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
_RENEWED_S = 20.0
_EXPIRES_S = 90.0


@contextlib.contextmanager
def locked(run: Folder) -> Iterator[None]:
    """Hold a run's folder.

    On a disk the operating system holds the lock and drops it with the process, however that ends. In an object store
    it is a file that is renewed while the run goes on; one of a run that was killed counts for 90 s more.

    Raises:
        StorageError: another run holds it.
    """
    with _flocked(run) if run.is_local else _leased(run):
        yield


@contextlib.contextmanager
def _flocked(run: Folder) -> Iterator[None]:
    Path(run.path).mkdir(parents=True, exist_ok=True)
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
    if run.exists(LOCK):
        held = run.read_json(LOCK)
        if time.time() - held["renewed"] < _EXPIRES_S:
            raise _refusal(run, held["by"])
    mine = uuid.uuid4().hex
    done = threading.Event()

    def renew() -> None:
        run.write_json(LOCK, {"by": _me(), "id": mine, "renewed": time.time()})

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
        if run.read_json(LOCK)["id"] != mine:
            raise _refusal(run, run.read_json(LOCK)["by"])
        yield
    finally:
        done.set()
        thread.join()
        run.delete(LOCK)


def _me() -> str:
    return json.dumps({"host": socket.gethostname(), "process": os.getpid()})


def _refusal(run: Folder, holder: str) -> StorageError:
    return StorageError(
        f"{run.location}: a run is at work in this folder ({holder}). Wait for its end or stop it, "
        f"or choose another --run.name."
    )
