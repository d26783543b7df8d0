"""Figures show the given numbers, follow the page's theme, and have no side effects."""

from __future__ import annotations

import re
from collections.abc import Callable

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from raysys.report import figures, matrices
from raysys.report.scores import Bin
from raysys.report.style import to_png, to_svg

ODD = "a<b> & $x$"


def confusion() -> Figure:
    return matrices.confusion_matrix([[30, 10], [0, 8]], ["ang", ODD])


def heat_map() -> Figure:
    values = np.array([[0.5, 0.7, np.nan], [0.6, 0.55, 0.52]])
    rows, columns = ("alpha", ["1", "0.1"]), ("beta", ["1", "0.1", "0.01"])
    return matrices.heat_map(values, rows, columns, choices_RC=[[0, 3, 0], [2, 0, 0]], final=(0, 1))


def curves() -> Figure:
    lines = {"1": ([1, 2, 3], [30.0, 50.0, 40.0]), "2": ([1, 2], [20.0, 25.0])}
    return figures.curves(lines, "UA, %", chosen={"1": 2, "2": 2})


def embedding() -> Figure:
    points = np.array([[0, 0], [1, 1], [2, 0]], dtype=np.float32)
    return figures.embedding(points, ["ang", ODD, "ang"], ["ang", ODD])


def variant_bars() -> Figure:
    return figures.variant_bars(
        ["full", ODD], {"UA": [0.75, 0.6], "WA": [0.8, 0.5]}, {"UA": [0.1, 0.02], "WA": [None] * 2}
    )


def differences() -> Figure:
    return figures.differences([ODD, "no CCB1"], [-0.0421, 0.01], [(-0.06, -0.02), (-0.02, 0.03)])


def reliability() -> Figure:
    empty = Bin(low=0.0, high=0.5, n=0, confidence=None, accuracy=None)
    return figures.reliability([empty, Bin(low=0.5, high=1.0, n=4, confidence=0.8, accuracy=0.75)])


ALL = [confusion, heat_map, curves, embedding, variant_bars, differences, reliability]
each_figure = pytest.mark.parametrize("draw", ALL, ids=lambda draw: draw.__name__)


def svg_of(figure: Figure, name: str = "f") -> str:
    return to_svg(figure, name=name, title="T", description="D")


def texts(figure: Figure) -> list[str]:
    return re.findall(r"<text [^>]*>([^<]*)</text>", svg_of(figure))


@each_figure
def test_equal_data_give_equal_bytes(draw: Callable[[], Figure]) -> None:
    assert svg_of(draw()) == svg_of(draw())
    assert to_png(draw()) == to_png(draw())


@each_figure
def test_every_colour_is_the_themes(draw: Callable[[], Figure]) -> None:
    """A colour left as drawn, or an implicit black, is not legible in dark mode."""
    svg = svg_of(draw())
    assert not re.findall(r"#[0-9a-f]{3,6}\b(?=[;\"])", svg)
    assert "var(--ink)" in svg
    assert all("fill: var(--" in style for style in re.findall(r'<text style="([^"]*)"', svg))


@each_figure
def test_two_figures_on_one_page_share_no_id(draw: Callable[[], Figure]) -> None:
    ids = [set(re.findall(r'\bid="([^"]+)"', svg_of(draw(), name))) for name in ("one", "two")]
    assert ids[0] and not ids[0] & ids[1]
    referred = re.findall(r'(?:href="#|url\(#)([^")]+)', svg_of(draw(), "one"))
    assert set(referred) <= ids[0]


@each_figure
def test_drawing_changes_no_setting_of_matplotlib(draw: Callable[[], Figure]) -> None:
    before = dict(matplotlib.rcParams)
    to_png(draw()), svg_of(draw())
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("draw", [confusion, embedding, variant_bars, differences], ids=lambda draw: draw.__name__)
def test_names_are_shown_as_they_are_neither_markup_nor_formula(draw: Callable[[], Figure]) -> None:
    assert "a&lt;b&gt; &amp; $x$" in texts(draw())


def test_title_and_description_are_escaped() -> None:
    svg = to_svg(confusion(), name="f", title="<b>", description='"&')
    assert "<title id=" in svg and "&lt;b&gt;</title>" in svg and "&quot;&amp;</desc>" in svg


def test_a_confusion_matrix_shows_counts_and_shares_of_the_true_class() -> None:
    """30 of 40 are correct: 75 per cent of the row, not of the column."""
    assert [t for t in texts(confusion()) if t[0].isdigit()] == ["30", "75 %", "10", "25 %", "0", "0 %", "8", "100 %"]


def test_a_class_without_utterances_is_an_empty_row() -> None:
    shown = texts(matrices.confusion_matrix([[3, 0], [0, 0]], ["a", "b"]))
    assert [t for t in shown if t[0].isdigit()] == ["3", "100 %", "0", "0 %", "0", "0"]


def test_many_classes_are_counts_alone() -> None:
    shown = texts(matrices.confusion_matrix(np.eye(8, dtype=int).tolist(), [f"emotion {i}" for i in range(8)]))
    assert shown.count("1") == 8 and not any("%" in t for t in shown)


def test_the_heat_map_is_darkest_at_the_best_point_and_frames_the_final_one() -> None:
    figure = heat_map()
    axes = figure.axes[0]
    cells = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    filled = {(round(c.get_y() + 0.48), round(c.get_x() + 0.48)): c.get_alpha() for c in cells if c.get_fill()}
    assert len(filled) == 5 and max(filled, key=lambda cell: filled[cell] or 0) == (0, 1)
    (frame,) = [c for c in cells if not c.get_fill()]
    assert (round(frame.get_y() + 0.46), round(frame.get_x() + 0.46)) == (0, 1)
    assert [len(dots.get_offsets()) for dots in axes.collections] == [0, 3, 2, 0, 0]
    assert "stopped" in texts(figure) and "70.0" in texts(figure)


def test_of_losses_the_lowest_is_darkest() -> None:
    values = np.array([[0.9, 1.25]])
    figure = matrices.heat_map(values, ("a", ["1"]), ("b", ["1", "2"]), choices_RC=[[0, 0]], final=None, loss=True)
    low, high = (patch.get_alpha() or 0.0 for patch in figure.axes[0].patches)
    assert low == pytest.approx(1.0) and high == pytest.approx(0.08)
    assert "0.900" in texts(figure) and "1.250" in texts(figure)


def test_equal_scores_make_one_colour() -> None:
    axes = matrices.heat_map(
        np.full((1, 2), 0.5), ("a", ["1"]), ("b", ["1", "2"]), choices_RC=[[0, 0]], final=None
    ).axes[0]
    assert {patch.get_alpha() for patch in axes.patches} == {0.5}


def test_the_best_of_a_grid_is_not_over_one_by_rounding() -> None:
    """An opacity of 1.0000000000000002 would raise an error at the very end of a sweep."""
    for high in np.arange(0.21, 1.0, 0.01):
        axes = matrices.heat_map(
            np.array([[0.2, high]]), ("a", ["1"]), ("b", ["1", "2"]), choices_RC=[[0, 0]], final=None
        ).axes[0]
        assert max(patch.get_alpha() or 0.0 for patch in axes.patches) == pytest.approx(1.0)


def test_a_curve_is_marked_at_the_epoch_that_was_kept() -> None:
    dots = [line for line in curves().axes[0].lines if line.get_marker() == "o"]
    assert [tuple(np.ravel(dot.get_data())) for dot in dots] == [(2, 50.0), (2, 25.0)]


def test_every_class_has_a_marker_and_a_colour_of_its_own() -> None:
    names = [f"class {i}" for i in range(8)]
    figure = figures.embedding(np.zeros((8, 2), dtype=np.float32), names, names)
    shapes = {points.get_paths()[0].vertices.tobytes() for points in figure.axes[0].collections}
    colors = {points.get_facecolor().tobytes() for points in figure.axes[0].collections}
    assert len(shapes) == len(colors) == 8


@pytest.mark.parametrize("names", [["_a", "b"], ["_a", "_b"]])
def test_a_name_that_begins_with_an_underscore_is_in_the_legend(names: list[str]) -> None:
    lines = figures.curves({name: ([1, 2], [0.1, 0.2]) for name in names}, "UA, %")
    points = figures.embedding(np.zeros((2, 2), dtype=np.float32), names, names)
    for figure in (lines, points):
        assert [text.get_text() for text in figure.legends[0].get_texts()] == names


def test_bars_have_the_length_of_their_scores_and_error_bars_only_of_several_seeds() -> None:
    axes = variant_bars().axes[0]
    assert [round(bar.get_width(), 6) for bar in axes.patches] == [75.0, 60.0, 80.0, 50.0]
    (lines,) = [container for container in axes.containers if "ErrorbarContainer" in type(container).__name__]
    assert [round(segment[1, 0] - segment[0, 0], 6) for segment in lines[2][0].get_segments()] == [20.0, 4.0]


def test_differences_are_in_points_with_their_sign() -> None:
    shown = texts(differences())
    assert "−4.2" in shown and "+1.0" in shown


def test_an_empty_bin_has_no_bar() -> None:
    above, below = reliability().axes
    assert [bar.get_height() for bar in above.patches] == [75.0]
    assert [bar.get_height() for bar in below.patches] == [100.0]


@pytest.mark.parametrize("names", [[f"Session{i}" for i in range(1, 6)], ["a", "b", "c"], ["a very long name"] * 7])
def test_a_legend_is_within_its_figure(names: list[str]) -> None:
    lines = {f"{i} {name}" if len(set(names)) == 1 else name: ([1, 2], [0.5, 0.6]) for i, name in enumerate(names)}
    figure = figures.curves(lines, "UA, %")
    figure.draw_without_rendering()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height


def test_a_run_of_one_epoch_shows_its_points() -> None:
    figure = figures.curves({"a": ([1], [0.5]), "b": ([1], [0.6])}, "loss")
    assert [line.get_marker() for line in figure.axes[0].lines] == [".", "."]
