"""Figures of matrices, a number in each cell: confusion matrix and heat map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray

from raysys.report.figures import WIDTH, short
from raysys.report.style import HEAT, INK, ON_HEAT, ON_PALE, STYLE

MOST_WITH_SHARES = 6
"""Number of classes; with more, the cells of a confusion matrix only have room for counts."""


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
    _label_cells(axes, [short(name) for name in classes], [short(name) for name in classes])
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
