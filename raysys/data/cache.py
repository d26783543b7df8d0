"""The decoded corpus on disk: Arrow files with one record batch per utterance, for random access. Augmented views and
precomputed features are stored in the same form.

A reader fetches only the utterances it asks for: memory-mapped from a disk, by ranged reads from an object store. It
reads their bytes at the offsets given by the index and does not parse the Arrow file around them: that has no checksum,
and a flipped bit in it can crash a process that maps it.
"""

from __future__ import annotations

import functools
import hashlib
import json
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from raysys.config import SAMPLE_RATE_HZ
from raysys.data.manifest import Manifest
from raysys.errors import DamagedError, StorageError
from raysys.sources import digest_of
from raysys.storage import Folder

INDEX = "index.parquet"
INDEX_SCHEMA = pa.schema(
    [
        ("utterance_id", pa.string()),
        ("part", pa.string()),
        ("offset", pa.int64()),
        ("samples", pa.int64()),
        ("crc32", pa.int64()),
        ("part_bytes", pa.int64()),
        ("error", pa.string()),
        ("remarks", pa.string()),
        ("dtype", pa.string()),
    ]
)
_CODE = ("raysys.data.precompute:_decoded", "raysys.data.tasks:make_part")


def cache_name(manifest: Manifest, *, trim_db: float | None = None) -> str:
    """Cache name of a corpus's decoded audio: a hash of file contents, utterance boundaries, sample rate and code."""
    parts = [[u.utterance_id, u.digest, u.start_s, u.end_s] for u in manifest.utterances]
    text = json.dumps([digest_of(*_CODE), SAMPLE_RATE_HZ, trim_db, parts])
    return f"waveforms-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def write_part(folder: Folder, name: str, waveforms: Sequence[np.ndarray]) -> list[dict[str, Any]]:
    """Write waveforms as one Arrow file, the i-th as record batch i; all float32, or all float16.

    Returns: the index row of each waveform, without its utterance id.
    """
    half = bool(waveforms) and waveforms[0].dtype == np.float16
    dtype, kind = (np.float16, pa.float16()) if half else (np.float32, pa.float32())
    waveforms = [np.ascontiguousarray(waveform_S, dtype=dtype) for waveform_S in waveforms]
    schema = pa.schema([("waveform", pa.large_list(kind))])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        for waveform_S in waveforms:
            offsets = pa.array([0, len(waveform_S)], pa.int64())
            column = pa.LargeListArray.from_arrays(offsets, pa.array(waveform_S, kind))
            writer.write_batch(pa.record_batch([column], schema=schema))
    data = sink.getvalue()
    folder.write_bytes(name, data)
    written = pa.ipc.open_file(data)
    return [
        {
            "part": name,
            "offset": written.get_batch(i).column(0).values.buffers()[1].address - data.address if len(w) else 0,
            "samples": len(w),
            "crc32": _checksum(w),
            "part_bytes": data.size,
            "dtype": str(np.dtype(dtype)),
        }
        for i, w in enumerate(waveforms)
    ]


def _checksum(waveform_S: np.ndarray) -> int:
    return zlib.crc32(waveform_S.data)


def is_whole(folder: Folder) -> bool:
    """Whether a cache entry exists with all its parts at their full length.

    A damaged entry is reported and its index deleted, so that it no longer exists.
    """
    if not folder.exists(INDEX):
        return False
    try:
        index = folder.read_table(INDEX).select(["part", "part_bytes", "offset"]).to_pylist()
    except (DamagedError, OSError, KeyError) as error:
        found: str | None = f"its {INDEX} cannot be read: {error}"
    else:
        sizes = {row["part"]: row["part_bytes"] for row in index if row["part"] is not None}
        lengths = {name: folder.size(name) for name in sizes}
        odd = [name for name, size in sizes.items() if lengths[name] != size]
        found = f"{odd[0]} has {lengths[odd[0]]} of {sizes[odd[0]]} bytes" if odd else None
    if found is None:
        return True
    print(f"cache     {folder.location} is damaged ({found}) and is rebuilt", flush=True)
    folder.delete(INDEX)
    return False


@functools.lru_cache(maxsize=64)
def _open_store(location: str) -> WaveformStore:
    return WaveformStore(location)


class WaveformStore:
    """Waveforms (or features, flattened) by utterance id. It holds open files: open it in the process that reads.

    Attributes:
        samples: length of each.

    Raises:
        StorageError: the cache entry does not exist or is damaged.
    """

    def __init__(self, location: str) -> None:
        self._folder = Folder.at(location)
        try:
            index = self._folder.read_table(INDEX).to_pydict()
        except (DamagedError, OSError) as error:
            raise StorageError(
                f"{location}/{INDEX}: this cache entry cannot be read ({error}). Check that every node "
                f"sees --run.cache; the same command rebuilds a damaged entry."
            ) from error
        columns = (index[name] for name in ("utterance_id", "part", "offset", "samples", "crc32", "dtype"))
        self._place = {name: place for name, *place in zip(*columns, strict=True) if place[0] is not None}
        self._checked: set[str] = set()
        self.samples: dict[str, int] = dict(zip(index["utterance_id"], index["samples"], strict=True))
        self._mapped: dict[str, np.ndarray] = {}
        self._opened: dict[str, pa.NativeFile] = {}

    @property
    def is_local(self) -> bool:
        """Whether it is read by memory-mapping files on a disk."""
        return self._folder.is_local

    @classmethod
    def opened(cls, location: str) -> WaveformStore:
        """The store at a location, opened once per process."""
        return _open_store(location)

    def get(self, utterance_id: str) -> np.ndarray:
        """The waveform, float32, 16 kHz mono, or features, also in float16; read-only.

        Raises:
            StorageError: the stored bytes are not what was written; the next run rebuilds the entry.
        """
        part, offset, samples, checksum, dtype = self._place[utterance_id]
        kind = np.dtype(dtype)
        waveform_S = np.frombuffer(self._read(part, offset, kind.itemsize * samples), kind)
        if utterance_id not in self._checked:
            if _checksum(waveform_S) != checksum:
                raise self._damaged(part, utterance_id)
            self._checked.add(utterance_id)
        return waveform_S

    def _damaged(self, part: str, utterance_id: str) -> StorageError:
        """Delete the entry's index, so that the entry no longer exists."""
        self._folder.delete(INDEX)
        return StorageError(
            f"{self._folder.location}/{part}: utterance {utterance_id} does not match its checksum. "
            f"The same command rebuilds this cache entry. Is the disk healthy?"
        )

    def _read(self, part: str, offset: int, n_bytes: int) -> Any:
        """Bytes of a part, memory-mapped on a disk; fewer than asked if the part is too short."""
        if self._folder.is_local:
            if part not in self._mapped:
                self._mapped[part] = np.memmap(f"{self._folder.path}/{part}", np.uint8, mode="r")
            return self._mapped[part][offset : offset + n_bytes]
        return self._folder.ask(part, "read", lambda: self._remote(part).read_at(n_bytes, offset))

    def _remote(self, part: str) -> pa.NativeFile:
        if part not in self._opened:
            self._opened[part] = self._folder.filesystem.open_input_file(f"{self._folder.path}/{part}")
        return self._opened[part]
