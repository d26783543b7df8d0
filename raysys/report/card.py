"""The final model's card: what it is, how it was chosen, its use and limits; its text is in `templates/card.md.j2`."""

from __future__ import annotations

import re

from jinja2 import Environment, PackageLoader, StrictUndefined

from raysys.config import Select
from raysys.report.export import percent
from raysys.report.front_matter import front_matter
from raysys.report.tables import SYNTHETIC
from raysys.results import FinalModel, GridResult, RunResult
from raysys.selection import TITLES, shown


def model_card(results: RunResult) -> str:
    """Markdown for the README.md of a final model's folder, with what the Hugging Face Hub reads at its head.

    Args:
        results: of the grid search that selected it, or of the cross-validation that says how long to train.
    """
    assert results.final_model is not None
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
        metadata=front_matter(results),
        results=results,
        final=results.final_model,
        pooled=results.pooled,
        selected_by=TITLES[results.select],
        synthetic=SYNTHETIC,
        **({} if results.grid is None else _selection(results.grid, results.final_model, results.select)),
    )


def _selection(grid: GridResult, final: FinalModel, select: Select) -> dict[str, object]:
    """What the text says of a grid."""
    score = next(point.score for point in grid.points if point.name == final.point)
    assert score is not None
    return {
        "grid": grid,
        "axes": [f"{flag} of {', '.join(values)}" for flag, values in grid.axes.items()],
        "validation_score": shown(score, select),
    }


def _plain(text: str) -> str:
    """Escape text so that Markdown shows it literally, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>()#|~&!])", r"\\\1", " ".join(text.split()))
