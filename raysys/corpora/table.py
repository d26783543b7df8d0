"""Any other corpus: a table (CSV or Parquet) with one row per utterance.

Columns utterance_id, audio_path (absolute, or relative to the table's folder), speaker and emotion;
optionally transcript, session, sex (F or M), fold, start_s and end_s (seconds in the file). Other
columns are reported and ignored; one that looks like a misnamed optional column is an error.
"""

from __future__ import annotations

import csv
import difflib
import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raysys.data.manifest import Utterance
from raysys.errors import CorpusError

REQUIRED = ("utterance_id", "audio_path", "speaker", "emotion")
OPTIONAL_STRINGS = ("transcript", "session", "sex", "fold")
OPTIONAL_SECONDS = ("start_s", "end_s")
_COLUMNS = (*REQUIRED, *OPTIONAL_STRINGS, *OPTIONAL_SECONDS)
ALIASES = {
    **dict.fromkeys(("start", "starttime", "startseconds", "begin", "begintime", "offset", "onset"), "start_s"),
    **dict.fromkeys(("end", "endtime", "endseconds"), "end_s"),
    **dict.fromkeys(("text", "sentence", "utterance", "utterancetext", "transcription"), "transcript"),
}
"""Other corpora's names for these columns, in lower case, without spaces and punctuation."""
_QUOTING = "Enclose cells that contain a comma, quote or line break in double quotes, and double any quote inside them."


@dataclass(frozen=True, slots=True)
class _Row:
    """The cells of one row, and its position for error messages."""

    where: str
    cells: dict[str, Any]

    def error(self, column: str, problem: str) -> CorpusError:
        return CorpusError(f"{self.where}: column {column!r} {problem}")

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


def read_table(path: Path) -> list[Utterance]:
    """Read a CSV (UTF-8, commas, double quotes, a header) or Parquet table.

    Empty cells of optional columns are None. All cells except the two times are strings and kept as written ('007' is
    not 7, 'NA' is not missing), apart from surrounding whitespace.

    Raises:
        CorpusError: naming file, row and column: the file does not exist or has another format, a column is missing, a
            required cell is empty, a value has the wrong type.
    """
    path = path.expanduser().absolute()
    if not path.is_file():
        raise CorpusError(
            f"{path}: no such file. Set --corpus.root to a .csv or .parquet file with columns {_list(REQUIRED)}."
        )
    readers: dict[str, Callable[[Path], Iterator[_Row]]] = {
        ".csv": _csv_rows,
        ".parquet": _parquet_rows,
    }
    if path.suffix.lower() not in readers:
        raise CorpusError(
            f"{path}: expected a .csv or .parquet table, found "
            f"{path.suffix or 'a file without suffix'}. Save it in one of these formats."
        )
    return [_utterance(row, path.parent) for row in readers[path.suffix.lower()](path)]


def _utterance(row: _Row, folder: Path) -> Utterance:
    sex = row.text("sex")
    if sex not in ("F", "M", None):
        raise row.error("sex", f"holds {sex!r}, expected F, M or an empty cell. Fix the cell.")
    start_s, end_s = row.seconds("start_s"), row.seconds("end_s")
    if end_s is not None and end_s <= (start_s or 0.0):
        raise row.error("end_s", f"holds {end_s}, which is not after start_s {start_s or 0.0}. Fix one of them.")
    return Utterance(
        utterance_id=row.required("utterance_id"),
        audio_path=str(folder / row.required("audio_path")),
        speaker=row.required("speaker"),
        emotion=row.required("emotion"),
        transcript=row.text("transcript"),
        session=row.text("session"),
        sex=sex,
        fold=row.text("fold"),
        start_s=start_s,
        end_s=end_s,
    )


def _csv_rows(path: Path) -> Iterator[_Row]:
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
    line = 1
    try:
        for cells in reader:
            where, line = f"{path}, line {line}", reader.line_num + 1
            if not cells:
                continue  # a blank line
            if header is None:
                header = [name.strip() for name in cells]
                _check_columns(where, header)
                continue
            if len(cells) != len(header):
                raise CorpusError(f"{where}: {len(cells)} cells under {len(header)} columns. {_QUOTING}")
            yield _Row(where, dict(zip(header, cells, strict=True)))
    except csv.Error as error:
        raise CorpusError(f"{path}, line {line}: not readable as CSV ({error}). {_QUOTING}") from error
    if header is None:
        raise CorpusError(f"{path}: empty. Its first line must name the columns {_list(REQUIRED)}.")


def _parquet_rows(path: Path) -> Iterator[_Row]:
    try:
        with pq.ParquetFile(path) as file:
            _check_columns(str(path), file.schema_arrow.names)
            table = file.read(columns=[name for name in file.schema_arrow.names if name in _COLUMNS])
        # Other programs may store strings that are not valid UTF-8.
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise CorpusError(f"{path}: not readable as Parquet ({error}). Write the table again.") from error
    for field in table.schema:
        expected = "numbers" if field.name in OPTIONAL_SECONDS else "strings"
        if not _fits(field.type, expected):
            found = next((value for value in table[field.name].to_pylist() if value is not None), None)
            raise CorpusError(
                f"{path}, row 1: column {field.name!r} holds {field.type} such as {found!r}, "
                f"expected {expected}. Convert the column before writing the table, or write a .csv "
                "file."
            )
    for number, cells in enumerate(table.to_pylist(), start=1):
        yield _Row(f"{path}, row {number}", cells)


def _fits(stored: pa.DataType, expected: str) -> bool:
    """Whether a column of this type holds the expected 'numbers' or 'strings', or only nulls."""
    if pa.types.is_dictionary(stored):
        stored = stored.value_type
    if pa.types.is_null(stored):
        return True
    if expected == "numbers":
        return bool(pa.types.is_integer(stored) or pa.types.is_floating(stored))
    return stored in (pa.string(), pa.large_string(), pa.string_view())


def _check_columns(where: str, header: Sequence[str]) -> None:
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        hint = " Cells are separated by commas." if len(header) == 1 else ""
        raise CorpusError(
            f"{where}: column {_list(missing)} is missing, found {_list(header)}. "
            f"Rename or add it; {_list(REQUIRED)} are required.{hint}"
        )
    twice = sorted({name for name in _COLUMNS if header.count(name) > 1})
    if twice:
        raise CorpusError(f"{where}: column {_list(twice)} occurs twice. Remove one of them.")
    unread = [name for name in header if name not in _COLUMNS]
    for name in unread:
        meant = _meant(name, header)
        if meant is not None:
            unit = " (seconds from the start of the file)" if meant in OPTIONAL_SECONDS else ""
            raise CorpusError(f"{where}: unknown column {name!r}, expected {meant!r}{unit}. Rename or remove it.")
    if unread:
        print(f"corpus    {where}: ignored columns: {_list(unread)}", flush=True)


def _meant(name: str, header: Sequence[str]) -> str | None:
    """The optional column that was probably meant; ignoring start_s, say, would give whole files each turn's label."""
    absent = [column for column in (*OPTIONAL_STRINGS, *OPTIONAL_SECONDS) if column not in header]
    plain = "".join(c for c in name.casefold() if c.isalnum())
    if plain == "duration" and "start_s" in header and "end_s" in absent:
        return "end_s"
    if plain in ALIASES:
        return ALIASES[plain] if ALIASES[plain] in absent else None
    return next(iter(difflib.get_close_matches(name.lower(), absent, n=1, cutoff=0.85)), None)


def _list(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)
