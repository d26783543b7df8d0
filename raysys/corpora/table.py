"""Any other corpus: a table (CSV or Parquet) with one row per utterance.

Columns audio_path (absolute, or relative to the table's folder), speaker and emotion; optionally utterance_id,
transcript, session, sex (F or M), fold, start_s and end_s (seconds in the file), and other names for some of them
(`columns`). Other columns are noted and ignored; one that looks like a misnamed optional column is an error.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raysys.corpora.columns import OPTIONAL_SECONDS, REQUIRED, match_columns, quoted
from raysys.data.manifest import Utterance
from raysys.errors import CorpusError

SEXES = {"f": "F", "female": "F", "m": "M", "male": "M"}
"""How a table may say it, in lower case."""
Note = Callable[[str], None]
_QUOTING = "Enclose cells that contain a comma, quote or line break in double quotes, and double any quote inside them."


@dataclass(frozen=True, slots=True)
class _Row:
    """The cells of one row by column, and its position for error messages.

    Attributes:
        where: such as 'line 7'.
        names: the table's own name of each column.
    """

    path: Path
    where: str
    cells: dict[str, Any]
    names: dict[str, str]

    def error(self, column: str, problem: str) -> CorpusError:
        return CorpusError(f"{self.path}, {self.where}: column {self.names.get(column, column)!r} {problem}")

    def text(self, column: str) -> str | None:
        """The cell, stripped; None if it is empty or missing."""
        value = self.cells.get(column)
        return (value.strip() or None) if value is not None else None

    def required(self, column: str) -> str:
        value = self.text(column)
        if value is None:
            raise self.error(column, "is empty. Fill the cell, or remove the row.")
        return value

    def seconds(self, column: str) -> float | None:
        value = self.cells.get(column)
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not (math.isfinite(number) and number >= 0):
            raise self.error(
                column,
                f"holds {value!r}, expected seconds from the start of the file, such as 1.25. "
                f"Fix the cell, or leave it empty for the whole file.",
            )
        return number


def read_table(path: Path, note: Note = print) -> list[Utterance]:
    """Read a CSV (UTF-8, commas, double quotes, a header) or Parquet table.

    Empty cells of optional columns are None. All cells except the two times and sex are strings and kept as written
    ('007' is not 7, 'NA' is not missing), apart from surrounding whitespace. Without a column utterance_id, ids are
    made from the paths.

    Args:
        note: takes what is odd about the table but usable.

    Raises:
        CorpusError: naming file, row and column: the file does not exist or has another format, a column is missing, a
            required cell is empty, a value has the wrong type.
    """
    path = path.expanduser().absolute()
    if not path.is_file():
        raise CorpusError(
            f"{path}: no such file. Set --corpus.root to a .csv or .parquet file with columns {quoted(REQUIRED)}."
        )
    readers: dict[str, Callable[[Path, Note], Iterator[_Row]]] = {
        ".csv": _csv_rows,
        ".parquet": _parquet_rows,
    }
    if path.suffix.lower() not in readers:
        raise CorpusError(
            f"{path}: expected a .csv or .parquet table, found "
            f"{path.suffix or 'a file without suffix'}. Save it in one of these formats."
        )
    rows = list(readers[path.suffix.lower()](path, note))
    utterances = [_utterance(row, path.parent) for row in rows]
    if not rows or "utterance_id" in rows[0].names:
        return utterances
    paths = [row.required("audio_path") for row in rows]
    return [
        dataclasses.replace(u, utterance_id=name) for u, name in zip(utterances, _ids(paths, utterances), strict=True)
    ]


def _ids(paths: Sequence[str], utterances: Sequence[Utterance]) -> list[str]:
    """Ids for a table without: the path as written, and the part of the file, 'a.wav#1.5-2.25'.

    Absolute paths are shortened by the folder that they share, so that a corpus keeps its ids when it moves.
    """
    absolute = [os.path.dirname(path) for path in paths if os.path.isabs(path)]
    shared = os.path.commonpath(absolute) if absolute else ""
    ids = []
    for path, utterance in zip(paths, utterances, strict=True):
        start_s, end_s = utterance.start_s, utterance.end_s
        whole = start_s is None and end_s is None
        part = "" if whole else f"#{start_s or 0.0}-{'' if end_s is None else end_s}"
        ids.append((os.path.relpath(path, shared) if os.path.isabs(path) else os.path.normpath(path)) + part)
    return ids


def _utterance(row: _Row, folder: Path) -> Utterance:
    written = row.text("sex")
    sex = SEXES.get(written.casefold()) if written is not None else None
    if written is not None and sex is None:
        raise row.error(
            "sex", f"holds {written!r}, expected F, M, female, male or an empty cell. Fix the cell, or empty it."
        )
    start_s, end_s = row.seconds("start_s"), row.seconds("end_s")
    if end_s is not None and end_s <= (start_s or 0.0):
        raise row.error("end_s", f"holds {end_s}, which is not after start_s {start_s or 0.0}. Fix one of them.")
    return Utterance(
        utterance_id=row.required("utterance_id") if "utterance_id" in row.names else "",
        audio_path=str(folder / row.required("audio_path")),
        speaker=row.required("speaker"),
        emotion=row.required("emotion"),
        transcript=row.text("transcript"),
        session=row.text("session"),
        sex=sex,
        fold=row.text("fold"),
        start_s=start_s,
        end_s=end_s,
        where=row.where,
    )


def _csv_rows(path: Path, note: Note) -> Iterator[_Row]:
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CorpusError(
            f"{path}, line {line}: not UTF-8 (byte 0x{data[error.start]:02x}). Save the table as UTF-8."
        ) from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    names: dict[str, str] = {}
    line = 1
    try:
        for cells in reader:
            where, line = f"line {line}", reader.line_num + 1
            if not cells:
                continue  # a blank line
            if header is None:
                header = [name.strip() for name in cells]
                names = match_columns(f"{path}, {where}", header, note)
                positions = {column: header.index(name) for column, name in names.items()}
                continue
            if len(cells) != len(header):
                raise CorpusError(f"{path}, {where}: {len(cells)} cells under {len(header)} columns. {_QUOTING}")
            yield _Row(path, where, {column: cells[i] for column, i in positions.items()}, names)
    except csv.Error as error:
        raise CorpusError(f"{path}, line {line}: not readable as CSV ({error}). {_QUOTING}") from error
    if header is None:
        raise CorpusError(f"{path}: empty. Its first line must name the columns {quoted(REQUIRED)}.")


def _parquet_rows(path: Path, note: Note) -> Iterator[_Row]:
    try:
        with pq.ParquetFile(path) as file:
            names = match_columns(str(path), file.schema_arrow.names, note)
            table = file.read(columns=list(names.values()))
        # Other programs may store strings that are not valid UTF-8.
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise CorpusError(f"{path}: not readable as Parquet ({error}). Write the table again.") from error
    for column, name in names.items():
        field = table.schema.field(name)
        expected = "numbers" if column in OPTIONAL_SECONDS else "strings"
        if not _fits(field.type, expected):
            found = next((value for value in table[field.name].to_pylist() if value is not None), None)
            raise CorpusError(
                f"{path}, row 1: column {field.name!r} holds {field.type} such as {found!r}, "
                f"expected {expected}. Convert the column before writing the table, or write a .csv "
                "file."
            )
    for number, cells in enumerate(table.to_pylist(), start=1):
        yield _Row(path, f"row {number}", {column: cells[name] for column, name in names.items()}, names)


def _fits(stored: pa.DataType, expected: str) -> bool:
    """Whether a column of this type holds the expected 'numbers' or 'strings', or only nulls."""
    if pa.types.is_dictionary(stored):
        stored = stored.value_type
    if pa.types.is_null(stored):
        return True
    if expected == "numbers":
        return bool(pa.types.is_integer(stored) or pa.types.is_floating(stored))
    return stored in (pa.string(), pa.large_string(), pa.string_view())
