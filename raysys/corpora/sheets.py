"""Text files and CSV tables that come with a published corpus, in whatever encoding it has."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from raysys.corpora.columns import quoted
from raysys.corpora.folders import refuse_pointer
from raysys.errors import CorpusError

_C1 = re.compile("[\x80-\x9f]")


@dataclass(frozen=True, slots=True)
class SheetRow:
    """A row of a corpus's own table.

    Attributes:
        where: file and line, for messages.
        cells: stripped, by column.
    """

    where: str
    cells: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells[column]

    def wrong(self, problem: str) -> CorpusError:
        return CorpusError(f"{self.where}: {problem} Restore the file from the published corpus.")


def read_text(path: Path, fallback: str = "cp1252") -> str:
    """A text file: UTF-16 with its mark, otherwise UTF-8, otherwise `fallback`, in which bytes that mean nothing are
    replaced.

    Control characters from 0x80 to 0x9f are Windows-1252's quotes and dashes, as some corpora have them within UTF-8.

    Raises:
        CorpusError: a pointer of Git LFS.
        OSError: it cannot be read.
    """
    data = path.read_bytes()
    refuse_pointer(path, data)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = data.decode("utf-16", "replace")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode(fallback, "replace")
    return _C1.sub(lambda match: bytes([ord(match[0])]).decode("cp1252", "replace"), text)


def read_sheet(path: Path, columns: Sequence[str]) -> Iterator[SheetRow]:
    """The rows of a corpus's CSV table, empty ones left out; names of columns match in any case.

    Args:
        columns: what is read; others are ignored.

    Raises:
        CorpusError: a column is missing, a row has other cells than the header, or it is not CSV.
        OSError: it cannot be read.
    """
    rows = _rows(path)
    header = [name.strip().casefold() for name in next(rows, (1, []))[1]]
    if missing := [column for column in columns if column.casefold() not in header]:
        raise CorpusError(
            f"{path}, line 1: column {quoted(missing)} is missing, found {quoted(header) or 'none'}. Restore the file "
            f"from the published corpus."
        )
    positions = {column: header.index(column.casefold()) for column in columns}
    for line, cells in rows:
        where = f"{path}, line {line}"
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            raise CorpusError(
                f"{where}: {len(cells)} cells under {len(header)} columns. Restore the file from the published corpus."
            )
        yield SheetRow(where, {column: cells[i].strip() for column, i in positions.items()})


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The number of its first line, and the cells, of each row."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""))
    line = 1
    try:
        for cells in reader:
            yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise CorpusError(
            f"{path}, line {line}: not readable as CSV ({error}). Restore the file from the published corpus."
        ) from error
