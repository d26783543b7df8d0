"""The decoded corpus on disk: Arrow files with one record batch an utterance, read at random. Its augmented views, and
features that stand in for waveforms, are kept in the same form.

A reader touches only the utterances that it asks for: memory-mapped on a disk, ranged reads in an object store.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from raysys.config import SAMPLE_RATE_HZ
from raysys.data.audio import DECODER_VERSION
from raysys.data.manifest import Manifest
from raysys.storage import Folder

INDEX = "index.parquet"
_SCHEMA = pa.schema([("waveform", pa.large_list(pa.float32()))])


def cache_name(manifest: Manifest, *, trim_db: float | None = None) -> str:
    """Name of a corpus's decoded audio: a hash of the files' bytes, the parts cut from them, rate and decoder."""
    parts = [[u.utterance_id, u.digest, u.start_s, u.end_s] for u in manifest.utterances]
    text = json.dumps([DECODER_VERSION, SAMPLE_RATE_HZ, trim_db, parts])
    return f"waveforms-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def write_part(folder: Folder, name: str, waveforms: Sequence[np.ndarray]) -> None:
    """Write waveforms as one Arrow file, the i-th as record batch i."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, _SCHEMA) as writer:
        for waveform_S in waveforms:
            offsets = pa.array([0, len(waveform_S)], pa.int64())
            column = pa.LargeListArray.from_arrays(offsets, pa.array(waveform_S, pa.float32()))
            writer.write_batch(pa.record_batch([column], schema=_SCHEMA))
    folder.write_bytes(name, sink.getvalue())


@functools.lru_cache(maxsize=64)
def _open_store(location: str) -> WaveformStore:
    return WaveformStore(location)


class WaveformStore:
    """Waveforms (or features, flattened) by utterance id. Open it in the process that reads: it holds open files.

    Attributes:
        samples: length of each.
    """

    def __init__(self, location: str) -> None:
        self._folder = Folder.at(location)
        index = self._folder.read_table(INDEX).to_pydict()
        self._place = {
            name: (part, row)
            for name, part, row in zip(index["utterance_id"], index["part"], index["row"], strict=True)
            if part is not None
        }
        self.samples: dict[str, int] = dict(zip(index["utterance_id"], index["samples"], strict=True))
        self._readers: dict[str, pa.ipc.RecordBatchFileReader] = {}

    @property
    def is_local(self) -> bool:
        """Whether it is read by mapping files of a disk into memory."""
        return self._folder.is_local

    @classmethod
    def opened(cls, location: str) -> WaveformStore:
        """The store of a location, opened once in this process."""
        return _open_store(location)

    def get(self, utterance_id: str) -> np.ndarray:
        """The waveform, float32, 16 kHz mono; read-only."""
        part, row = self._place[utterance_id]
        if part not in self._readers:
            self._readers[part] = pa.ipc.open_file(self._open(part))
        column = self._readers[part].get_batch(row).column(0)
        return column.values.to_numpy(zero_copy_only=True)

    def _open(self, part: str) -> pa.NativeFile:
        path = f"{self._folder.path}/{part}"
        if self._folder.is_local:
            return pa.memory_map(path)
        return self._folder.filesystem.open_input_file(path)
