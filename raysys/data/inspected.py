"""What is in audio files: length, rate and hash, kept in the cache for as long as the files are as they were.

A corpus of 46 GB takes minutes to hash. A later start asks the file system for the size and times of every file, and
reads only those that differ.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import soundfile

from raysys.data.audio import fault
from raysys.data.progress import Progress
from raysys.data.sound import opened
from raysys.errors import AudioError, DamagedError, StorageError
from raysys.sources import digest_of
from raysys.storage import Folder

T = TypeVar("T")

_STATE = ("size", "modified_ns", "changed_ns", "inode", "device")
"""What tells that a file is as it was. Programs can set back the time of modification, but not that of change."""
_SCHEMA = pa.schema(
    [("path", pa.binary())]
    + [(name, pa.int64()) for name in (*_STATE, "frames", "rate_hz")]
    + [("digest", pa.string())]
)
_MOST_KEPT = 1_000_000
"""Files in the list, 150 bytes each: all of the corpus at hand, and others up to this number."""
_SETTLED_NS = 2_000_000_000
"""A file changed less than this before it was read could change again without its times telling."""
_AT_ONCE = 64
"""Files per call of a thread: handing over each by itself takes longer than to ask for its state."""


@dataclass(frozen=True, slots=True)
class File:
    """Properties of a readable file."""

    frames: int
    rate_hz: int
    digest: str


def inspect_files(paths: Sequence[str], cache: str | None = None) -> list[File | str]:
    """Each file's properties, or the reason why it cannot be used; only what is not known yet is read.

    Args:
        paths: without repetitions.
        cache: location of the cache, in which the list of known files is kept; None: every file is read.
    """
    if cache is None:
        return _in_threads(inspect_file, paths)
    folder, name = Folder.at(cache), _list_name()
    known, states_NS = _read_list(folder, name), _states(paths)
    row_N = _rows(known, paths, states_NS)
    started_ns = time.time_ns()
    new = [i for i, row in enumerate(row_N) if row < 0]
    found: list[File | str] = [""] * len(paths)
    progress = Progress("reading", f"{len(new)} audio files are read, once", len(new))
    for i, file in zip(new, _in_threads(inspect_file, [paths[i] for i in new], progress), strict=True):
        found[i] = file
    kept = np.flatnonzero(row_N >= 0)
    columns = (known.column(column).take(row_N[kept]).to_pylist() for column in ("frames", "rate_hz", "digest"))
    for i, *values in zip(kept.tolist(), *columns, strict=True):
        found[i] = File(*values)
    # A file that changed while it was read has another state by now, and is not found under this one.
    settled = states_NS[:, 1:3].max(axis=1, initial=0) < started_ns - _SETTLED_NS
    if any(settled[i] and isinstance(found[i], File) for i in new):
        # Without the list, the next start reads the files again.
        with contextlib.suppress(StorageError):
            folder.write_table(name, _list(paths, states_NS, found, settled, known))
    return found


def inspect_file(path: str) -> File | str:
    """The file's properties, or the reason why it cannot be used."""
    try:
        return _read_file(path)
    except AudioError as problem:
        return str(problem)
    except (OSError, MemoryError) as error:
        return f"cannot be read ({error})"


def _read_file(path: str) -> File:
    if not os.path.exists(path):
        raise AudioError("does not exist")
    # Before it is opened: a pipe would wait for a writer.
    if not os.path.isfile(path):
        raise AudioError("is not a file")
    with opened(path) as sound:
        if sound.floats:
            for block in sound.blocks(0, sound.frames):
                if found := fault(block):
                    raise AudioError(found)
    with Path(path).open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    return File(frames=sound.frames, rate_hz=sound.rate_hz, digest=digest)


def _in_threads(function: Callable[[str], T], paths: Sequence[str], progress: Progress | None = None) -> list[T]:
    def of_some(start: int) -> list[T]:
        return [function(path) for path in paths[start : start + _AT_ONCE]]

    with ThreadPoolExecutor(max_workers=min(32, 4 * (os.cpu_count() or 1))) as pool:
        values: list[T] = []
        for some in pool.map(of_some, range(0, len(paths), _AT_ONCE)):
            values += some
            if progress is not None:
                progress.add(len(some))
    return values


def _states(paths: Sequence[str]) -> np.ndarray:
    return np.array(_in_threads(_state, paths), np.int64).reshape(len(paths), len(_STATE))


def _state(path: str) -> tuple[int, ...]:
    """All -1 if there is none, which is never in the list."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return (-1,) * len(_STATE)
    device = (found.st_dev + 2**63) % 2**64 - 2**63
    inode = (found.st_ino + 2**63) % 2**64 - 2**63
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, inode, device


def _list_name() -> str:
    """Other code, or another library, may find something else in the same file."""
    return f"inspected-{digest_of('raysys.data.inspected:inspect_file')}-{soundfile.__libsndfile_version__}.parquet"


def _read_list(folder: Folder, name: str) -> pa.Table:
    try:
        return folder.read_table(name).cast(_SCHEMA)
    except (FileNotFoundError, DamagedError, pa.ArrowException, ValueError):
        return _SCHEMA.empty_table()


def _rows(known: pa.Table, paths: Sequence[str], states_NS: np.ndarray) -> np.ndarray:
    """The row of each path in the list; -1 where it has none, or the file is not as it was."""
    found = pc.index_in(pa.array(map(os.fsencode, paths), pa.binary()), value_set=known.column("path"))
    row_N = found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    if not len(known):
        return row_N
    same_N = (row_N >= 0) & (states_NS[:, 0] >= 0)
    for column, state_N in zip(_STATE, states_NS.T, strict=True):
        same_N &= known.column(column).to_numpy()[row_N] == state_N
    return np.where(same_N, row_N, -1)


def _list(
    paths: Sequence[str], states_NS: np.ndarray, found: Sequence[File | str], settled: np.ndarray, known: pa.Table
) -> pa.Table:
    """These files, and others that are known already."""
    rows = [i for i, file in enumerate(found) if isinstance(file, File) and settled[i]]
    files = [file for i in rows if isinstance(file := found[i], File)]
    columns = {
        "path": [os.fsencode(paths[i]) for i in rows],
        **{name: states_NS[rows, at] for at, name in enumerate(_STATE)},
        **{name: [getattr(file, name) for file in files] for name in ("frames", "rate_hz", "digest")},
    }
    these = pa.table(columns, schema=_SCHEMA)
    of_others = pc.invert(pc.is_in(known.column("path"), value_set=pa.array(map(os.fsencode, paths), pa.binary())))
    others = known.filter(of_others)
    return pa.concat_tables([these, others.slice(0, max(0, _MOST_KEPT - len(these)))])
