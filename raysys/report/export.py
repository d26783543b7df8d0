"""Export a run's scores for other programs and for papers: CSV, Markdown, LaTeX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from raysys.config import Select
from raysys.report.plain_csv import csv_of
from raysys.results import (
    AblationResult,
    ClassScores,
    GridResult,
    Interval,
    MeanOverSeeds,
    PartScores,
    PooledScores,
    RunResult,
    SeedsResult,
    VariantScores,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperTable:
    """A table for a paper; scores in per cent."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def percent(value: float | None) -> str | None:
    """0.752 as 75.2."""
    return None if value is None else f"{100 * value:.1f}"


def files(results: RunResult, predictions: pa.Table) -> dict[str, str]:
    """Everything that is exported beside the report, by file name."""
    tables = paper_tables(results)
    found = {
        "results.csv": results_csv(results),
        "classes.csv": classes_csv(results.by_class),
        "speakers.csv": parts_csv(results.by_speaker),
        "predictions.csv": predictions_csv(predictions),
        "table.md": markdown(tables),
        "table.tex": latex(tables),
    }
    if parts := (*results.by_dialog, *results.by_sex):
        found["parts.csv"] = parts_csv(parts)
    if results.grid is not None:
        found["grid.csv"] = grid_csv(results.grid, results.select)
    if results.ablation is not None:
        found["ablation.csv"] = ablation_csv(results.ablation)
    if results.seeds is not None:
        found["seeds.csv"] = seeds_csv(results.seeds)
    return found


def results_csv(results: RunResult) -> str:
    """One row per fold, per test part of several, and for the pooled scores, with their intervals; scores from 0 to 1,
    divergences in nats. Each row says which published partition it is of, if any.
    """
    names = ("fold", "name", "n_train", "n_validation", "n", "epoch", "point", "wa", "ua")
    pooled, votes = results.pooled, results.votes
    apart = {} if votes is None else {"votes_n": votes.n, "votes_kl": votes.kl, "votes_js": votes.js}
    rows = [[getattr(fold, name) for name in names] + [""] * (4 + len(apart)) for fold in results.folds]
    scored: list[tuple[str, PartScores | PooledScores]] = [(part.name, part) for part in results.by_test]
    for name, of in (*scored, ("pooled", pooled)):
        ends = (*_ends(of.wa_ci95), *_ends(of.ua_ci95))
        own = apart.values() if of is pooled else [""] * len(apart)
        rows.append(["", name, "", "", of.n, "", "", of.wa, of.ua, *ends, *own])
    headings = [*names, "wa_low", "wa_high", "ua_low", "ua_high", *apart]
    if results.partition is not None:
        headings, rows = [*headings, "protocol"], [[*row, results.protocol] for row in rows]
    return csv_of(headings, rows)


def classes_csv(scores: Sequence[ClassScores]) -> str:
    """One row per class; scores from 0 to 1, empty where undefined."""
    names = ("name", "n", "speakers", "precision", "recall", "f1")
    rows = [[*(getattr(score, name) for name in names), *_ends(score.recall_ci95)] for score in scores]
    return csv_of(["class", *names[1:], "recall_low", "recall_high"], rows)


def parts_csv(scores: Sequence[PartScores]) -> str:
    """One row per part of the test utterances; scores from 0 to 1, empty where undefined."""
    names = ("name", "n", "speakers", "wa", "ua")
    rows = [
        [*(getattr(score, name) for name in names), *_ends(score.wa_ci95), *_ends(score.ua_ci95)] for score in scores
    ]
    return csv_of([*names, "wa_low", "wa_high", "ua_low", "ua_high"], rows)


def gradients_csv(histories: Mapping[int, Sequence[Mapping[str, Any]]]) -> str | None:
    """One row per fold and epoch (from 1): gradient norms of the unweighted terms on the shared parameters.

    None if no epoch has any.
    """
    measured = [(fold, epoch["epoch"] + 1, epoch.get("gradients")) for fold in histories for epoch in histories[fold]]
    terms = list(dict.fromkeys(term for *_, norms in measured for term in norms or ()))
    rows = [[fold, epoch, *(norms.get(term) for term in terms)] for fold, epoch, norms in measured if norms]
    return csv_of(["fold", "epoch", *terms], rows) if rows else None


def predictions_csv(predictions: pa.Table) -> str:
    """The table of predictions; a probability with as many digits as single precision needs."""
    columns = [
        [str(value) for value in column.to_numpy()] if pa.types.is_floating(column.type) else column.to_pylist()
        for column in predictions.columns
    ]
    return csv_of(predictions.column_names, list(zip(*columns, strict=True)))


def _ends(interval: Interval | None) -> tuple[float | None, float | None]:
    return (None, None) if interval is None else interval


def grid_csv(grid: GridResult, select: Select = "ua") -> str:
    """One row per point; test scores are from the best epoch on the test folds, so optimistic.

    Args:
        select: by which validation score points were chosen; if not by UA, it has a column too.
    """
    other = [] if select == "ua" else [f"validation_{select}"]
    rows = []
    for point in grid.points:
        chosen = [fold for fold, name in grid.nested.items() if name == point.name]
        values = [point.values[axis] for axis in grid.axes]
        scores = [point.validation_ua, *(point.score for _ in other), point.test_ua, point.test_wa]
        rows.append([*values, *scores, point.stopped, " ".join(chosen)])
    headings = ["validation_ua", *other, "optimistic_test_ua", "optimistic_test_wa", "stopped", "chosen_by_folds"]
    return csv_of([*grid.axes, *headings], rows)


def ablation_csv(ablation: AblationResult) -> str:
    """One row per variant and seed, with the variant's difference from the full model over all seeds."""
    rows = []
    for variant in ablation.variants:
        apart: list[object] = [""] * 6
        if (difference := variant.difference) is not None:
            apart = [difference.wa, *difference.wa_ci95, difference.ua, *difference.ua_ci95]
        for seed, wa, ua in zip(ablation.seeds, variant.wa, variant.ua, strict=True):
            rows.append([variant.name, " ".join(variant.flags), variant.parameters, seed, wa, ua, *apart])
    differences = [f"{score}_difference{end}" for score in ("wa", "ua") for end in ("", "_low", "_high")]
    # Flags are the user's own input, to be pasted into a command line.
    return csv_of(["variant", "flags", "parameters", "seed", "wa", "ua", *differences], rows, as_typed=("flags",))


def seeds_csv(seeds: SeedsResult) -> str:
    """One row per seed, one for their mean with its deviation, and one for the ensemble; scores from 0 to 1."""
    mean, ensemble = seeds.mean, seeds.ensemble
    rows: list[list[object]] = [[scores.seed, scores.wa, scores.ua, *[""] * 6] for scores in seeds.each]
    rows.append(["mean", mean.wa, mean.ua, mean.wa_std, mean.ua_std, *mean.wa_ci95, *mean.ua_ci95])
    rows.append(["ensemble", ensemble.wa, ensemble.ua, "", "", *ensemble.wa_ci95, *ensemble.ua_ci95])
    headings = ["seed", "wa", "ua", "wa_std", "ua_std", "wa_low", "wa_high", "ua_low", "ua_high"]
    return csv_of(headings, rows)


def paper_tables(results: RunResult) -> list[PaperTable]:
    """The scores with their protocol, and those over several seeds and the ablations if any."""
    pooled, corpus = results.pooled, results.corpus.title
    about = (corpus, results.modalities)
    scores = (_with_interval(pooled, "wa"), _with_interval(pooled, "ua"))
    seed = "" if results.seeds is None else f", seed {results.seed}"
    protocol = results.protocol + results.selected
    rows: list[tuple[str, ...]] = [(*about, protocol + seed, str(pooled.n), *scores)]
    for part in results.by_test:
        scores = (_with_interval(part, "wa"), _with_interval(part, "ua"))
        rows.append((*about, f"{protocol}{seed}, {part.name} alone", str(part.n), *scores))
    if (seeds := results.seeds) is not None:
        of = f"of {len(seeds.each)} seeds"
        scores = (_with_interval(seeds.mean, "wa"), _with_interval(seeds.mean, "ua"))
        rows.append((*about, f"{protocol}, mean ± deviation {of}", str(pooled.n), *scores))
        scores = (_with_interval(seeds.ensemble, "wa"), _with_interval(seeds.ensemble, "ua"))
        rows.append((*about, f"{protocol}, ensemble {of}", str(pooled.n), *scores))
    if results.grid is not None:
        best = results.grid.optimistic
        scores = (str(percent(best.pooled_wa)), str(percent(best.pooled_ua)))
        rows.append((*about, "optimistic (chosen on the test folds)", str(pooled.n), *scores))
    headings: tuple[str, ...] = ("corpus", "modalities", "protocol", "n", "WA [95 % interval]", "UA [95 % interval]")
    if (votes := results.votes) is not None:
        headings += ("KL from votes", "Jensen-Shannon")
        first, *others = rows
        rows = [(*first, f"{votes.kl:.3f}", f"{votes.js:.3f}"), *((*row, "", "") for row in others)]
    tables = [PaperTable(headings=headings, rows=tuple(rows))]
    if results.ablation is not None:
        variants = results.ablation.variants
        headings = ("variant", "parameters", "WA", "UA", "UA against full [95 % interval]")
        tables.append(PaperTable(headings=headings, rows=tuple(_variant(v) for v in variants)))
    return tables


def markdown(tables: Sequence[PaperTable]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(_in_markdown(cell) for cell in cells) + " |"

    blocks = [
        "\n".join([line(t.headings), "|" + "---|" * len(t.headings), *(line(row) for row in t.rows)]) for t in tables
    ]
    return "\n\n".join(blocks) + "\n"


def _in_markdown(cell: str) -> str:
    """A name as it is, on one line: neither a column's end nor markup, which many viewers would render."""
    plain = " ".join(cell.split()).replace("&", "&amp;").replace("<", "&lt;")
    return plain.replace("\\", "\\\\").replace("|", "\\|")


def latex(tables: Sequence[PaperTable]) -> str:
    """LaTeX with booktabs rules."""
    return "% \\usepackage{booktabs}\n" + "\n\n".join(map(tabular, tables)) + "\n"


def tabular(table: PaperTable) -> str:
    """A table's tabular alone."""

    def line(cells: Sequence[str]) -> str:
        row = " & ".join(map(in_latex, cells))
        # A bracket at the start of a row would be parsed as an option of the preceding line break.
        return ("{}" if row.startswith("[") else "") + row + r" \\"

    return "\n".join(
        [
            rf"\begin{{tabular}}{{{'l' * len(table.headings)}}}",
            r"\toprule",
            line(table.headings),
            r"\midrule",
            *(line(row) for row in table.rows),
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def in_latex(text: str) -> str:
    """Text as it is, without commands."""
    return text.translate(_LATEX)


_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        "–": "--",
        **{character: rf"\{character}" for character in "&%$#_{}"},
    }
)


def _with_interval(scores: PooledScores | MeanOverSeeds | PartScores, score: str) -> str:
    """A part that has one speaker has no interval."""
    if (ends := getattr(scores, f"{score}_ci95")) is None:
        return str(percent(getattr(scores, score)))
    low, high = ends
    deviation = f" ± {percent(getattr(scores, f'{score}_std'))}" if isinstance(scores, MeanOverSeeds) else ""
    return f"{percent(getattr(scores, score))}{deviation} [{percent(low)}, {percent(high)}]"


def _variant(variant: VariantScores) -> tuple[str, ...]:
    scores = [
        str(percent(getattr(variant, f"{score}_mean")))
        + ("" if getattr(variant, f"{score}_std") is None else f" ± {percent(getattr(variant, f'{score}_std'))}")
        for score in ("wa", "ua")
    ]
    apart = ""
    if variant.difference is not None:
        low, high = (100 * end for end in variant.difference.ua_ci95)
        apart = f"{100 * variant.difference.ua:+.1f} [{low:+.1f}, {high:+.1f}]"
    return (variant.name, f"{variant.parameters:,}", *scores, apart)
