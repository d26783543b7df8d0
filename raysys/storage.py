"""Folders on a disk or in an object store, through one interface.

A location is a path or an address (`s3://bucket/runs`, `gs://...`, anything that pyarrow or fsspec opens). Writes are
atomic: a file is either complete or absent.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from raysys.errors import DamagedError, StorageError

T = TypeVar("T")
_PAUSES_S = (0.2, 0.5, 1.0, 2.0)
"""Between attempts at an object store."""
_PATIENCE_S = 10.0
"""No attempt begins after this long: a store that is down keeps its client busy for seconds."""


def is_address(location: str) -> bool:
    """True for `scheme://...`, False for a path."""
    return "://" in location


def absolute(location: str) -> str:
    """The location in a form valid in every process: addresses unchanged, paths made absolute."""
    return location if is_address(location) else str(Path(location).expanduser().resolve())


def check_location(location: str) -> None:
    """Validate an address before it is written, printed or opened; any path is valid.

    Everything between a colon and the last @ counts as a password: a secret key may contain slashes, at which a URL's
    user and password would end. A query would end up in the middle of the addresses of all files below.

    Raises:
        StorageError: it has no path, or contains a password, a query or a fragment; the message repeats none of them.
    """
    if not is_address(location):
        return
    scheme, rest = location.split("://", 1)
    open_part = f"{scheme}://{_PASSWORD.sub(r':...@', rest)}"
    shown = _QUERY.split(open_part)[0]
    if _PASSWORD.search(rest):
        raise StorageError(
            f"{shown}: a password in an address would be written to config.yaml and "
            f"to the results. Pass it through the environment (AWS_SECRET_ACCESS_KEY, ...) or the machine's role."
        )
    if not rest.strip("/"):
        raise StorageError(f"{location}: has no path; expected an address such as s3://bucket/runs.")
    if shown != open_part:
        raise StorageError(
            f"{shown}: what follows the path, from '?' or '#' on, would end up in front of file names. "
            f"Set it in the environment of every node instead: AWS_REGION, AWS_ENDPOINT_URL, "
            f"AZURE_STORAGE_SAS_TOKEN, ..."
        )


_PASSWORD, _QUERY = re.compile(":.*@", re.DOTALL), re.compile("[?#]")
_NOT_OPENED = (
    "{location}: cannot be opened ({error}). Expected an address such as s3://bucket/runs that this machine can reach, "
    "with its region and keys in the environment (AWS_REGION, AWS_ACCESS_KEY_ID, ...)."
)


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder in a file system; a small, picklable handle. `Folder.at(location) / "name"` is a subfolder."""

    filesystem: pafs.FileSystem
    path: str
    location: str

    @classmethod
    def at(cls, location: str) -> Folder:
        """Open a path or an address.

        Raises:
            StorageError: the address cannot be opened, no file system is installed for its scheme, or
                `check_location` refuses it.
        """
        location = absolute(location)
        if not is_address(location):
            return cls(pafs.LocalFileSystem(), location, location)
        check_location(location)
        try:
            filesystem, path = pafs.FileSystem.from_uri(location)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            filesystem, path = _from_fsspec(location, error)
        except OSError as error:
            raise StorageError(_NOT_OPENED.format(location=location, error=error)) from error
        return cls(filesystem, path.rstrip("/"), location.rstrip("/"))

    def __truediv__(self, name: str) -> Folder:
        return Folder(self.filesystem, f"{self.path}/{name}", f"{self.location}/{name}")

    @property
    def is_local(self) -> bool:
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    def exists(self, name: str) -> bool:
        return self.size(name) is not None

    def size(self, name: str) -> int | None:
        """Size of a file in bytes, 0 of a folder; None if it does not exist."""
        info = self.ask(name, "read", lambda: self.filesystem.get_file_info(f"{self.path}/{name}"))
        return None if info.type == pafs.FileType.NotFound else int(info.size or 0)

    def names(self) -> list[str]:
        """Names of the folder's entries; empty if it does not exist."""
        selector = pafs.FileSelector(self.path, allow_not_found=True)
        return sorted(info.base_name for info in self.ask("", "read", lambda: self.filesystem.get_file_info(selector)))

    def read_bytes(self, name: str) -> bytes:
        """Raises: FileNotFoundError: there is no such file. StorageError: it cannot be read."""

        def read() -> bytes:
            with self.filesystem.open_input_stream(f"{self.path}/{name}") as stream:
                return bytes(stream.read())

        return self.ask(name, "read", read)

    def write_bytes(self, name: str, data: bytes | pa.Buffer) -> None:
        """Write a whole file atomically (object stores do this themselves; on disk: write, flush, rename)."""

        def write() -> None:
            self.filesystem.create_dir(self.path, recursive=True)
            if self.is_local:
                _replace(self.path, name, data)
                return
            with self.filesystem.open_output_stream(f"{self.path}/{name}") as stream:
                stream.write(data)

        try:
            self.ask(name, "written", write)
        except FileNotFoundError as error:
            raise self._failed(name, "written", error) from error

    def delete(self, name: str) -> None:
        """Delete a file, if it exists."""
        if self.exists(name):
            # Another process may delete it first.
            with contextlib.suppress(FileNotFoundError):
                self.ask(name, "deleted", lambda: self.filesystem.delete_file(f"{self.path}/{name}"))

    def delete_all(self) -> None:
        """Delete the folder with everything in it, if it exists."""
        with contextlib.suppress(FileNotFoundError):
            self.ask("", "deleted", lambda: self.filesystem.delete_dir(self.path))

    def move(self, name: str, to: str) -> None:
        """Rename a file within this folder, replacing any file of the new name; does nothing if it does not exist."""
        if not self.exists(name):
            return
        old, new = f"{self.path}/{name}", f"{self.path}/{to}"
        self.ask(name, "moved", lambda: os.replace(old, new) if self.is_local else self.filesystem.move(old, new))

    def ask(self, name: str, what: str, action: Callable[[], T]) -> T:
        """Ask the file system. An object store, which may refuse for a moment, is asked again.

        The stores' clients retry too, but not always: Arrow's does not if the answer to a failed request is longer
        than the object, for which alone it has room.

        Raises:
            FileNotFoundError: there is no such file.
            StorageError: the file system refuses, or does not answer.
        """
        # Every store raises its own errors.
        kinds = OSError if self.is_local else Exception
        pauses = iter(() if self.is_local else _PAUSES_S)
        end = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return action()
            except FileNotFoundError:
                raise
            except kinds as error:
                pause = next(pauses, None)
                if pause is None or time.monotonic() > end:
                    raise self._failed(name, what, error) from error
                time.sleep(pause)

    def _failed(self, name: str, what: str, error: Exception) -> StorageError:
        remedy = "Check free space and write permission."
        if what == "read":
            remedy = "Is its disk mounted, and may this user read it?"
        if not self.is_local:
            remedy = (
                f"Does the store answer, and do the keys allow it? They, region and endpoint are in the environment "
                f"(AWS_ACCESS_KEY_ID, AWS_REGION, AWS_ENDPOINT_URL, ...). {'' if what == 'read' else remedy}"
            ).strip()
        return StorageError(f"{self.location}/{name}: cannot be {what} ({error}). {remedy}")

    def read_json(self, name: str) -> Any:
        return json.loads(self.read_bytes(name))

    def write_json(self, name: str, value: Any) -> None:
        self.write_bytes(name, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())

    def sizes(self) -> dict[str, int]:
        """Size in bytes of each file in the folder, by name, asked for at once; empty if it does not exist."""
        selector = pafs.FileSelector(self.path, allow_not_found=True)
        found = self.ask("", "read", lambda: self.filesystem.get_file_info(selector))
        return {info.base_name: int(info.size or 0) for info in found if info.type == pafs.FileType.File}

    def read_table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read what `write_table` wrote.

        Args:
            columns: those to read; None: all.

        Raises:
            DamagedError: it is incomplete, or a page does not match its checksum.
        """
        data = self.read_bytes(name)
        # Single-threaded: Arrow's threads release these Python-owned bytes late, and if Python is shutting down
        # by then, the process aborts after its work is done.
        try:
            return pq.read_table(
                pa.BufferReader(data),
                columns=None if columns is None else [*columns],
                page_checksum_verification=True,
                use_threads=False,
                pre_buffer=False,
            )
        except (pa.ArrowException, OSError) as error:
            first = next(iter(str(error).splitlines()), type(error).__name__)
            raise DamagedError(f"{self.location}/{name} is damaged ({first})") from error

    def write_table(self, name: str, table: pa.Table) -> None:
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, write_page_checksum=True)
        self.write_bytes(name, sink.getvalue())


def _replace(folder: str, name: str, data: bytes | pa.Buffer) -> None:
    temporary = f"{folder}/.{name}.{uuid.uuid4().hex[:8]}"
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, f"{folder}/{name}")
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def _from_fsspec(location: str, arrow_said: Exception) -> tuple[pafs.FileSystem, str]:
    try:
        import fsspec

        filesystem, path = fsspec.core.url_to_fs(location)
    except (ImportError, ValueError) as error:
        scheme = location.split("://", 1)[0]
        raise StorageError(
            f"{location}: no file system is installed for {scheme}:// ({arrow_said}; {error}). Install its fsspec "
            f"package on every node (s3fs, gcsfs, adlfs, ...), or use a folder on shared disk."
        ) from error
    # Every store raises its own errors.
    except Exception as error:
        raise StorageError(_NOT_OPENED.format(location=location, error=error)) from error
    return pafs.PyFileSystem(pafs.FSSpecHandler(filesystem)), path
