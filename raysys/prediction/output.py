"""Join the predictions of all shards to one file, in the order of the recordings, a block in memory at a time."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from raysys.errors import StorageError
from raysys.storage import Folder, absolute, is_address

_DIGITS = 6
"""Decimals of probabilities, and of seconds, in text."""


@dataclass(slots=True, kw_only=True)
class Summary:
    """What the output contains.

    Attributes:
        failures: for each kind of reason its number, and the first row that has it, path and note.
    """

    rows: int = 0
    failed: int = 0
    failures: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, table: pa.Table) -> None:
        self.rows += len(table)
        for path, note, prediction in zip(*(table[c].to_pylist() for c in ("path", "note", "prediction")), strict=True):
            if prediction is None:
                # Of one kind, whatever the numbers in them.
                kind = re.sub(r"\d[\d.]*", "#", note or "")[:80]
                n, first = self.failures.get(kind, (0, f"{path}: {note}"))
                self.failures[kind] = n + 1, first
                self.failed += 1


class Writer(Protocol):
    def write_table(self, table: pa.Table) -> None: ...

    def close(self) -> None: ...


def merge(parts: Folder, blocks: Mapping[int, Sequence[str]], out: str, schema: pa.Schema) -> Summary:
    """Write the output, which replaces a file of its name when it is complete.

    Args:
        blocks: names of each shard's files, in order.
        out: path or address; its ending is the format.

    Raises:
        StorageError: it cannot be written, or a part is damaged.
    """
    summary = Summary()
    with _replacing(out) as file, contextlib.closing(_writer(out, file, schema)) as writer:
        for shard in sorted(blocks):
            for name in blocks[shard]:
                table = parts.read_table(name)
                summary.add(table)
                writer.write_table(table)
    return summary


def _writer(out: str, file: IO[bytes], schema: pa.Schema) -> Writer:
    if out.lower().endswith(".parquet"):
        writer: Writer = pq.ParquetWriter(file, schema, write_page_checksum=True)
        return writer
    return _CsvWriter(file, schema) if out.lower().endswith(".csv") else _JsonLinesWriter(file)


class _CsvWriter:
    """UTF-8, commas, a header; empty cells are unknown."""

    def __init__(self, file: IO[bytes], schema: pa.Schema) -> None:
        self._text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        self._csv = csv.writer(self._text)
        self._csv.writerow(schema.names)

    def write_table(self, table: pa.Table) -> None:
        self._csv.writerows(row.values() for row in _rounded(table))

    def close(self) -> None:
        self._text.detach()


class _JsonLinesWriter:
    """UTF-8, an object on each line; null is unknown."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write_table(self, table: pa.Table) -> None:
        lines = (json.dumps(row, ensure_ascii=False) for row in _rounded(table))
        self._file.writelines(f"{line}\n".encode() for line in lines)

    def close(self) -> None:
        pass


def _rounded(table: pa.Table) -> Iterator[dict[str, object]]:
    for row in table.to_pylist():
        yield {name: round(value, _DIGITS) if isinstance(value, float) else value for name, value in row.items()}


@contextlib.contextmanager
def _replacing(out: str) -> Iterator[IO[bytes]]:
    """A file that takes the output's place when it is closed without an error.

    An object store gets it from a file on this machine: closed after an error, an upload would be complete.
    """
    try:
        if is_address(out):
            folder, _, name = out.rpartition("/")
            with tempfile.TemporaryDirectory() as local:
                path = Path(local) / name
                with path.open("wb") as file:
                    yield file
                _upload(path, Folder.at(folder), name)
            return
        target = Path(absolute(out))
        partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
        try:
            with partial.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"--out {out}: cannot be written ({error}). Check free space and write permission."
        ) from error


def _upload(path: Path, folder: Folder, name: str) -> None:
    def write() -> None:
        with path.open("rb") as source, folder.filesystem.open_output_stream(f"{folder.path}/{name}") as sink:
            shutil.copyfileobj(source, sink)

    folder.ask(name, "written", write)
