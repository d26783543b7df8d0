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
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from raysys.report.scores import Bin
from raysys.report.style import INK, LINE, SERIES, STYLE

WIDTH = 4.2
"""Inches: at CSS's 96 pixels per inch, about the width of a phone."""

_MARKERS = ("o", "^", "s", "D", "v", "P", "X", "*")
_LINES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (3, 1)))


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
        names = [short(name) for name in lines]
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
    names = [short(name) for name in classes]
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


def short(name: str, most: int = 13) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
