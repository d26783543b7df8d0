"""Comma-separated values of which no cell is run by a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Sequence


def csv_of(headings: Sequence[str], rows: Sequence[Sequence[object]], as_typed: Collection[str] = ()) -> str:
    """Comma-separated values.

    Args:
        as_typed: headings of columns that are not escaped.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([_inert(heading) for heading in headings])
    for row in rows:
        named = zip(headings, row, strict=True)
        writer.writerow([cell if heading in as_typed else _inert(cell) for heading, cell in named])
    return buffer.getvalue()


def _inert(cell: object) -> object:
    """Escape a cell that a spreadsheet would run as a formula (names come from a corpus). Signed numbers stay."""
    if not isinstance(cell, str):
        return cell
    # Many readers treat \r as a line end, and this writer does not quote it.
    shown = cell.replace("\r", " ")
    if not cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return shown
    try:
        float(cell)
    except ValueError:
        return f"'{shown}"
    return shown
