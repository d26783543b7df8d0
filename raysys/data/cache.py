"""The decoded corpus on disk: Arrow files with one record batch per utterance, for random access. Augmented views and
precomputed features are stored in the same form.

Samples that 16 bits hold exactly, as those of a 16-bit file at 16 kHz, take 16; they are given out as float32, the same
to the bit. All others take 32, features also 16 as float16.

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
import pyarrow.compute as pc

from raysys.config import SAMPLE_RATE_HZ
from raysys.data.manifest import Manifest
from raysys.errors import DamagedError, StorageError
from raysys.sources import digest_of
from raysys.storage import Folder

INDEX = "index.parquet"
INDEX_SCHEMA = pa.schema(
    [
        ("key", pa.uint64()),
        ("utterance_id", pa.string()),
        ("part", pa.string()),
        ("offset", pa.int64()),
        ("samples", pa.int64()),
        ("crc32", pa.int64()),
        ("part_bytes", pa.int64()),
        ("error", pa.string()),
        ("remarks", pa.string()),
        ("dtype", pa.string()),
        ("digest", pa.string()),
    ]
)
_PLACE = ("key", "part", "offset", "samples", "crc32", "dtype")
_CODE = ("raysys.data.precompute:_decoded", "raysys.data.tasks:make_part")


def cache_name(manifest: Manifest, *, trim_db: float | None = None) -> str:
    """Cache name of a corpus's decoded audio: a hash of file contents, utterance boundaries, sample rate and code."""
    parts = [[u.utterance_id, u.digest, u.start_s, u.end_s] for u in manifest.utterances]
    text = json.dumps([digest_of(*_CODE), SAMPLE_RATE_HZ, trim_db, parts])
    return f"waveforms-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def write_part(folder: Folder, name: str, waveforms: Sequence[np.ndarray]) -> list[dict[str, Any]]:
    """Write waveforms as Arrow files, one for each type in which they are stored, each waveform as a record batch.

    Args:
        name: of the file of those in float32 or float16; that of those in int16 has it in its name.
        waveforms: float32, or all float16.

    Returns: the index row of each waveform, without its utterance id.
    """
    stored = [_stored(waveform_S) for waveform_S in waveforms]
    rows: list[dict[str, Any]] = [{}] * len(stored)
    for dtype in sorted({array.dtype for array in stored}, key=str):
        chosen = [i for i, array in enumerate(stored) if array.dtype == dtype]
        file = name.replace(".arrow", "-int16.arrow") if dtype == np.int16 else name
        for i, row in zip(chosen, _write_file(folder, file, [stored[i] for i in chosen], dtype), strict=True):
            rows[i] = row
    return rows


def _stored(waveform_S: np.ndarray) -> np.ndarray:
    """In 16-bit integers if they hold every sample exactly; otherwise as it is."""
    if waveform_S.dtype == np.float16:
        return np.ascontiguousarray(waveform_S)
    waveform_S = np.ascontiguousarray(waveform_S, np.float32)
    if _as_integers(waveform_S[:_TRIED]) is None:
        return waveform_S
    found = _as_integers(waveform_S)
    return waveform_S if found is None else found


def _as_integers(waveform_S: np.ndarray) -> np.ndarray | None:
    """Multiples of 1/32768, as 16-bit integers; None if a sample is anything else, such as a negative zero."""
    scaled_S = waveform_S * np.float32(_FULL_SCALE)
    if not (len(scaled_S) and scaled_S.min() >= -_FULL_SCALE and scaled_S.max() < _FULL_SCALE):
        return None
    integers_S = scaled_S.astype(np.int16)
    return integers_S if np.array_equal(_as_floats(integers_S).view(np.int32), waveform_S.view(np.int32)) else None


def _as_floats(integers_S: np.ndarray) -> np.ndarray:
    return integers_S.astype(np.float32) / np.float32(_FULL_SCALE)


def _write_file(folder: Folder, name: str, arrays: Sequence[np.ndarray], dtype: np.dtype) -> list[dict[str, Any]]:
    kind = pa.from_numpy_dtype(dtype)
    schema = pa.schema([("waveform", pa.large_list(kind))])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        for array_S in arrays:
            offsets = pa.array([0, len(array_S)], pa.int64())
            column = pa.LargeListArray.from_arrays(offsets, pa.array(array_S, kind))
            writer.write_batch(pa.record_batch([column], schema=schema))
    data = sink.getvalue()
    folder.write_bytes(name, data)
    written = pa.ipc.open_file(data)
    return [
        {
            "part": name,
            "offset": written.get_batch(i).column(0).values.buffers()[1].address - data.address if len(array_S) else 0,
            "samples": len(array_S),
            "crc32": _checksum(array_S),
            "part_bytes": data.size,
            "dtype": str(dtype),
        }
        for i, array_S in enumerate(arrays)
    ]


def _checksum(array_S: np.ndarray) -> int:
    return zlib.crc32(array_S.data)


def write_index(folder: Folder, rows: pa.Table) -> None:
    """Write an entry's index, last: without it, the entry does not exist.

    Args:
        rows: of all parts, in `INDEX_SCHEMA` but for the key, by which they are looked up.
    """
    keys = np.array([_key(name) for name in rows["utterance_id"].to_pylist()], np.uint64)
    assert len(np.unique(keys)) == len(keys), "two ids have one key"
    rows = rows.set_column(rows.schema.get_field_index("key"), INDEX_SCHEMA.field("key"), pa.array(keys))
    folder.write_table(INDEX, rows.sort_by("key"))


def _key(utterance_id: str) -> int:
    """64 bits of a hash: of ten million ids, two have one key once in 400,000 corpora."""
    return int.from_bytes(hashlib.blake2b(utterance_id.encode(), digest_size=8).digest(), "big")


def is_whole(folder: Folder) -> bool:
    """Whether a cache entry exists with all its parts at their full length.

    A damaged entry is reported and its index deleted, so that it no longer exists.
    """
    if not folder.exists(INDEX):
        return False
    try:
        index = folder.read_table(INDEX, ("key", "part", "part_bytes"))
        index = index.select(["part", "part_bytes", "key"]).group_by("part").aggregate([("part_bytes", "max")])
    except (DamagedError, OSError, KeyError) as error:
        found: str | None = f"its {INDEX} cannot be read: {error}"
    else:
        sizes = dict(zip(index["part"].to_pylist(), index["part_bytes_max"].to_pylist(), strict=True))
        there = folder.sizes()
        odd = sorted(name for name, size in sizes.items() if name is not None and there.get(name) != size)
        found = f"{odd[0]} has {there.get(odd[0])} of {sizes[odd[0]]} bytes" if odd else None
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

    Of each waveform it holds 37 bytes: a trial of a large corpus opens several stores.

    Raises:
        StorageError: the cache entry does not exist or is damaged.
    """

    def __init__(self, location: str) -> None:
        self._folder = Folder.at(location)
        try:
            index = self._folder.read_table(INDEX, _PLACE)
            index = index.filter(pc.is_valid(index["part"]))
            self._keys = index["key"].to_numpy()
        except (DamagedError, OSError, KeyError) as error:
            raise StorageError(
                f"{location}/{INDEX}: this cache entry cannot be read ({error}). Check that every node "
                f"sees --run.cache; the same command rebuilds a damaged entry."
            ) from error
        self._parts, self._part_of = _coded(index["part"])
        self._dtypes, self._dtype_of = _coded(index["dtype"])
        self._offsets, self._samples = index["offset"].to_numpy(), index["samples"].to_numpy()
        self._checksums = index["crc32"].to_numpy().astype(np.uint32)
        self._checked = bytearray(len(self._keys))
        self._mapped: dict[str, np.ndarray] = {}
        self._opened: dict[str, pa.NativeFile] = {}

    @property
    def n_bytes(self) -> int:
        """What all waveforms take where they are stored."""
        sizes = np.array([np.dtype(name).itemsize for name in self._dtypes] or [0])
        return int((self._samples * sizes[self._dtype_of]).sum()) if len(self._keys) else 0

    def samples(self, utterance_id: str) -> int:
        """Length of a waveform; KeyError if there is none."""
        return int(self._samples[self._row(utterance_id)])

    def lengths(self, utterance_ids: Sequence[str]) -> np.ndarray:
        """Of many waveforms at once; KeyError if there is no such one."""
        keys_N = np.array([_key(name) for name in utterance_ids], np.uint64)
        row_N = np.searchsorted(self._keys, keys_N)
        there_N = row_N < len(self._keys)
        there_N[there_N] = self._keys[row_N[there_N]] == keys_N[there_N]
        if not there_N.all():
            raise KeyError(utterance_ids[int(np.argmin(there_N))])
        return self._samples[row_N]

    def _row(self, utterance_id: str) -> int:
        key = np.uint64(_key(utterance_id))
        row = int(np.searchsorted(self._keys, key))
        if row == len(self._keys) or self._keys[row] != key:
            raise KeyError(utterance_id)
        return row

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
        row = self._row(utterance_id)
        part, dtype = self._parts[self._part_of[row]], np.dtype(self._dtypes[self._dtype_of[row]])
        n_bytes = dtype.itemsize * int(self._samples[row])
        stored_S = np.frombuffer(self._read(part, int(self._offsets[row]), n_bytes), dtype)
        if not self._checked[row]:
            if _checksum(stored_S) != self._checksums[row]:
                raise self._damaged(part, utterance_id)
            self._checked[row] = True
        if dtype != np.int16:
            return stored_S
        waveform_S = _as_floats(stored_S)
        waveform_S.flags.writeable = False
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


def _coded(column: pa.ChunkedArray) -> tuple[list[str], np.ndarray]:
    """The different values of a column, and the number of the one in each row."""
    coded = column.combine_chunks().dictionary_encode()
    return coded.dictionary.to_pylist(), coded.indices.to_numpy()


_FULL_SCALE = 32768
_TRIED = 1_000
"""Samples that decide for nearly every waveform whether the rest is worth a look."""
