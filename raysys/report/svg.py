"""Export matplotlib figures as PNG on white, and as SVG with the page's colours and font and unique ids."""

from __future__ import annotations

import html
import io
import re

import matplotlib
from matplotlib.figure import Figure

from raysys.report.palette import CSS_OF

DOTS_PER_INCH = 200
_PIXELS_PER_INCH = 96


def to_png(figure: Figure) -> bytes:
    """The figure on white, 200 dots per inch; deterministic."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def to_svg(figure: Figure, *, name: str, title: str, description: str) -> str:
    """The figure as an inline `<svg>` element; deterministic for a figure and name.

    Text stays text, in the page's font. Palette colours become the page's CSS variables. Every id is prefixed with the
    figure's name, so that figures on one page do not share clip paths and markers.

    Args:
        name: unique on the page; letters, digits and dashes.
        title, description: its text for screen readers; escaped here.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    drawn = buffer.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"<metadata>.*?</metadata>\s*|<defs>\s*<style.*?</style>\s*</defs>\s*", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r"\s*font-family: [^;\"]*;?", "", drawn)
    drawn = re.sub(r"#[0-9a-f]{6}\b", lambda found: CSS_OF.get(found[0], found[0]), drawn)
    drawn = re.sub(r'\bid="', f'id="{name}-', drawn)
    drawn = re.sub(r'(xlink:)?href="#', f'href="#{name}-', drawn).replace("url(#", f"url(#{name}-")
    inside = drawn[drawn.index(">") + 1 :].strip()
    width, height = figure.get_size_inches()
    return (
        f'<svg role="img" aria-labelledby="{name}-title {name}-description"'
        f' viewBox="0 0 {72 * width:g} {72 * height:g}" style="max-width:{1.2 * _PIXELS_PER_INCH * width:.0f}px">'
        f'<title id="{name}-title">{html.escape(title)}</title>'
        f'<desc id="{name}-description">{html.escape(description)}</desc>\n{inside}\n'
    )
