"""Names in any script: drawn with a font that has them, or by their codes."""

from __future__ import annotations

import pytest
from matplotlib import rc_context
from matplotlib.figure import Figure

from raysys.report import fonts, matrices
from raysys.report.style import to_png


def test_latin_needs_no_other_font() -> None:
    assert fonts.covering("anger, Ärger, гнев") == (["DejaVu Sans"], frozenset())


def test_a_character_is_drawn_with_a_font_that_has_it() -> None:
    """STIXGeneral comes with matplotlib, too."""
    assert fonts.covering("ang ᶁ") == (["DejaVu Sans", "STIXGeneral"], frozenset())


def test_characters_that_no_font_has_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_others", list)
    assert fonts.covering("ang ᶁ 愤怒\t") == (["DejaVu Sans"], frozenset("ᶁ愤怒"))


def drawn(name: str) -> Figure:
    with rc_context({"font.family": fonts.covering(name)[0]}):
        return matrices.confusion_matrix([[3, 1], [0, 8]], ["ang", name])


def test_missing_characters_are_codes_in_labels_and_texts() -> None:
    figure = drawn("愤怒")
    figure.text(0, 0, "怒!")
    fonts.escape(figure, {"愤", "怒"})
    axes = figure.axes[0]
    for axis in (axes.xaxis, axes.yaxis):
        assert [label.get_text() for label in axis.get_ticklabels()] == ["ang", r"\u6124\u6012"]
    assert figure.texts[-1].get_text() == r"\u6012!"
    to_png(figure)
    assert [label.get_text() for label in axes.xaxis.get_ticklabels()] == ["ang", r"\u6124\u6012"]


def test_many_codes_are_cut() -> None:
    figure = drawn("愤怒愤怒愤怒")
    fonts.escape(figure, {"愤", "怒"})
    assert figure.axes[0].get_xticklabels()[1].get_text() == r"\u6124\u6012\u6124\u6012…"
