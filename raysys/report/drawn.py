"""A chart: a figure with its title and caption, drawn for the page and as a file."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure

from raysys.report import fonts
from raysys.report.style import to_png, to_svg


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A figure with its title and caption.

    Attributes:
        name: file name, and anchor on the page.
        title: one short line.
        caption: how to read it; also its text for screen readers.
    """

    name: str
    title: str
    caption: str
    figure: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A chart for the page (SVG) and as a file (PNG)."""

    name: str
    title: str
    caption: str
    svg: str
    png: bytes


def rendered(chart: Chart, missing: frozenset[str]) -> Drawn:
    # In an SVG, text is text: the browser has fonts of its own.
    svg = to_svg(chart.figure, name=f"figure-{chart.name}", title=chart.title, description=chart.caption)
    if missing:
        fonts.escape(chart.figure, missing)
    return Drawn(name=chart.name, title=chart.title, caption=chart.caption, svg=svg, png=to_png(chart.figure))
