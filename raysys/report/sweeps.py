"""Report sections for grid searches and ablations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from raysys.report.charts import Chart
from raysys.report.figures import signed
from raysys.report.markup import Html, Section, below, chart, clock, join, paragraph, percent, side_by_side, table, text
from raysys.report.reading import Run
from raysys.results import AblationResult, Difference, GridResult, OptimisticFold, RunResult, VariantScores

Charts = Mapping[str, Chart]


def grid(run: Run, charts: Charts) -> Section:
    """Points, choices, both protocols and the final model."""
    found = run.results.grid
    assert found is not None
    points = _points(found)
    body = [
        side_by_side([chart(charts["grid"]), points]) if "grid" in charts else points,
        Html("<h3>Nested and optimistic</h3>"),
        paragraph(
            f"The optimistic protocol chooses one point for all folds (here {found.optimistic.point}), and each "
            f"fold's epoch, by the scores on the test folds, as the paper does. It does not estimate performance on "
            f"new speakers and is shown only for comparison with numbers obtained the same way."
        ),
        _protocols(run.results, found),
        Html("<h3>Final model</h3>"),
        paragraph(_final(found)),
        *_costs(found),
    ]
    return Section(anchor="grid-search", title="Grid search", body=join(body))


def _points(found: GridResult) -> Html:
    chosen_by = defaultdict(list)
    for fold, point in found.nested.items():
        chosen_by[point].append(fold)
    axes = list(found.axes)
    rows = [
        [
            *(point.values[axis] for axis in axes),
            "stopped" if point.validation_ua is None else percent(point.validation_ua),
            ", ".join(chosen_by[point.name]) or None,
            percent(point.test_ua),
        ]
        for point in found.points
    ]
    optimistic = Html('test UA, <span class="caution">optimistic</span>')
    names = [axis.rsplit(".", 1)[-1] for axis in axes]
    return table("Points of the grid", [*names, "validation UA", "chosen by fold", optimistic], rows)


def _protocols(results: RunResult, grid: GridResult) -> Html:
    """Nested and optimistic scores side by side, by fold and pooled."""
    best = grid.optimistic
    tested = {fold.fold: fold for fold in best.folds}
    rows = [
        [
            below(f"{fold.fold}\u00a0{fold.name}", grid.nested.get(str(fold.fold))),
            fold.epoch,
            percent(fold.wa),
            percent(fold.ua),
            *_tested(tested.get(fold.fold)),
        ]
        for fold in results.folds
    ]
    blank, pooled = Html(""), results.pooled
    scores = percent(pooled.wa), percent(pooled.ua)
    rows.append(["pooled", blank, *scores, blank, percent(best.pooled_wa), percent(best.pooled_ua)])
    groups = {Html("nested"): 3, Html('<span class="caution">optimistic</span>'): 3}
    headings = [below("fold", "point of the nested choice"), *("epoch", "WA", "UA") * 2]
    return table("Nested and optimistic scores", headings, rows, groups=groups, summary=1)


def _tested(fold: OptimisticFold | None) -> list[object]:
    return [None] * 3 if fold is None else [fold.epoch, percent(fold.wa), percent(fold.ua)]


def _final(found: GridResult) -> str:
    final = found.final
    if final is None:
        return "No final model was trained."
    epochs = f"{final.epochs} epoch{'' if final.epochs == 1 else 's'}"
    return (
        f"{final.point}, {epochs}, trained on all data, in the folder {final.folder}. The point "
        f"has the best mean over the folds' validation parts. The final model has no test score: it was trained on "
        f"all utterances."
    )


def ablation(run: Run, charts: Charts) -> Section:
    """Variants against the full model."""
    found = run.results.ablation
    assert found is not None
    seeds = ", ".join(map(str, found.seeds))
    against = [below(f"{score} against full", "95 % interval") for score in ("WA", "UA")]
    headings = ["variant", "WA", "UA", *against, "parameters"]
    body = [
        side_by_side([chart(charts["ablation"]), chart(charts["ablation-difference"])]),
        paragraph(
            f"Pooled over all test utterances, mean and standard deviation over seeds {seeds}. If an interval includes "
            f"0, there may be no difference; among many variants, some intervals will exclude 0 by chance."
        ),
        table("Variants against the full model", headings, [_variant(v) for v in found.variants]),
        *_costs(found),
    ]
    return Section(anchor="ablations", title="Ablations", body=join(body))


def _variant(variant: VariantScores) -> list[object]:
    flags = " ".join(variant.flags)
    code = Html(f"<code>{text(flags)}</code>") if flags else None
    cells: list[object] = [below(variant.name, code)]
    for score in ("wa", "ua"):
        deviation = getattr(variant, f"{score}_std")
        cells.append(
            below(percent(getattr(variant, f"{score}_mean")), None if deviation is None else f"± {percent(deviation)}")
        )
    for score in ("wa", "ua"):
        cells.append(None if variant.difference is None else _difference(variant.difference, score))
    return [*cells, f"{variant.parameters:,}"]


def _difference(difference: Difference, score: str) -> Html:
    low, high = (signed(100 * end) for end in getattr(difference, f"{score}_ci95"))
    return below(signed(100 * getattr(difference, score)), f"{low} to {high}")


def _costs(found: GridResult | AblationResult) -> list[Html]:
    """Costs of the sweep beyond training."""
    said = []
    if found.seconds_beyond_training is not None:
        seconds = found.seconds_beyond_training
        shown = f"{seconds:.2f} s" if seconds < 60 else clock(seconds)
        said.append(f"{found.n_trials} trials; one takes {shown} beyond its training (median).")
    if isinstance(found, GridResult) and found.epochs_saved:
        said.append(f"Early stopping saved {found.epochs_saved} epochs.")
    if isinstance(found, GridResult) and found.n_failed:
        said.append(f"{found.n_failed} trials failed and were excluded from selection; the notes say why.")
    return [paragraph(" ".join(said))] if said else []
