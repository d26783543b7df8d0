"""Any other corpus: a table (CSV or Parquet) with one row per utterance.

Columns audio_path (absolute, or relative to the table's folder), speaker and emotion; optionally utterance_id,
transcript, session, sex (F or M), fold, start_s and end_s (seconds in the file), annotators' votes (`votes`), valence,
arousal and dominance (numbers on any scale), split (the part in a published partition), and other names for some of
them (`columns`). Other columns are noted and ignored; one that looks like a misnamed optional column is an error.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from raysys.corpora.columns import (
    OPTIONAL_NUMBERS,
    OPTIONAL_SECONDS,
    REQUIRED,
    SPLIT,
    match_columns,
    may_be_votes,
    quoted,
)
from raysys.corpora.row import Row
from raysys.corpora.votes import VoteColumns, find_votes, row_votes
from raysys.data.manifest import UNKNOWN, Utterance
from raysys.data.partition import WORDS, part_named
from raysys.errors import CorpusError

SEXES = {"f": "F", "female": "F", "m": "M", "male": "M"}
"""How a table may say it, in lower case."""
Note = Callable[[str], None]
_QUOTING = "Enclose cells that contain a comma, quote or line break in double quotes, and double any quote inside them."


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What a table holds.

    Attributes:
        voted: emotions that annotators could choose, in the order of the utterances' votes; empty without votes.
    """

    utterances: list[Utterance]
    voted: tuple[str, ...] = ()


def read_table(path: Path, note: Note = print, *, given: bool = False) -> Table:
    """Read a CSV (UTF-8, commas, double quotes, a header) or Parquet table.

    Empty cells of optional columns are None. All cells except times, sex, votes and attributes are strings and kept as
    written ('007' is not 7, 'NA' is not missing), apart from surrounding whitespace. Without a column utterance_id, ids
    are made from the paths.

    Args:
        note: takes what is odd about the table but usable.
        given: read the parts of its published partition, column 'split'. Speakers may be unknown then.

    Raises:
        CorpusError: naming file, row and column: the file does not exist or has another format, a column is missing, a
            required cell is empty, a value has the wrong type.
    """
    path = path.expanduser().absolute()
    if not path.is_file():
        raise CorpusError(
            f"{path}: no such file. Set --corpus.root to a .csv or .parquet file with columns {quoted(REQUIRED)}."
        )
    rows = list(table_rows(path, note, (*REQUIRED, SPLIT) if given else REQUIRED))
    if not rows:
        return Table(utterances=[])
    emotions = {row.text("emotion") or "" for row in rows}
    votes = find_votes(path, filter(may_be_votes, rows[0].names), emotions, note)
    utterances = [_utterance(row, path.parent, votes, given) for row in rows]
    if "utterance_id" not in rows[0].names:
        ids = _ids([row.required("audio_path") for row in rows], utterances)
        utterances = [dataclasses.replace(u, utterance_id=name) for u, name in zip(utterances, ids, strict=True)]
    return Table(utterances=utterances, voted=() if votes is None else tuple(votes.names))


def table_rows(path: Path, note: Note, required: Sequence[str] = REQUIRED) -> Iterator[Row]:
    """The rows of a table, one after another; see `read_table`."""
    match path.suffix.lower():
        case ".csv":
            return _csv_rows(path, note, required)
        case ".parquet":
            return _parquet_rows(path, note, required)
    raise CorpusError(
        f"{path}: expected a .csv or .parquet table, found "
        f"{path.suffix or 'a file without suffix'}. Save it in one of these formats."
    )


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


def _utterance(row: Row, folder: Path, votes: VoteColumns | None, given: bool) -> Utterance:
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
        speaker=_speaker(row, given),
        emotion=row.required("emotion"),
        transcript=row.text("transcript"),
        session=row.text("session"),
        sex=sex,
        fold=row.text("fold"),
        split=_part(row) if given else None,
        start_s=start_s,
        end_s=end_s,
        votes=None if votes is None else row_votes(row, votes),
        valence=row.rating("valence"),
        arousal=row.rating("arousal"),
        dominance=row.rating("dominance"),
        where=row.where,
    )


def _speaker(row: Row, given: bool) -> str:
    written = row.text("speaker") or ""
    if written.casefold() not in ("", UNKNOWN):
        return written
    if given:
        return UNKNOWN
    if written:
        raise row.error(
            "speaker",
            f"holds {written!r}, and folds keep speakers apart. Fill in who speaks, remove the row, or use a published "
            f"partition (--corpus.folds given).",
        )
    return row.required("speaker")


def _part(row: Row) -> str | None:
    """Of the published partition; None if the cell is empty, which `given_parts` counts and refuses."""
    written = row.text(SPLIT)
    part = None if written is None else part_named(written)
    if written is not None and part is None:
        raise row.error(SPLIT, f"holds {written!r}, expected {WORDS}. Fix the cell, or remove the row.")
    return part


def _csv_rows(path: Path, note: Note, required: Sequence[str]) -> Iterator[Row]:
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
                names = match_columns(f"{path}, {where}", header, note, required)
                positions = {column: header.index(name) for column, name in names.items()}
                continue
            if len(cells) != len(header):
                raise CorpusError(f"{path}, {where}: {len(cells)} cells under {len(header)} columns. {_QUOTING}")
            yield Row(path, where, {column: cells[i] for column, i in positions.items()}, names)
    except csv.Error as error:
        raise CorpusError(f"{path}, line {line}: not readable as CSV ({error}). {_QUOTING}") from error
    if header is None:
        raise CorpusError(f"{path}: empty. Its first line must name the columns {quoted(required)}.")


def _parquet_rows(path: Path, note: Note, required: Sequence[str]) -> Iterator[Row]:
    try:
        with pq.ParquetFile(path) as file:
            names = match_columns(str(path), file.schema_arrow.names, note, required)
            table = file.read(columns=list(names.values()))
        # Other programs may store strings that are not valid UTF-8.
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise CorpusError(f"{path}: not readable as Parquet ({error}). Write the table again.") from error
    for column, name in names.items():
        if may_be_votes(column):
            continue  # read if they are
        field = table.schema.field(name)
        expected = "numbers" if column in (*OPTIONAL_SECONDS, *OPTIONAL_NUMBERS) else "strings"
        if not _fits(field.type, expected):
            found = next((value for value in table[field.name].to_pylist() if value is not None), None)
            raise CorpusError(
                f"{path}, row 1: column {field.name!r} holds {field.type} such as {found!r}, "
                f"expected {expected}. Convert the column before writing the table, or write a .csv "
                "file."
            )
    # Python objects of a batch of rows at a time.
    cells_of_rows = (cells for batch in table.to_batches(max_chunksize=4096) for cells in batch.to_pylist())
    for number, cells in enumerate(cells_of_rows, start=1):
        yield Row(path, f"row {number}", {column: cells[name] for column, name in names.items()}, names)


def _fits(stored: pa.DataType, expected: str) -> bool:
    """Whether a column of this type holds the expected 'numbers' or 'strings', or only nulls."""
    if pa.types.is_dictionary(stored):
        stored = stored.value_type
    if pa.types.is_null(stored):
        return True
    if expected == "numbers":
        return bool(pa.types.is_integer(stored) or pa.types.is_floating(stored))
    return stored in (pa.string(), pa.large_string(), pa.string_view())
