"""A row of a table, and how its cells are read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raysys.errors import CorpusError


@dataclass(frozen=True, slots=True)
class Row:
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
        return self.wrong(f"column {self.names.get(column, column)!r} {problem}")

    def wrong(self, problem: str) -> CorpusError:
        """An error about several cells together."""
        return CorpusError(f"{self.path}, {self.where}: {problem}")

    def text(self, column: str) -> str | None:
        """The cell, stripped; None if it is empty or missing."""
        value = self.cells.get(column)
        return (value.strip() or None) if value is not None else None

    def required(self, column: str) -> str:
        value = self.text(column)
        if value is None:
            raise self.error(column, "is empty. Fill the cell, or remove the row.")
        return value

    def empty(self, column: str) -> bool:
        value = self.cells.get(column)
        return value is None or (isinstance(value, str) and not value.strip())

    def number(self, column: str) -> float:
        """The cell as a number, 0 or more; NaN if it is not one."""
        value = self.cells[column]
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            return math.nan
        return number if math.isfinite(number) and number >= 0 else math.nan

    def rating(self, column: str) -> float | None:
        """The cell as a number, of either sign; None if it is empty or missing."""
        if self.empty(column):
            return None
        try:
            number = float(self.cells[column])
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise self.error(column, f"holds {self.cells[column]!r}, expected a number. Fix the cell, or empty it.")
        return number

    def seconds(self, column: str) -> float | None:
        if self.empty(column):
            return None
        number = self.number(column)
        if math.isnan(number):
            raise self.error(
                column,
                f"holds {self.cells[column]!r}, expected seconds from the start of the file, such as 1.25. "
                f"Fix the cell, or leave it empty for the whole file.",
            )
        return number
