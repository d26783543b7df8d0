"""Scores for a spreadsheet (CSV) and for a paper (Markdown, LaTeX)."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from raysys.report.markup import interval, percent, signed_interval
from raysys.report.reading import Run

_LATEX = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}"}
_LATEX |= {"^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}


def export_tables(run: Run) -> dict[str, str]:
    """Contents by file name."""
    results = run.results
    files = {"results.csv": _folds_csv(results)}
    if "grid" in results:
        header = ["point", *results["grid"]["axes"], "validation_ua", "optimistic_test_wa", "optimistic_test_ua"]
        rows = [
            [p["name"], *p["values"].values(), p["validation_ua"], p["test_wa"], p["test_ua"]]
            for p in results["grid"]["points"]
        ]
        files["grid.csv"] = _csv(header, rows)
    header, rows = _paper_table(run)
    if "ablation" in results:
        header, rows = _ablation_table(results)
        files["ablation.csv"] = _ablation_csv(results)
    files["table.md"] = _markdown(header, rows)
    files["table.tex"] = _latex(header, rows)
    return files


def _folds_csv(results: dict[str, Any]) -> str:
    header = ["fold", "n_train", "n_validation", "n", "epoch", "wa", "ua"]
    rows = [[fold["name"], *(fold[name] for name in header[1:])] for fold in results["folds"]]
    pooled = results["pooled"]
    return _csv(header, [*rows, ["pooled", "", "", pooled["n"], "", pooled["wa"], pooled["ua"]]])


def _ablation_csv(results: dict[str, Any]) -> str:
    found = results["ablation"]
    header = ["variant", "seed", "wa", "ua"]
    rows = [
        [v["name"], seed, wa, ua]
        for v in found["variants"]
        for seed, wa, ua in zip(found["seeds"], v["wa"], v["ua"], strict=True)
    ]
    return _csv(header, rows)


def _paper_table(run: Run) -> tuple[list[str], list[list[str]]]:
    results, pooled = run.results, run.results["pooled"]
    header = ["corpus", "protocol", "n", "WA", "95 % interval", "UA", "95 % interval"]
    row = [results["corpus"]["name"], "nested", str(pooled["n"])]
    for name in ("wa", "ua"):
        row += [percent(pooled[name]), interval(pooled[f"{name}_ci95"])]
    rows = [row]
    if "grid" in results:
        best = results["grid"]["optimistic"]
        name = "optimistic (chosen on the test folds)"
        rows.append(
            [row[0], name, row[2], percent(best["pooled_wa"]), "", percent(best["pooled_ua"]), ""],
        )
    return header, rows


def _ablation_table(results: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    header = ["variant", "WA", "UA", "std of UA", "UA against full", "95 % interval"]
    rows: list[list[str]] = []
    for variant in results["ablation"]["variants"]:
        difference = variant["difference"]
        rows.append(
            [
                variant["name"],
                percent(variant["wa_mean"]),
                percent(variant["ua_mean"]),
                percent(variant["ua_std"]),
                "" if difference is None else f"{100 * difference['ua']:+.1f}",
                "" if difference is None else signed_interval(difference["ua_ci95"]),
            ]
        )
    return header, rows


def _csv(header: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return sink.getvalue()


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |\n" for line in lines)


def _latex(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A booktabs table."""

    def line(cells: Sequence[str]) -> str:
        return " & ".join("".join(_LATEX.get(c, c) for c in cell.replace("–", "--")) for cell in cells) + r" \\"

    body = [r"\begin{tabular}{l" + "r" * (len(header) - 1) + "}", r"\toprule", line(header), r"\midrule"]
    return "\n".join([*body, *map(line, rows), r"\bottomrule", r"\end{tabular}", ""])
