"""Fonts for names in any script: matplotlib draws a character that its font lacks as a box."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.font_manager import FontEntry
from matplotlib.text import Text

_FIRST = "DejaVu Sans"
"""Comes with matplotlib."""
_PREFERRED = ("Noto Sans", "Source Han Sans", "WenQuanYi", "IPA", "Nanum", "PingFang", "Hiragino", "Microsoft YaHei")
"""How the names of fonts begin that cover Chinese, Japanese, Korean and many other scripts."""
_LONGEST = 24
_NO_LETTERS = ("Last Resort", "STIXNonUnicode", "STIXSize", "cm")
"""Fonts whose glyphs are not those of their characters."""


def covering(text: str) -> tuple[list[str], frozenset[str]]:
    """Families that together have as many of the characters as fonts on this machine can.

    Returns: the families, in the order in which matplotlib is to ask them, and the characters that none has.
    """
    families = [_FIRST]
    missing = {character for character in text if character.isprintable()} - _characters(_path_of(_FIRST))
    for entry in _others() if missing else ():
        if found := missing & _characters(entry.fname):
            families.append(entry.name)
            missing -= found
    return families, frozenset(missing)


def escape(figure: Figure, missing: Iterable[str]) -> None:
    r"""Write characters as their code, \u6012, wherever the figure has them."""
    codes = str.maketrans({character: ascii(character)[1:-1] for character in missing})
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            # Labels of ticks are set again at every drawing.
            labels = [label.get_text() for label in axis.get_ticklabels()]
            if (escaped := [_in_codes(label, codes) for label in labels]) != labels:
                axis.set_ticklabels(escaped)
                if axis is axes.xaxis:
                    # Too long to stand side by side.
                    axes.tick_params(axis="x", labelrotation=90)
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_text(_in_codes(text.get_text(), codes))


def _in_codes(text: str, codes: dict[int, str]) -> str:
    """Four codes at most, which is what a figure of a phone's width has room for."""
    escaped = text.translate(codes)
    return escaped if escaped == text or len(escaped) <= _LONGEST else f"{escaped[:_LONGEST]}…"


def _others() -> list[FontEntry]:
    """Every other font of this machine, those that cover much first."""
    known = {entry.fname for entry in font_manager.fontManager.ttflist}
    for path in font_manager.findSystemFonts():
        # matplotlib keeps a list from its first start: fonts installed since are not in it.
        if path not in known:
            with contextlib.suppress(OSError, RuntimeError, ValueError):
                font_manager.fontManager.addfont(path)
    entries = [e for e in font_manager.fontManager.ttflist if not e.name.startswith((_FIRST, *_NO_LETTERS))]
    regular = [e for e in entries if e.style == "normal" and e.weight in (400, "normal", "regular")]
    return sorted(regular, key=lambda e: (not e.name.startswith(_PREFERRED), e.name, e.fname))


def _path_of(family: str) -> str:
    return font_manager.findfont(family)


@functools.cache
def _characters(path: str) -> frozenset[str]:
    try:
        return frozenset(map(chr, font_manager.get_font(path).get_charmap()))
    except (OSError, RuntimeError):
        return frozenset()
