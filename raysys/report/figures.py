"""The figures: plain data in, a matplotlib Figure out.

Each is drawn at phone width, so that its text stays legible there, in colours that follow the page's theme (`style`).
Anything shown by colour is also shown by a marker, a line style, a hatch or a number.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from raysys.report.scores import Bin
from raysys.report.style import HEAT, INK, LINE, ON_HEAT, ON_PALE, SERIES, STYLE

WIDTH = 4.2
"""Inches: at CSS's 96 pixels per inch, about the width of a phone."""

MOST_WITH_SHARES = 6
"""Number of classes; with more, the cells of a confusion matrix only have room for counts."""

_MARKERS = ("o", "^", "s", "D", "v", "P", "X", "*")
_LINES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (3, 1)))


@rc_context(STYLE)
def confusion_matrix(counts_CC: Sequence[Sequence[int]], classes: Sequence[str]) -> Figure:
    """Counts, coloured by share of the true class (row); a class without utterances has an empty row."""
    counts = np.asarray(counts_CC)
    totals_C = counts.sum(axis=1, keepdims=True)
    shares_CC = counts / np.maximum(totals_C, 1)
    with_shares = len(classes) <= MOST_WITH_SHARES
    figure, axes = _matrix(len(classes), len(classes))
    for (row, column), share in np.ndenumerate(shares_CC):
        _cell(axes, row, column, strength=float(share))
        _write(axes, row - 0.12 * with_shares, column, str(counts[row, column]), strength=float(share), bold=True)
        if with_shares and totals_C[row]:
            _write(axes, row + 0.22, column, f"{100 * share:.0f} %", strength=float(share))
    _label_cells(axes, [_short(name) for name in classes], [_short(name) for name in classes])
    axes.set(xlabel="predicted", ylabel="true")
    return figure


@rc_context(STYLE)
def heat_map(
    values_RC: NDArray[np.float64],
    rows: tuple[str, Sequence[str]],
    columns: tuple[str, Sequence[str]],
    *,
    choices_RC: ArrayLike,
    final: tuple[int, int] | None,
    loss: bool = False,
) -> Figure:
    """Scores of a grid with two axes, in per cent, or losses; the best is darkest.

    Args:
        values_RC: from 0 to 1, or losses; NaN where a point was stopped.
        rows, columns: name of the axis, and its values as typed.
        choices_RC: number of folds that chose each point, shown as dots.
        final: row and column of the final model's point, which is framed.
        loss: whether values are losses, of which the lowest is best.
    """
    worst, best = float(np.nanmin(values_RC)), float(np.nanmax(values_RC))
    if loss:
        worst, best = best, worst
    choices = np.asarray(choices_RC)
    figure, axes = _matrix(len(rows[1]), len(columns[1]))
    for (row, column), value in np.ndenumerate(values_RC):
        if np.isnan(value):
            _write(axes, row, column, "stopped", strength=0.0)
            continue
        # Evaluated in this order, the best is exactly 1; rounding must not exceed it.
        strength = 0.08 + 0.92 * ((value - worst) / (best - worst)) if best != worst else 0.5
        _cell(axes, row, column, strength=strength)
        _write(axes, row - 0.08, column, f"{value:.3f}" if loss else f"{100 * value:.1f}", strength=strength, bold=True)
        dots = int(choices[row, column])
        axes.scatter(
            column + 0.13 * (np.arange(dots) - (dots - 1) / 2), np.full(dots, row + 0.26), s=9, color=over(strength)
        )
    if final is not None:
        frame = Rectangle((final[1] - 0.46, final[0] - 0.46), 0.92, 0.92, fill=False, edgecolor=INK, linewidth=1.8)
        axes.add_patch(frame)
    _label_cells(axes, rows[1], columns[1])
    axes.set(xlabel=columns[0], ylabel=rows[0])
    return figure


@rc_context(STYLE)
def curves(
    lines: Mapping[str, tuple[Sequence[int], Sequence[float]]],
    label: str,
    *,
    chosen: Mapping[str, int] | None = None,
) -> Figure:
    """One line per fold over epochs.

    Args:
        lines: epochs (from 1) and values, by fold.
        label: label of the vertical axis.
        chosen: selected epoch of each fold, marked by a dot.
    """
    figure = Figure(figsize=(WIDTH, 2.9))
    axes = figure.subplots()
    handles: list[Artist] = []
    for index, (name, (epochs, values)) in enumerate(lines.items()):
        color = SERIES[index % len(SERIES)]
        # A line of one point would not be seen.
        marker = "." if len(epochs) == 1 else ""
        style = {"linestyle": _LINES[index % len(_LINES)], "linewidth": 1.6, "marker": marker}
        handles += axes.plot(epochs, values, color=color, **style)
        if chosen is not None and name in chosen and chosen[name] in epochs:
            value = values[list(epochs).index(chosen[name])]
            axes.plot([chosen[name]], [value], marker="o", markersize=6, color=color, linestyle="none")
    axes.set(xlabel="epoch", ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.grid(axis="y")
    if len(lines) > 1:
        names = [_short(name) for name in lines]
        # By handles and names: as a label of a line, a name that begins with _ would be left out.
        columns = _legend_columns(names, most=5)
        figure.legend(handles, names, loc="outside upper center", ncols=columns, title="fold", columnspacing=1.2)
    return figure


@rc_context(STYLE)
def embedding(points_N2: NDArray[np.float32], emotions: Sequence[str], classes: Sequence[str]) -> Figure:
    """2D points, coloured by class."""
    figure = Figure(figsize=(WIDTH, 4.1))
    axes = figure.subplots()
    labels = np.asarray(emotions)
    handles: list[Artist] = []
    for index, name in enumerate(classes):
        chosen = points_N2[labels == name]
        cloud = axes.scatter(
            chosen[:, 0],
            chosen[:, 1],
            s=16,
            marker=_MARKERS[index % len(_MARKERS)],
            color=SERIES[index % len(SERIES)],
            alpha=0.75,
            linewidths=0,
        )
        handles.append(cloud)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color=LINE)
    axes.margins(0.04)
    names = [_short(name) for name in classes]
    columns = _legend_columns(names, most=4)
    apart = {"markerscale": 1.6, "handletextpad": 0.2, "columnspacing": 1.2}
    figure.legend(handles, names, loc="outside upper center", ncols=columns, **apart)
    return figure


@rc_context(STYLE)
def variant_bars(
    names: Sequence[str], scores: Mapping[str, Sequence[float]], deviations: Mapping[str, Sequence[float | None]]
) -> Figure:
    """Bars from 0 to 100 per cent, the first variant on top.

    Args:
        names: variant names.
        scores: metric ('UA') to a value per variant, from 0 to 1; at most two metrics.
        deviations: standard deviations over seeds, likewise; None with one seed: no error bar.
    """
    figure = Figure(figsize=(WIDTH, 0.75 + 0.52 * len(names)))
    axes = figure.subplots()
    thickness = 0.8 / len(scores)
    for index, (score, values) in enumerate(scores.items()):
        middles = np.arange(len(names)) + (index - (len(scores) - 1) / 2) * thickness
        percent = 100 * np.asarray(values)
        spread = [100 * (deviation or 0.0) for deviation in deviations[score]]
        axes.barh(
            middles,
            percent,
            height=0.86 * thickness,
            color=SERIES[0] if index == 0 else "none",
            edgecolor=SERIES[0],
            hatch=None if index == 0 else "////",
            linewidth=0.8,
            label=score,
        )
        if any(spread):
            axes.errorbar(percent, middles, xerr=spread, fmt="none", color=INK, elinewidth=1.1, capsize=2.2)
        for middle, value, beyond in zip(middles, percent, spread, strict=True):
            axes.text(value + beyond + 1.5, middle, f"{value:.1f}", va="center", fontsize=8.5)
    axes.set(xlim=(0, 118), xticks=[0, 25, 50, 75, 100], xlabel="per cent", ylim=(len(names) - 0.45, -0.55))
    axes.set_yticks(range(len(names)), [_in_two_lines(name) for name in names])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    figure.legend(loc="outside upper center", ncols=len(scores))
    return figure


@rc_context(STYLE)
def differences(names: Sequence[str], values: Sequence[float], intervals: Sequence[tuple[float, float]]) -> Figure:
    """Differences from the full model, in percentage points, each with its interval; the first on top."""
    figure = Figure(figsize=(WIDTH, 0.75 + 0.52 * (len(names) + 1)))
    axes = figure.subplots()
    rows = np.arange(len(names))
    middle, (low, high) = 100 * np.asarray(values), 100 * np.asarray(intervals).T
    axes.axvline(0, color=INK, linewidth=1.1, linestyle=(0, (4, 2)))
    axes.hlines(rows, low, high, color=SERIES[0], linewidth=2.2)
    axes.plot(middle, rows, marker="o", markersize=7, color=SERIES[0], linestyle="none")
    for row, value in zip(rows, middle, strict=True):
        axes.text(value, row - 0.2, signed(value), ha="center", va="bottom", fontsize=8.5)
    axes.set(xlabel="UA, variant minus full, points", ylim=(len(names) - 0.6, -0.75))
    axes.set_yticks(rows, [_in_two_lines(name) for name in names])
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.grid(axis="x")
    return figure


@rc_context(STYLE)
def reliability(bins: Sequence[Bin]) -> Figure:
    """Accuracy by confidence against the diagonal, and below it the share of utterances in each bin."""
    figure = Figure(figsize=(WIDTH, 4.3))
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3.4, 1))
    width = 100 * (bins[0].high - bins[0].low)
    held = [b for b in bins if b.n]
    middles = [50 * (b.low + b.high) for b in held]
    above.bar(middles, [100 * (b.accuracy or 0.0) for b in held], width=0.9 * width, color=SERIES[0], alpha=0.85)
    above.plot([0, 100], [0, 100], color=INK, linestyle=(0, (4, 2)), linewidth=1.1)
    above.plot(
        [100 * (b.confidence or 0.0) for b in held],
        [100 * (b.accuracy or 0.0) for b in held],
        color=SERIES[1],
        linestyle="none",
        marker="D",
        markersize=4.5,
    )
    above.set(ylabel="accuracy, %", ylim=(0, 102), xlim=(0, 100))
    total = sum(b.n for b in bins)
    below.bar(middles, [100 * b.n / total for b in held], width=0.9 * width, color=SERIES[6], alpha=0.85)
    below.set(xlabel="confidence in the predicted class, %", ylabel="share, %")
    below.yaxis.set_major_locator(MaxNLocator(nbins=3))
    for axes in (above, below):
        axes.grid(axis="y")
    figure.align_ylabels()
    return figure


def _matrix(n_rows: int, n_columns: int) -> tuple[Figure, Axes]:
    """An empty frame of cells, row 0 on top."""
    height = float(np.clip(0.9 + (WIDTH - 1.0) * n_rows / n_columns, 1.6, 6.0))
    figure = Figure(figsize=(WIDTH, height))
    axes = figure.subplots()
    axes.set(xlim=(-0.5, n_columns - 0.5), ylim=(n_rows - 0.5, -0.5))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return figure, axes


def _cell(axes: Axes, row: int, column: int, *, strength: float) -> None:
    axes.add_patch(
        Rectangle((column - 0.48, row - 0.48), 0.96, 0.96, facecolor=HEAT, alpha=max(strength, 0.04), linewidth=0)
    )


def _write(axes: Axes, row: float, column: float, text: str, *, strength: float, bold: bool = False) -> None:
    axes.text(
        column,
        row,
        text,
        ha="center",
        va="center",
        color=over(strength),
        fontsize=10 if bold else 8,
        fontweight="bold" if bold else "normal",
    )


def over(strength: float) -> str:
    """Text colour that is legible on a matrix cell in both themes."""
    return ON_HEAT if strength > 0.78 else ON_PALE


def _label_cells(axes: Axes, rows: Sequence[str], columns: Sequence[str]) -> None:
    axes.set_yticks(range(len(rows)), rows)
    room = 4.5 * 8 / len(columns)
    crowded = max(len(name) for name in columns) > room
    axes.set_xticks(
        range(len(columns)),
        columns,
        rotation=40 if crowded else 0,
        ha="right" if crowded else "center",
        rotation_mode="anchor" if crowded else "default",
    )
    if crowded:
        axes.tick_params(axis="x", pad=1)


def signed(points: float) -> str:
    """Format with one decimal and a real minus sign."""
    return f"{points:+.1f}".replace("-", "−")


def _legend_columns(names: Sequence[str], *, most: int) -> int:
    """How many entries of a legend fit side by side, at some 0.07 inches a letter and half an inch around each name."""
    fitting = int(WIDTH / (0.5 + 0.07 * max(map(len, names))))
    return max(1, min(len(names), most, fitting))


def _in_two_lines(name: str, width: int = 18) -> str:
    """A variant's name beside its bar: of 'cross-entropy on both views', the end says what it is."""
    return "\n".join(textwrap.wrap(name, width, max_lines=2, placeholder="…"))


def _short(name: str, most: int = 13) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
