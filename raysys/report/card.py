"""The final model's card: what it is, how it was selected, and its limits; its text is in `templates/card.md.j2`."""

from __future__ import annotations

import re

from jinja2 import Environment, PackageLoader, StrictUndefined

from raysys.report.export import percent
from raysys.report.tables import SYNTHETIC
from raysys.results import RunResult
from raysys.selection import TITLES, shown


def model_card(results: RunResult) -> str:
    """Markdown for the README.md of a final model's folder.

    Args:
        results: of the grid search that selected it.
    """
    grid = results.grid
    assert grid is not None and grid.final is not None
    score = next(point.score for point in grid.points if point.name == grid.final.point)
    assert score is not None
    # Markdown, not HTML: names are escaped by `plain`.
    environment = Environment(
        loader=PackageLoader("raysys.report"),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"plain": _plain, "percent": percent}
    return environment.get_template("card.md.j2").render(
        results=results,
        grid=grid,
        pooled=results.pooled,
        axes=[f"{flag} of {', '.join(values)}" for flag, values in grid.axes.items()],
        selected_by=TITLES[results.select],
        validation_score=shown(score, results.select),
        synthetic=SYNTHETIC,
    )


def _plain(text: str) -> str:
    """Escape text so that Markdown shows it literally, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>()#|~&!])", r"\\\1", " ".join(text.split()))
