"""The figures of a report: numbers to matplotlib Figures, and a Figure to SVG that follows the page's theme, or PNG.

Colours are Okabe and Ito's, which colour-blind readers tell apart; markers and line styles say the same again.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from threadpoolctl import threadpool_limits

INK = "#111213"
LINE = "#d0d1d2"
"""Two colours that nothing else has: in SVG they become the page's own."""
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#7f7f7f", "#a6761d")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (7, 2)))
_WIDTH_IN, _HEIGHT_IN = 4.6, 3.5
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "raysys",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": LINE,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "xtick.major.pad": 6,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.constrained_layout.use": True,
}


def to_svg(figure: Figure, prefix: str) -> str:
    """The <svg> element alone, transparent, in the page's colours; ids begin with `prefix`."""
    with mpl.rc_context(_STYLE):
        sink = io.StringIO()
        FigureCanvasSVG(figure).print_svg(sink, metadata={"Date": None, "Creator": None})
    text = sink.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for attribute in ('id="', 'href="#', "url(#"):
        text = text.replace(attribute, f"{attribute}{prefix}-")
    # The page's width decides; height follows.
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r'\1 role="img"', text, count=1)
    text = text.replace("'DejaVu Sans'", "system-ui, sans-serif").replace('"DejaVu Sans"', "system-ui, sans-serif")
    return text.replace(INK, "currentColor").replace(LINE, "var(--line)")


def to_png(figure: Figure) -> bytes:
    """On white, 200 dots an inch."""
    with mpl.rc_context(_STYLE):
        sink = io.BytesIO()
        figure.patch.set(facecolor="white", alpha=1.0)
        FigureCanvasAgg(figure).print_figure(sink, format="png", dpi=200, metadata={"Software": None})
    return sink.getvalue()


def _axes(width_in: float = _WIDTH_IN, height_in: float = _HEIGHT_IN) -> tuple[Figure, Axes]:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width_in, height_in))
        axes = figure.add_subplot()
    figure.patch.set_alpha(0.0)
    axes.patch.set_alpha(0.0)
    return figure, axes


def confusion_figure(confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> Figure:
    """Rows are true classes: share of the row by colour and in percent, with counts where there is room."""
    counts_CC = np.asarray(confusion)
    shares_CC = counts_CC / np.maximum(counts_CC.sum(axis=1, keepdims=True), 1)
    crowded = len(classes) > 5
    with mpl.rc_context(_STYLE | {"axes.grid": False}):
        figure, axes = _axes(height_in=4.2)
        axes.grid(False)
        axes.imshow(shares_CC, cmap="cividis", vmin=0, vmax=1, aspect="auto")
        for (row, column), share in np.ndenumerate(shares_CC):
            said = f"{100 * share:.0f}" if crowded else f"{100 * share:.0f} %\n({counts_CC[row, column]})"
            colour = "#000000" if share > 0.55 else "#ffffff"
            axes.text(column, row, said, ha="center", va="center", color=colour, fontsize=8 if crowded else 10)
        _name_ticks(axes, classes, classes, turned=crowded)
        axes.set(xlabel="predicted", ylabel="true")
    return figure


def losses_figure(histories: Mapping[int, Sequence[Mapping[str, Any]]]) -> Figure:
    """Loss terms by epoch, the mean over the folds that came so far."""
    with mpl.rc_context(_STYLE):
        figure, axes = _axes()
        epochs = max(len(history) for history in histories.values())
        names = [name for name in ("total", "ce", "scl", "acl", "cpc") if _mean_loss(histories, 0, name) is not None]
        for i, name in enumerate(names):
            means = [_mean_loss(histories, epoch, name) for epoch in range(epochs)]
            if any(means):
                axes.plot(range(1, epochs + 1), means, color=COLOURS[i], linestyle=DASHES[i], label=name)  # type: ignore[arg-type]
        axes.set(xlabel="epoch", ylabel="loss, unweighted terms", ylim=(0, None))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(loc="outside upper center", ncols=5, handlelength=1.8, columnspacing=1.0)
    return figure


def _mean_loss(histories: Mapping[int, Sequence[Mapping[str, Any]]], epoch: int, name: str) -> float | None:
    found = [history[epoch]["losses"].get(name) for history in histories.values() if len(history) > epoch]
    values = [value for value in found if value is not None]
    return float(np.mean(values)) if values else None


def validation_figure(histories: Mapping[int, Sequence[Mapping[str, Any]]], chosen: Mapping[int, int]) -> Figure:
    """Validation UA by epoch, a line a fold; the epoch that was chosen (from 1) is marked."""
    with mpl.rc_context(_STYLE):
        figure, axes = _axes()
        for i, (fold, history) in enumerate(sorted(histories.items())):
            scores = [100 * record["validation_ua"] for record in history]
            look: dict[str, Any] = {"color": COLOURS[i % 8], "linestyle": DASHES[i % 8]}
            axes.plot(range(1, len(scores) + 1), scores, **look, label=f"fold {fold}")
            epoch = chosen[fold]
            axes.plot([epoch], [scores[epoch - 1]], color=COLOURS[i % 8], marker=MARKERS[i % 8], markersize=8)
        axes.set(xlabel="epoch", ylabel="validation UA, percent")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(loc="outside upper center", ncols=3, handlelength=1.8, columnspacing=1.0)
    return figure


def grid_figure(
    rows: tuple[str, Sequence[str]], columns: tuple[str, Sequence[str]], scores: Sequence[Sequence[float | None]]
) -> Figure:
    """A heat map of two axes: validation UA as shares; None is a point that was stopped."""
    values = np.array([[np.nan if score is None else 100 * score for score in row] for row in scores])
    with mpl.rc_context(_STYLE | {"axes.grid": False}):
        figure, axes = _axes(height_in=4.0)
        axes.grid(False)
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        axes.imshow(values, cmap="cividis", vmin=low, vmax=high, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            bright = not np.isnan(value) and value > low + 0.55 * (high - low)
            colour = INK if np.isnan(value) else ("#000000" if bright else "#ffffff")
            said = "–" if np.isnan(value) else f"{value:.1f}"
            axes.text(column, row, said, ha="center", va="center", color=colour)
        _name_ticks(axes, rows[1], columns[1], turned=False)
        axes.set(xlabel=columns[0], ylabel=rows[0])
    return figure


def _name_ticks(axes: Axes, rows: Sequence[str], columns: Sequence[str], *, turned: bool) -> None:
    axes.set_xticks(
        range(len(columns)), list(columns), rotation=45 if turned else 0, ha="right" if turned else "center"
    )
    axes.set_yticks(range(len(rows)), list(rows))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def tsne_figure(features_NF: np.ndarray, labels: Sequence[int], classes: Sequence[str]) -> Figure:
    """Two dimensions of the head's input by t-SNE, colour and marker by class."""
    from sklearn.manifold import TSNE  # slow to import, and only this figure needs it

    perplexity = min(30.0, max(2.0, (len(features_NF) - 1) / 4))
    # One thread: so little work is not worth more, and on a busy machine they wait for each other.
    with threadpool_limits(1):
        places_N2 = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(features_NF)
    label_N = np.asarray(labels)
    with mpl.rc_context(_STYLE):
        figure, axes = _axes()
        for i, name in enumerate(classes):
            own_N2 = places_N2[label_N == i]
            axes.scatter(
                own_N2[:, 0], own_N2[:, 1], s=22, color=COLOURS[i % 8], marker=MARKERS[i % 8], label=name, linewidths=0
            )
        axes.set(xticks=[], yticks=[])
        figure.legend(loc="outside upper center", ncols=4, handletextpad=0.2, columnspacing=1.0)
    return figure


def ablation_figure(variants: Sequence[Mapping[str, Any]]) -> Figure:
    """Mean pooled UA of each variant; the bar is its deviation over seeds, dots are seeds."""
    with mpl.rc_context(_STYLE):
        figure, axes = _axes(height_in=0.42 * len(variants) + 1.0)
        axes.grid(False, axis="y")
        for place, variant in enumerate(variants):
            colour = COLOURS[0] if place == 0 else COLOURS[1]
            bar: dict[str, Any] = {"color": colour, "ecolor": INK, "hatch": "" if place == 0 else "//"}
            spread = 100 * variant["ua_std"] if variant["ua_std"] is not None else None
            axes.barh(place, 100 * variant["ua_mean"], 0.6, xerr=spread, edgecolor="#ffffff", capsize=3, **bar)
            axes.plot([100 * value for value in variant["ua"]], [place] * len(variant["ua"]), ".", color=INK)
        axes.set_yticks(range(len(variants)), [variant["name"] for variant in variants])
        axes.invert_yaxis()
        axes.set(xlabel="pooled UA, percent", xlim=(0, 100))
        axes.tick_params(axis="y", length=0)
    return figure


def reliability_figure(probability_NC: np.ndarray, label_N: np.ndarray, bins: int = 15) -> Figure:
    """Accuracy by confidence in bins of equal width; on the diagonal, confidence is what it says."""
    top_N = probability_NC.max(axis=1)
    hit_N = probability_NC.argmax(axis=1) == label_N
    bin_N = np.searchsorted(np.arange(1, bins) / bins, top_N, side="left")
    with mpl.rc_context(_STYLE):
        figure, axes = _axes()
        axes.plot([0, 1], [0, 1], color=INK, linestyle=":", linewidth=1)
        for b in range(bins):
            inside = bin_N == b
            if inside.any():
                share = float(inside.mean())
                axes.bar(
                    (b + 0.5) / bins,
                    hit_N[inside].mean(),
                    width=0.9 / bins,
                    color=COLOURS[0],
                    alpha=0.35 + 0.65 * share,
                )
                axes.plot(top_N[inside].mean(), hit_N[inside].mean(), "o", color=COLOURS[4], markersize=4)
        axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02))
    return figure
