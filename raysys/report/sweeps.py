"""The parts of a report that a grid search and an ablation add."""

from __future__ import annotations

from typing import Any

from raysys.report import figures
from raysys.report.markup import escaped, percent, signed_interval, table
from raysys.report.reading import Run
from raysys.report.sections import Draw


def grid(run: Run, draw: Draw) -> str:
    """Both protocols side by side, the points, the heat map, the final model."""
    if "grid" not in run.results:
        return ""
    found = run.results["grid"]
    pooled, best = run.results["pooled"], found["optimistic"]
    protocols = table(
        ["protocol", "WA", "UA", "point", "epoch"],
        [
            ["nested", percent(pooled["wa"]), percent(pooled["ua"]), "each fold's own", "each fold's own"],
            [
                "optimistic",
                percent(best["pooled_wa"]),
                percent(best["pooled_ua"]),
                best["point"],
                "best on the test fold",
            ],
        ],
        caption="The optimistic row chooses on the test folds, as the paper does: it is no estimate of anything.",
    )
    chosen: dict[str, list[str]] = {}
    for fold, point in found["nested"].items():
        chosen.setdefault(point, []).append(fold)
    points: list[list[object]] = [
        [
            point["name"],
            "stopped" if point["validation_ua"] is None else percent(point["validation_ua"]),
            ", ".join(chosen.get(point["name"], [])),
            percent(point["test_ua"]),
        ]
        for point in sorted(found["points"], key=lambda p: -(p["validation_ua"] or 0.0))
    ]
    listed = table(["point", "validation UA", "chosen by fold", "optimistic test UA"], points)
    final = found["final"]
    said = f"The final model is {final['point']}, {final['epochs']} epoch(s) on all data. It has no test score."
    costs = f"{found['n_trials']} trials"
    if found["seconds_beyond_training"] is not None:
        costs += f"; one costs {found['seconds_beyond_training']:.1f} s beyond its training"
    if found["n_stopped"]:
        costs += f"; {found['n_stopped']} were stopped early, which saved {found['epochs_saved']} epochs"
    heat = _heat_map(found, draw)
    return (
        f'{protocols}<p>{escaped(said)}</p><div class="figures">{heat}<div>{listed}</div></div><p>{escaped(costs)}.</p>'
    )


def _heat_map(found: dict[str, Any], draw: Draw) -> str:
    """Of a grid of two axes."""
    axes = list(found["axes"].items())
    scored = [point for point in found["points"] if point["validation_ua"] is not None]
    if len(axes) != 2 or not scored:
        return ""
    (row_axis, row_values), (column_axis, column_values) = axes
    by_values = {(p["values"][row_axis], p["values"][column_axis]): p["validation_ua"] for p in found["points"]}
    scores = [[by_values[row, column] for column in column_values] for row in row_values]
    drawing = figures.grid_figure(
        (row_axis.rsplit(".", 1)[-1], row_values), (column_axis.rsplit(".", 1)[-1], column_values), scores
    )
    return draw("grid", drawing, "UA on the validation speakers, percent, mean over the folds.", "Heat map of the grid")


def ablation(run: Run, draw: Draw) -> str:
    if "ablation" not in run.results:
        return ""
    found = run.results["ablation"]
    rows: list[list[object]] = []
    for variant in found["variants"]:
        difference = variant["difference"]
        rows.append(
            [
                variant["name"],
                percent(variant["wa_mean"]),
                percent(variant["ua_mean"]),
                percent(variant["ua_std"]),
                "" if difference is None else f"{100 * difference['ua']:+.1f}",
                "" if difference is None else signed_interval(difference["ua_ci95"]),
                f"{variant['parameters']:,}",
            ]
        )
    seeds = ", ".join(map(str, found["seeds"]))
    caption = (
        f"Pooled test scores, mean and deviation over seeds {seeds}; differences in UA with 95 % intervals, paired "
        f"over speakers."
    )
    header = ["variant", "WA", "UA", "std", "against full", "interval", "parameters"]
    drawing = figures.ablation_figure(found["variants"])
    drawn = draw(
        "ablation",
        drawing,
        "Mean over seeds; lines: deviation over seeds; dots: seeds (the paper's figure 7).",
        "Pooled UA of the variants",
    )
    return drawn + table(header, rows, caption=caption)
