"""The paper's numbers beside those found, row by row and protocol by protocol; as Markdown, LaTeX and CSV."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from raysys.config import CORPORA
from raysys.errors import StorageError
from raysys.report import export
from raysys.report.export import PaperTable
from raysys.report.plain_csv import csv_of
from raysys.report.reference import PAPER_RECALLS, PAPER_VARIANTS, REFERENCES
from raysys.results import Interval, RunResult
from raysys.storage import Folder

PAPER = "paper.json"
"""In the folder of a run of the whole paper: which runs are in it."""
MISSING = {
    "iemocap": "IEMOCAP was not given (--iemocap): table 1 and figures 3, 5, 6 and 7 of the paper are missing",
    "ravdess": "RAVDESS was not given (--ravdess): table 2 and figure 4 of the paper are missing",
}
NAMES = {name: CORPORA[name].title for name in ("iemocap", "ravdess")}
AS_THE_PAPER = "paper: chosen on the test folds, optimistic"
NESTED = "nested"


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperRun:
    """Attributes:
    grids, ablations: names of the runs' folders, by corpus.
    notes: what of the paper is missing.
    """

    grids: dict[str, str]
    ablations: dict[str, str]
    notes: tuple[str, ...] = ()

    def write(self, folder: Folder) -> None:
        folder.write_json(PAPER, dataclasses.asdict(self))

    @classmethod
    def read(cls, folder: Folder) -> PaperRun:
        """Raises: StorageError: the file is not what a run writes."""
        from pydantic import TypeAdapter, ValidationError

        try:
            return TypeAdapter(cls).validate_python(folder.read_json(PAPER))
        except (ValidationError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise StorageError(
                f"{folder.location}/{PAPER} cannot be read ({first}). Run jobs/paper.py again with the same flags: it "
                f"keeps what is trained, and writes the file again."
            ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A number of the paper, in per cent, and ours, from 0 to 1, with its 95 % interval; None where there is none."""

    paper: float | None = None
    ours: float | None = None
    ends: Interval | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Attributes:
    what: a system, a class or a variant.
    scores: by metric.
    """

    what: str
    protocol: str
    scores: dict[str, Score]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Attributes:
    of: what it compares with: "Table 1".
    what: heading of the first column.
    signed: metrics that are differences.
    """

    of: str
    corpus: str
    title: str
    what: str
    rows: tuple[Row, ...]
    signed: tuple[str, ...] = ()


def tables(grids: Mapping[str, RunResult], ablations: Mapping[str, RunResult]) -> list[Table]:
    """Every number of the paper that the runs have a counterpart of, in the paper's order.

    Args:
        grids, ablations: results by corpus, iemocap or ravdess.
    """
    found = [_scores(corpus, results) for corpus, results in grids.items()]
    found += [_recalls(corpus, results) for corpus, results in grids.items()]
    return [*found, *(_variants(corpus, results) for corpus, results in ablations.items())]


def _scores(corpus: str, results: RunResult) -> Table:
    grid, pooled = results.grid, results.pooled
    assert grid is not None
    # The first is the paper's own; parts of its model are in the table of the variants.
    own, *others = (r for r in REFERENCES[corpus] if not r.source.startswith("the paper, "))
    best = grid.optimistic
    rows = [
        _row("the paper's model", AS_THE_PAPER, (own.wa, best.pooled_wa, None), (own.ua, best.pooled_ua, None)),
        _row(
            "the paper's model",
            NESTED + results.selected,
            (None, pooled.wa, pooled.wa_ci95),
            (None, pooled.ua, pooled.ua_ci95),
        ),
        *(_row(r.source, r.protocol, (r.wa, None, None), (r.ua, None, None)) for r in others),
    ]
    number = {"iemocap": "Table 1", "ravdess": "Table 2"}[corpus]
    return Table(of=number, corpus=corpus, title=NAMES[corpus], what="system", rows=tuple(rows))


def _row(what: str, protocol: str, *scores: tuple[float | None, float | None, Interval | None]) -> Row:
    """Of WA, UA, and whether UA differs from the full model's."""
    names = ("WA", "UA", DIFFERENCE)
    found = {
        name: Score(paper=paper, ours=ours, ends=ends) for name, (paper, ours, ends) in zip(names, scores, strict=False)
    }
    return Row(what=what, protocol=protocol, scores=found)


def _recalls(corpus: str, results: RunResult) -> Table:
    """The diagonal of the confusion matrix."""
    assert results.grid is not None
    matrix = np.array(results.grid.optimistic.confusion)
    tested = matrix.sum(axis=1)
    rows = []
    for index, scores in enumerate(results.by_class):
        paper = PAPER_RECALLS[corpus].get(scores.name)
        optimistic = float(matrix[index, index] / tested[index]) if tested[index] else None
        first, second = Score(paper=paper, ours=optimistic), Score(ours=scores.recall, ends=scores.recall_ci95)
        rows += [
            Row(what=scores.name, protocol=AS_THE_PAPER, scores={"recall": first}),
            Row(what=scores.name, protocol=NESTED + results.selected, scores={"recall": second}),
        ]
    number = {"iemocap": "Figure 3", "ravdess": "Figure 4"}[corpus]
    return Table(of=number, corpus=corpus, title=NAMES[corpus], what="class", rows=tuple(rows))


DIFFERENCE = "UA against full"


def _variants(corpus: str, results: RunResult) -> Table:
    assert results.ablation is not None
    full, *_ = results.ablation.variants
    of_full = PAPER_VARIANTS[full.name][1]
    rows = []
    for v in results.ablation.variants:
        wa, ua = PAPER_VARIANTS.get(v.name, (None, None))
        apart = None if ua is None or v is full else ua - of_full
        ours = None
        if v is not full and v.optimistic_ua is not None and full.optimistic_ua is not None:
            ours = v.optimistic_ua - full.optimistic_ua
        difference = (None, None, None) if v.difference is None else (None, v.difference.ua, v.difference.ua_ci95)
        optimistic = (wa, v.optimistic_wa, None), (ua, v.optimistic_ua, None), (apart, ours, None)
        nested = (None, v.wa_mean, v.wa_ci95), (None, v.ua_mean, v.ua_ci95), difference
        rows += [_row(v.name, AS_THE_PAPER, *optimistic), _row(v.name, NESTED + results.selected, *nested)]
    return Table(
        of="Figure 7",
        corpus=corpus,
        title=NAMES[corpus],
        what="variant",
        rows=tuple(rows),
        signed=(DIFFERENCE,),
    )


def printed(table: Table) -> PaperTable:
    """As text: '75.3 [68.1, 82.6]'."""
    names = list(table.rows[0].scores)
    rows = []
    for row in table.rows:
        cells = [cell for name in names for cell in _cells(row.scores[name], signed=name in table.signed)]
        rows.append((row.what, row.protocol, *cells))
    headings = [cell for name in names for cell in (f"{name}, paper", f"{name}, ours [95 % interval]")]
    return PaperTable(headings=(table.what, "protocol", *headings), rows=tuple(rows))


def _cells(score: Score, *, signed: bool) -> tuple[str, str]:
    """The paper's number and ours."""

    def number(value: float | None) -> str:
        return "–" if value is None else f"{value:+.1f}" if signed else f"{value:.1f}"

    ours = number(None if score.ours is None else 100 * score.ours)
    if score.ends is not None:
        ours += " [{}, {}]".format(*(number(100 * end) for end in score.ends))
    return number(score.paper), ours


def caption(table: Table) -> str:
    """How to read a table."""
    about = f"{table.of} of the paper and this run, {table.title}, in per cent. "
    match table.what:
        case "system":
            return about + (
                "Pooled over all test utterances (the paper: a weighted average over folds, which for WA is the same). "
                "Rows without a number of ours are what others publish, by protocols of their own."
            )
        case "class":
            return about + "Recall of each class; the paper's text has those of some classes only."
        case _:
            return about + (
                "On each fold, variants have the grid point that the fold chose on its own validation part; by the "
                "paper's protocol only the epochs are chosen on the test folds. The paper has the same numbers "
                "without both tasks and without augmentation; its text has none of the others."
            )


def files(found: Sequence[Table]) -> dict[str, str]:
    """What is written beside the page, by file name."""
    return {"paper.md": markdown(found), "paper.tex": latex(found), "paper.csv": csv(found)}


def markdown(found: Sequence[Table]) -> str:
    blocks = [f"**{table.of}.** {caption(table)}\n\n{export.markdown([printed(table)])}" for table in found]
    return "\n".join(blocks)


def latex(found: Sequence[Table]) -> str:
    """A document that compiles as it is; its tables can be taken one by one."""
    blocks = [
        "\n".join(
            [
                r"\begin{table}[p]",
                r"\centering\footnotesize",
                rf"\caption{{{export.in_latex(caption(table))}}}",
                export.tabular(printed(table)),
                r"\end{table}",
            ]
        )
        for table in found
    ]
    head = [
        r"\documentclass[a4paper,landscape]{article}",
        r"\usepackage{booktabs}",
        r"\usepackage[margin=15mm]{geometry}",
    ]
    return "\n".join([*head, r"\begin{document}", *blocks, r"\end{document}", ""])


def csv(found: Sequence[Table]) -> str:
    """One row per number: the paper's in per cent as printed, ours from 0 to 1."""
    rows = [
        [table.of, table.corpus, row.what, row.protocol, name, score.paper, score.ours, *(score.ends or (None, None))]
        for table in found
        for row in table.rows
        for name, score in row.scores.items()
        if score.paper is not None or score.ours is not None
    ]
    headings = ["of", "corpus", "what", "protocol", "score", "paper_per_cent", "ours", "low", "high"]
    return csv_of(headings, rows)
