"""The report's look: light and dark colours, and the style of its figures.

Figures are drawn in the light colours; in an SVG each becomes the CSS variable of the same name (`to_svg`), so the
page's theme colours the figures too. Series use Okabe and Ito's colour-blind-safe palette, with the yellow darkened for
white paper. Strong matrix cells are `heat` at full opacity and weak ones are transparent: a ramp of one hue, by
lightness, in both themes.
"""

from __future__ import annotations

import html
import io
import re
from typing import Any

import matplotlib
from matplotlib.figure import Figure

DOTS_PER_INCH = 200
_PIXELS_PER_INCH = 96

LIGHT = {
    "paper": "#fefefe",
    "panel": "#f5f7f9",
    "ink": "#1b2430",
    "soft": "#586474",
    "line": "#dce1e7",
    "shade": "#b9c2cd",
    "accent": "#0b5f9e",
    "heat": "#0b5c94",
    "on-heat": "#ffffff",
    "on-pale": "#06090e",
    "caution": "#9a5b00",
    "caution-panel": "#fff5e0",
    "series-1": "#0072b2",
    "series-2": "#d55e00",
    "series-3": "#009e73",
    "series-4": "#cc79a7",
    "series-5": "#e69f00",
    "series-6": "#56b4e9",
    "series-7": "#4d5561",
    "series-8": "#b8a200",
}
DARK = {
    "paper": "#11151b",
    "panel": "#1a2028",
    "ink": "#e6eaf0",
    "soft": "#9ca8b7",
    "line": "#2d3641",
    "shade": "#4a5665",
    "accent": "#76baf0",
    "heat": "#3079b5",
    "on-heat": "#ffffff",
    "on-pale": "#ffffff",
    "caution": "#f2b84b",
    "caution-panel": "#2a2212",
    "series-1": "#4fa8e8",
    "series-2": "#f2803a",
    "series-3": "#2cc69a",
    "series-4": "#e39ac4",
    "series-5": "#f2b63c",
    "series-6": "#93d3f8",
    "series-7": "#b4becb",
    "series-8": "#e6d84e",
}

INK, SOFT, LINE, HEAT = (LIGHT[name] for name in ("ink", "soft", "line", "heat"))
ON_HEAT, ON_PALE = LIGHT["on-heat"], LIGHT["on-pale"]
SERIES = tuple(color for name, color in LIGHT.items() if name.startswith("series-"))
CSS_OF = {color: f"var(--{name})" for name, color in LIGHT.items()}
"""CSS variable by light colour."""

STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": SOFT,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "none",
    "font.size": 9,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "hatch.linewidth": 0.8,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "legend.title_fontsize": 9,
    "text.color": INK,
    # Class and variant names are the user's: a dollar sign in them does not start a formula.
    "text.parse_math": False,
    "xtick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.color": SOFT,
    "ytick.labelcolor": INK,
}
"""Figure style, as matplotlib settings."""


def theme() -> str:
    """CSS that defines the variables, following the system's light or dark mode."""
    light, dark = ("".join(f"--{name}:{color};" for name, color in colors.items()) for colors in (LIGHT, DARK))
    return f":root{{{light}}}\n@media (prefers-color-scheme: dark){{:root{{{dark}}}}}\n"


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
