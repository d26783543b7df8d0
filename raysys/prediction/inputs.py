"""The recordings that a command line names: files, folders, globs and tables, on disks and in object stores.

They are listed in the order in which they are named, folders by name, one after another: never all at once.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import pyarrow.fs as pafs
from fsspec.utils import glob_translate

from raysys.corpora.row import Row
from raysys.corpora.table import table_rows
from raysys.data.recordings import SUFFIXES
from raysys.errors import ConfigError
from raysys.storage import Folder, absolute, is_address

AUDIO = (*SUFFIXES, ".3gp", ".aac", ".aifc", ".amr", ".avi", ".flv", ".mkv", ".mov", ".wma", ".wmv")
"""Endings by which recordings are found in folders and globs; a file that is named may have any."""
TABLES = (".csv", ".parquet")
_COLUMN = ("audio_path",)
_BYTES_PER_S = 16_000
"""A guess at a recording's length from its size: that of an MP3 at 128 kbit/s, and half of a WAV at 16 kHz."""

Kind = Literal["file", "folder", "glob", "table"]
Note = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A recording, or a part of one.

    Attributes:
        path: as it is named, for people; bytes that are no text are escaped.
        location: absolute path or address.
        start_s, end_s: its part, in seconds; None: from the start, to the end.
        problem: why it cannot be read, if listing it already said so.
        guessed_s: how long it may be.
    """

    path: str
    location: str
    start_s: float | None = None
    end_s: float | None = None
    transcript: str | None = None
    problem: str | None = None
    guessed_s: float = 0.0


def look(arguments: Sequence[str]) -> bool:
    """Refuse arguments that name nothing, before anything slow is imported or listed.

    Returns: whether a table among them has transcripts.

    Raises:
        ConfigError: there is no such file, no match, no audio file in a folder, or no row in a table.
        CorpusError: a table has no column audio_path, or a wrong cell in its first row.
        StorageError: an object store does not answer.
    """
    texts = False
    for argument in arguments:
        if _kind(argument) == "table":
            with _local(argument) as path:
                first = next(table_rows(path, _ignore, _COLUMN), None)
            if first is None:
                raise ConfigError(f"{argument}: has no rows. Give a table with a row for each recording.")
            texts |= "transcript" in first.names
        else:
            next(_inputs(argument, _ignore))
    return texts


def list_inputs(arguments: Sequence[str], note: Note = print) -> Iterator[Input]:
    """Every recording, as often as it is named.

    Args:
        note: takes what is odd about a table but usable.

    Raises:
        ConfigError, CorpusError, StorageError: as of `look`, and for any row of a table.
    """
    for argument in arguments:
        yield from _inputs(argument, note)


def _inputs(argument: str, note: Note) -> Iterator[Input]:
    kind = _kind(argument)
    match kind:
        case "file":
            yield _file(argument, absolute(argument))
            return
        case "table":
            yield from _rows(argument, note)
            return
        case "folder":
            found = _folder(argument)
        case "glob":
            found = _glob(argument)
    n = 0
    for n, item in enumerate(found, start=1):  # noqa: B007
        yield item
    if not n:
        what = "no audio file in it and below it" if kind == "folder" else "no audio file matches"
        raise ConfigError(
            f"{argument}: {what} (by their endings: {' '.join(sorted(AUDIO))}). Give a folder or a pattern that has "
            f"some; a file that is named itself may have any ending."
        )


def _kind(argument: str) -> Kind:
    if is_address(argument):
        place = Folder.at(argument)
        there = place.ask("", "read", lambda: place.filesystem.get_file_info(place.path)).type
        is_file, is_folder = there == pafs.FileType.File, there == pafs.FileType.Directory
    else:
        path = os.path.expanduser(argument)
        is_folder = os.path.isdir(path)
        is_file = os.path.lexists(path) and not is_folder
    if is_file:
        return "table" if argument.lower().endswith(TABLES) else "file"
    if is_folder:
        return "folder"
    # What exists is meant literally, brackets and all.
    if glob.has_magic(argument):
        return "glob"
    raise ConfigError(
        f"{argument}: no such file or folder. Give recordings, folders of them, patterns such as 'calls/*.wav', or a "
        f"table (.csv, .parquet) with a column audio_path."
    )


def _file(path: str, location: str, size: int | None = None) -> Input:
    if size is None and not is_address(location):
        try:
            size = os.stat(location).st_size
        except OSError:
            size = 0  # Decoding it says why.
    return Input(path=shown(path), location=location, guessed_s=(size or 0) / _BYTES_PER_S)


def shown(path: str) -> str:
    """A path as text: file systems allow names that are not UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _folder(argument: str) -> Iterator[Input]:
    if is_address(argument):
        for path, size in _below(Folder.at(argument)):
            yield _file(path, path, size)
        return
    named, root = argument.rstrip("/") or "/", absolute(argument)
    problems: list[OSError] = []
    for folder, below, files in os.walk(root, onerror=problems.append):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(files):
            if _is_audio(name):
                location = f"{folder}/{name}"
                yield _file(os.path.join(named, os.path.relpath(location, root)), location)
        yield from _unreadable(problems, named, root)
    yield from _unreadable(problems, named, root)


def _unreadable(problems: list[OSError], named: str, root: str) -> Iterator[Input]:
    while problems:
        error = problems.pop(0)
        if str(error.filename) == root:
            raise ConfigError(f"{named}: cannot be read ({error.strerror}). Fix its permissions, or leave it out.")
        path = os.path.normpath(os.path.join(named, os.path.relpath(error.filename, root)))
        problem = f"is a folder that cannot be read ({error.strerror})"
        yield Input(path=shown(path), location=str(error.filename), problem=problem)


def _is_audio(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith(AUDIO)


def _below(folder: Folder) -> Iterator[tuple[str, int]]:
    """Addresses and sizes of the audio files in a folder of an object store and below it."""
    selector = pafs.FileSelector(folder.path)
    entries = folder.ask("", "read", lambda: folder.filesystem.get_file_info(selector))
    # Files before folders, as on a disk.
    for info in sorted(entries, key=lambda info: (info.type != pafs.FileType.File, info.base_name)):
        if info.type == pafs.FileType.File and _is_audio(info.base_name):
            yield f"{folder.location}/{info.base_name}", int(info.size or 0)
        elif info.type == pafs.FileType.Directory and not info.base_name.startswith("."):
            yield from _below(folder / info.base_name)


def _glob(pattern: str) -> Iterator[Input]:
    if is_address(pattern):
        # Up to the first folder with a wildcard.
        literal = re.split(r"[*?\[]", pattern, maxsplit=1)[0].rpartition("/")[0]
        matches = re.compile(glob_translate(pattern)).match
        yield from (_file(path, path, size) for path, size in _below(Folder.at(literal)) if matches(path))
        return
    for path in sorted(glob.glob(os.path.expanduser(pattern), recursive=True)):
        if _is_audio(os.path.basename(path)) and not os.path.isdir(path):
            yield _file(path, absolute(path))


def _rows(argument: str, note: Note) -> Iterator[Input]:
    folder = absolute(argument).rpartition("/")[0]
    with _local(argument) as path:
        for row in table_rows(path, note, _COLUMN):
            yield _row(row, folder)


def _row(row: Row, folder: str) -> Input:
    path = row.required("audio_path")
    location = path if is_address(path) or os.path.isabs(path) else f"{folder}/{path}"
    start_s, end_s = row.seconds("start_s"), row.seconds("end_s")
    if end_s is not None and end_s <= (start_s or 0.0):
        raise row.error("end_s", f"holds {end_s}, which is not after start_s {start_s or 0.0}. Fix one of them.")
    guessed_s = _file(path, location).guessed_s if end_s is None else end_s - (start_s or 0.0)
    return Input(
        path=shown(path),
        location=location,
        start_s=start_s,
        end_s=end_s,
        transcript=row.text("transcript"),
        guessed_s=guessed_s,
    )


@contextmanager
def _local(argument: str) -> Iterator[Path]:
    """A table as a file on this machine, while it is read."""
    if not is_address(argument):
        yield Path(absolute(argument))
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(download(argument, folder))


def download(address: str, folder: str) -> str:
    """Copy a file from an object store into a folder on this machine. Returns: its path.

    Raises:
        FileNotFoundError: there is no such file.
        StorageError: it cannot be read.
    """
    place, name = Folder.at(address.rpartition("/")[0]), address.rpartition("/")[2]
    target = f"{folder}/{name}"
    place.ask(name, "read", partial(_copy, place, name, target))
    return target


def _copy(place: Folder, name: str, target: str) -> None:
    with place.filesystem.open_input_stream(f"{place.path}/{name}") as source, open(target, "wb") as sink:
        shutil.copyfileobj(source, sink)


def _ignore(_: str) -> None:
    pass
