"""Where a private Ray cluster keeps its sockets and logs: a folder that only its user can enter."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path

from raysys.errors import ClusterError

_LONGEST_SOCKET = 107
"""Bytes of a Unix socket's path (sun_path in unix(7), without its closing zero)."""
_SOCKET = "session_2026-01-01_00-00-00_000000_{pid}/sockets/plasma_store"
"""The longest path that Ray makes below its folder."""
_LOGS_BYTES = 100 * 1024**2
_SHARED_MEMORY = "/dev/shm"


def session_folder(object_store_bytes: int) -> str:
    """Create the folder, if it is not there from an earlier run.

    Ray lets everyone write in its own folder, whatever the umask, so that it is one within a folder of the user's.

    Args:
        object_store_bytes: Ray places the object store there if there is no room in shared memory.

    Raises:
        ClusterError: it cannot be created, its path is too long for sockets, or its disk too small.
    """
    # As Ray chooses it.
    parent = os.path.abspath(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp")
    try:
        folder = f"{_private_folder(parent)}/r"
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise ClusterError(
            f"TMPDIR {parent}: Ray's folder cannot be created there ({error}). Set RAY_TMPDIR to a folder on "
            f"this machine's disk that you can write to, such as /tmp."
        ) from error
    socket = f"{folder}/{_SOCKET.format(pid=os.getpid())}"
    too_many = len(os.fsencode(socket)) - _LONGEST_SOCKET
    if too_many > 0:
        raise ClusterError(
            f"TMPDIR {parent}: {len(os.fsencode(parent))} bytes long, expected at most "
            f"{len(os.fsencode(parent)) - too_many}: Ray's sockets are below it, and their paths are limited to "
            f"{_LONGEST_SOCKET}. Set RAY_TMPDIR to a shorter folder on this machine's disk, such as /tmp."
        )
    _refuse_too_small(folder, object_store_bytes)
    return folder


def _private_folder(parent: str) -> str:
    os.makedirs(parent, exist_ok=True)
    folder = f"{parent}/ray{os.geteuid()}"
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        # Somebody else may have created it, or a link in its place.
        found = os.lstat(folder)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            return tempfile.mkdtemp(prefix="ray", dir=parent)
        Path(folder).chmod(0o700)
    return folder


def _refuse_too_small(folder: str, object_store_bytes: int) -> None:
    shared = shutil.disk_usage(_SHARED_MEMORY).free if os.path.isdir(_SHARED_MEMORY) else 0
    needed = _LOGS_BYTES + (object_store_bytes if shared < object_store_bytes else 0)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ClusterError(
            f"{folder}: {free / 1e9:.2f} GB are free, and Ray needs {needed / 1e9:.2f} GB there ({_SHARED_MEMORY} has "
            f"{shared / 1e9:.2f} GB free; objects of up to {object_store_bytes / 1e9:.2f} GB are stored there if they "
            f"fit). Free some, set RAY_TMPDIR to a folder on a larger disk, or give a container more shared memory "
            f"(--shm-size=3g)."
        )
