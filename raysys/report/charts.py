"""Which figures a run gets, and their captions; one that cannot be drawn is left out with a note."""

from __future__ import annotations

import dataclasses
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import Any

import numpy as np
from matplotlib import rc_context

from raysys.report import figures, fonts, matrices
from raysys.report.drawn import Chart, Drawn, rendered
from raysys.report.reading import Features, Run
from raysys.report.reference import REFERENCES
from raysys.report.scores import FEWEST, MOST, can_embed, embed, reliability_bins
from raysys.results import RunResult
from raysys.selection import TITLES

LOSSES = {
    "total": "total loss",
    "ce": "cross-entropy",
    "scl": "supervised contrastive",
    "acl": "augmentation contrastive",
    "cpc": "predictive coding (CPC)",
}
CONFUSION, GRID = "the confusion matrix", "the heat map of the grid"
ABLATION, TSNE = "the charts of the ablation", "t-SNE"
_UNITS = {"loss": "Nats"}
"""Of validation scores that are not in per cent."""
_TSNE = {
    "without": ("Without the contrastive terms", "Compare figure 5 of the paper (cross-entropy only). "),
    "with": ("With the contrastive terms", "Compare figure 6 of the paper. "),
}


def draw(run: Run, wanted: Collection[str] | None = None, prefix: str = "") -> tuple[dict[str, Drawn], list[str]]:
    """The figures of a run, by name; figures with missing data are left out.

    Args:
        wanted: which, by what `_makers` calls them; None: all.
        prefix: of all names, where a page has the figures of several runs.

    Returns: the figures, and notes on those that cannot be drawn as they should.
    """
    drawn: dict[str, Drawn] = {}
    families, missing = fonts.covering("".join(_names(run.results)))
    notes = [_missing_fonts(missing)] if missing else []
    with rc_context({"font.family": families}), warnings.catch_warnings():
        # Of a character that no font has; the note says so.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        for what, make in _makers().items():
            if wanted is not None and what not in wanted:
                continue
            try:
                charts = [dataclasses.replace(chart, name=prefix + chart.name) for chart in make(run)]
                drawn |= {chart.name: rendered(chart, missing) for chart in charts}
            # Whatever numbers a run ends with, its other charts and its scores are worth a page.
            except Exception as error:
                first = next(iter(str(error).splitlines()), "")
                notes.append(f"the report lacks {what}, which cannot be drawn ({type(error).__name__}: {first})")
    notes += [
        f"the report lacks t-SNE {title.lower()}: its features are not finite, or fewer than {FEWEST} differ"
        for name, (title, _) in _TSNE.items()
        if wanted is None or TSNE in wanted
        if (found := run.features.get(name)) is not None and not can_embed(found.values_NF)
    ]
    return drawn, notes


def _makers() -> dict[str, Callable[[Run], list[Chart]]]:
    return {
        CONFUSION: confusion,
        GRID: grid,
        ABLATION: ablation,
        "the learning curves": learning_curves,
        TSNE: features,
        "the reliability diagram": reliability,
    }


def _names(results: RunResult) -> Iterable[str]:
    """What a figure shows of the user's own words."""
    yield from results.classes
    yield from (fold.name for fold in results.folds)
    if results.grid is not None:
        yield from (text for axis, values in results.grid.axes.items() for text in (axis, *values))
    if results.ablation is not None:
        yield from (variant.name for variant in results.ablation.variants)


def _missing_fonts(missing: frozenset[str]) -> str:
    shown = " ".join(sorted(missing)[:10]) + (" ..." if len(missing) > 10 else "")
    return (
        f"no font on this machine has {shown}: figures/*.png show such characters by their codes. Install a font that "
        f"has them, such as Noto Sans CJK, and write the report again with jobs/report.py"
    )


def confusion(run: Run) -> list[Chart]:
    number = {"iemocap": "Compare figure 3 of the paper. ", "ravdess": "Compare figure 4 of the paper. "}
    shares = "colour and per cent" if len(run.results.classes) <= matrices.MOST_WITH_SHARES else "colour"
    return [
        Chart(
            name="confusion",
            title="Confusion matrix",
            caption=f"{number.get(run.manifest.corpus, '')}All test utterances; rows are true classes, columns "
            f"predicted classes. Numbers are counts; {shares} show the share of the row.",
            figure=matrices.confusion_matrix(run.results.confusion, run.results.classes),
        )
    ]


def grid(run: Run) -> list[Chart]:
    """Heat map of a grid with two axes."""
    found = run.results.grid
    if found is None or len(found.axes) != 2 or all(p.score is None for p in found.points):
        return []
    (row_axis, rows), (column_axis, columns) = found.axes.items()
    values = np.full((len(rows), len(columns)), np.nan)
    choices = np.zeros((len(rows), len(columns)), dtype=int)
    chosen = Counter(found.nested.values())
    place = {}
    for point in found.points:
        cell = rows.index(point.values[row_axis]), columns.index(point.values[column_axis])
        place[point.name] = cell
        values[cell] = np.nan if point.score is None else point.score
        choices[cell] = chosen[point.name]
    final = found.final
    by = run.results.select
    names = row_axis.rsplit(".", 1)[-1], column_axis.rsplit(".", 1)[-1]
    return [
        Chart(
            name="grid",
            title=f"Validation {TITLES[by]} over the grid",
            caption=f"{_UNITS.get(by, 'Per cent')}, mean over the folds' validation parts; colours run from the worst "
            "to the best. One dot per fold that chose the point"
            + ("." if final is None else "; framed: the final model's point."),
            figure=matrices.heat_map(
                values,
                (names[0], rows),
                (names[1], columns),
                choices_RC=choices,
                final=None if final is None else place[final.point],
                loss=by == "loss",
            ),
        )
    ]


def ablation(run: Run) -> list[Chart]:
    """The paper's figure 7."""
    found = run.results.ablation
    if found is None:
        return []
    variants, n_seeds = found.variants, len(found.seeds)
    said = f"the mean over {n_seeds} seeds, lines the standard deviation" if n_seeds > 1 else "one seed"
    apart = {v.name: v.difference for v in variants if v.difference is not None}
    return [
        Chart(
            name="ablation",
            title="Scores of the variants",
            caption=_as_in_the_paper(run, "Compare figure 7 of the paper. ")
            + f"Pooled over all test utterances; bars are {said}.",
            figure=figures.variant_bars(
                [v.name for v in variants],
                {score.upper(): [getattr(v, f"{score}_mean") for v in variants] for score in ("ua", "wa")},
                {score.upper(): [getattr(v, f"{score}_std") for v in variants] for score in ("ua", "wa")},
            ),
        ),
        Chart(
            name="ablation-difference",
            title="Contribution of each part",
            caption="Difference in UA from the full model, mean over seeds, with the 95 % interval over "
            "speakers, paired. Left of the dashed line, the variant is worse.",
            figure=figures.differences(
                list(apart),
                [difference.ua for difference in apart.values()],
                [difference.ua_ci95 for difference in apart.values()],
            ),
        ),
    ]


def learning_curves(run: Run) -> list[Chart]:
    """Validation score by epoch, and each active term of the loss."""
    charts = []
    kept = {fold.name: fold.epoch for fold in run.results.folds}
    by = run.results.select
    validation = _lines(run, lambda epoch: epoch.get(f"validation_{by}"), times=1 if by == "loss" else 100)
    if validation:
        charts.append(
            Chart(
                name="validation",
                title=f"Validation {TITLES[by]}",
                caption=f"{_UNITS.get(by, 'Per cent')}, after each epoch. Dots mark the selected epochs.",
                figure=figures.curves(validation, "loss" if by == "loss" else f"{TITLES[by]}, %", chosen=kept),
            )
        )
    for part, title in LOSSES.items():
        lines = _lines(run, lambda epoch, part=part: epoch["losses"].get(part))
        if any(any(values) for _, values in lines.values()):
            charts.append(
                Chart(
                    name=f"loss-{part}",
                    title=f"Training: {title}",
                    caption="Mean over the steps of each epoch"
                    + (", all terms weighted." if part == "total" else ", unweighted."),
                    figure=figures.curves(lines, "loss"),
                )
            )
    return charts


def features(run: Run) -> list[Chart]:
    """t-SNE of the final features, without and with the contrastive terms."""
    fold = run.results.folds[0]
    return [
        Chart(
            name=f"tsne-{name}",
            title=title,
            caption=_as_in_the_paper(run, caption)
            + f"t-SNE of the head's input features: the {len(found.emotions)} test utterances of fold 1 "
            f"({fold.name}){_shown_of(found)}. Nearby points are similar; large distances and cluster sizes mean "
            f"nothing.",
            figure=figures.embedding(
                embed(found.values_NF[:: _step(found)]), found.emotions[:: _step(found)], run.results.classes
            ),
        )
        for name, (title, caption) in _TSNE.items()
        if (found := run.features.get(name)) is not None and can_embed(found.values_NF)
    ]


def _step(found: Features) -> int:
    """Every how many utterances one is shown: t-SNE takes minutes for tens of thousands."""
    return -(-len(found.emotions) // MOST)


def _shown_of(found: Features) -> str:
    return "" if _step(found) == 1 else f", of which {len(found.emotions[:: _step(found)])} are shown"


def reliability(run: Run) -> list[Chart]:
    error = 100 * run.results.pooled.calibration_error
    return [
        Chart(
            name="reliability",
            title="Reliability",
            caption=f"Bars: accuracy by confidence in 15 bins; below, the share of utterances in each bin. "
            f"Diamonds: mean confidence of the bin; perfect calibration lies on the dashed line. "
            f"Calibration error: {error:.1f} per cent.",
            figure=figures.reliability(reliability_bins(run.predictions, run.results.classes)),
        )
    ]


def _as_in_the_paper(run: Run, said: str) -> str:
    """The paper's figures cover two corpora; for others there is nothing to compare."""
    return said if run.manifest.corpus in REFERENCES else ""


def _lines(run: Run, value: Any, *, times: float = 1.0) -> dict[str, tuple[list[int], list[float]]]:
    """Epochs (from 1) and values by fold; epochs without the value, and folds without any, are left out."""
    lines = {}
    names = {fold.fold: fold.name for fold in run.results.folds}
    for fold, history in run.histories.items():
        found = [(epoch["epoch"] + 1, times * v) for epoch in history if (v := value(epoch)) is not None]
        if found:
            lines[names.get(fold, str(fold))] = ([epoch for epoch, _ in found], [v for _, v in found])
    return lines
