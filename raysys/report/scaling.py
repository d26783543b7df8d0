"""Figure of how time and memory scale with corpus size and number of trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

from raysys.report.style import LINE, SERIES, STYLE, to_png


@rc_context(STYLE)
def scaling_picture(values: Mapping[str, Sequence[Mapping[str, float]]], *, corpus: str) -> bytes:
    """PNG: seconds above, peak memory below; corpus size on the left, number of trials on the right.

    Args:
        values: `corpus` and `trials`, each a list of {size, seconds, driver_gib, trial_gib}.
        corpus: name of the corpus.
    """
    figure = Figure(figsize=(8.4, 5.2))
    above, below = figure.subplots(2, 2)
    labels = {"corpus": f"utterances, in multiples of {corpus}", "trials": "number of trials"}
    for column, (name, label) in enumerate(labels.items()):
        sizes = [float(point["size"]) for point in values[name]]
        seconds = [float(point["seconds"]) for point in values[name]]
        _lines(above[column], sizes, {"measured": seconds})
        linear = [seconds[0] * size / sizes[0] for size in sizes]
        above[column].plot(sizes, linear, color=LINE, linestyle="--", linewidth=1.2, label="linear growth")
        above[column].set(yscale="log", ylabel="seconds")
        above[column].yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        above[column].yaxis.set_minor_locator(NullLocator())
        above[column].yaxis.set_major_formatter("{x:g}")
        memory = {
            "driver": [float(point["driver_gib"]) for point in values[name]],
            "largest training process": [float(point["trial_gib"]) for point in values[name]],
        }
        _lines(below[column], sizes, memory)
        most = max(max(line) for line in memory.values())
        below[column].set(xlabel=label, ylabel="peak memory, GiB", ylim=(0, 1.15 * most))
        for axes in (above[column], below[column]):
            axes.grid(axis="y")
            axes.legend(loc="best")
    return to_png(figure)


def _lines(axes: Axes, sizes: Sequence[float], lines: Mapping[str, Sequence[float]]) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(sizes)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
    for index, (label, values) in enumerate(lines.items()):
        axes.plot(sizes, values, color=SERIES[index], marker="os"[index], linewidth=1.6, label=label)
