"""The paper's numbers beside ours: which goes where, by hand, and the files and the page that show them."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import pytest

from raysys.errors import StorageError
from raysys.report import paper
from raysys.report.paper import AS_THE_PAPER, NESTED, PaperRun, printed, tables
from raysys.report.paper_page import write_report
from raysys.results import RunResult
from raysys.storage import Folder
from tests.report.made_up import ablation, grid, run_result
from tests.report.paper_folder import write_paper

FIGURES = {
    "iemocap-confusion", "iemocap-grid", "iemocap-tsne-without", "iemocap-tsne-with", "iemocap-ablation",
    "iemocap-ablation-difference", "ravdess-confusion", "ravdess-grid",
}  # fmt: skip
POOLED = {"wa": 0.71, "ua": 0.722, "wa_ci95": [0.65, 0.77], "ua_ci95": [0.66, 0.784]}
OPTIMISTIC = {"pooled_wa": 0.75, "pooled_ua": 0.76, "confusion": [[3, 1], [2, 8]]}
CLASSES = [
    {"name": "hap", "n": 4, "speakers": 2, "precision": 0.5, "recall": 0.7, "f1": 0.6, "recall_ci95": [0.5, 0.9]},
    {"name": "neu", "n": 10, "speakers": 1, "precision": 0.5, "recall": 0.8, "f1": 0.6, "recall_ci95": None},
]
_SEEDS = {"wa": [0.7], "wa_std": None, "ua": [0.7], "ua_std": None, "parameters": 9, "flags": []}
VARIANTS: list[dict[str, Any]] = [
    _SEEDS
    | {"name": "full", "wa_mean": 0.71, "ua_mean": 0.722, "wa_ci95": [0.65, 0.77], "ua_ci95": [0.66, 0.784]}
    | {"difference": None, "optimistic_wa": 0.74, "optimistic_ua": 0.75},
    _SEEDS
    | {"name": "no CCB1", "wa_mean": 0.68, "ua_mean": 0.69, "wa_ci95": [0.6, 0.76], "ua_ci95": [0.61, 0.77]}
    | {"difference": {"wa": -0.03, "ua": -0.032, "wa_ci95": [-0.05, -0.01], "ua_ci95": [-0.06, 0.004]}}
    | {"optimistic_wa": 0.7, "optimistic_ua": 0.71},
    _SEEDS | {"name": "no CCB2", "wa_mean": 0.6, "ua_mean": 0.61, "difference": None},
]


@pytest.fixture
def iemocap() -> RunResult:
    return run_result(
        kind="gridsearch",
        corpus={"name": "iemocap"},
        classes=["hap", "neu"],
        pooled=POOLED,
        by_class=CLASSES,
        grid=grid(optimistic=OPTIMISTIC),
    )


@pytest.fixture
def variants() -> RunResult:
    return run_result(kind="ablation", corpus={"name": "iemocap"}, ablation=ablation(variants=VARIANTS))


def test_each_protocol_has_a_row_and_the_papers_number_stands_in_its_own(iemocap: RunResult) -> None:
    table = printed(tables({"iemocap": iemocap}, {})[0])
    assert table.headings[2:] == (
        "WA, paper", "WA, ours [95 % interval]", "UA, paper", "UA, ours [95 % interval]",
    )  # fmt: skip
    assert table.rows[0] == ("the paper's model", AS_THE_PAPER, "82.3", "75.0", "83.0", "76.0")
    assert table.rows[1] == ("the paper's model", NESTED, "–", "71.0 [65.0, 77.0]", "–", "72.2 [66.0, 78.4]")
    others = {row[0]: row[2:] for row in table.rows[2:]}
    assert others["Padi 2022"] == ("75.9", "–", "75.0", "–")
    assert not any("without" in name for name in others), "those are variants, in figure 7"


def test_recalls_stand_beside_those_of_the_papers_text(iemocap: RunResult) -> None:
    """By the paper's protocol from the confusion matrix there: 3 of 4, 8 of 10."""
    (table,) = (printed(t) for t in tables({"iemocap": iemocap}, {}) if t.of == "Figure 3")
    assert [row[2:] for row in table.rows] == [
        ("87.5", "75.0"),
        ("–", "70.0 [50.0, 90.0]"),
        ("–", "80.0"),
        ("–", "80.0"),
    ]


def test_variants_have_their_difference_from_the_full_model_by_each_protocol(variants: RunResult) -> None:
    """The paper: 77.4 - 83.0 = -5.6; ours by its protocol: 71.0 - 75.0 = -4.0."""
    (table,) = (printed(t) for t in tables({}, {"iemocap": variants}))
    assert table.headings[-2:] == ("UA against full, paper", "UA against full, ours [95 % interval]")
    assert table.rows[0][2:] == ("82.3", "74.0", "83.0", "75.0", "–", "–")
    assert table.rows[2][2:] == ("77.0", "70.0", "77.4", "71.0", "-5.6", "-4.0")
    ours = "–", "68.0 [60.0, 76.0]", "–", "69.0 [61.0, 77.0]", "–", "-3.2 [-6.0, +0.4]"
    assert table.rows[3][2:] == ours
    assert table.rows[4][2:] == ("–",) * 6, "the paper's text has no number of it, and it was not scored so"


def test_the_csv_has_every_number_once(iemocap: RunResult, variants: RunResult) -> None:
    found = tables({"iemocap": iemocap}, {"iemocap": variants})
    rows = list(csv.DictReader(io.StringIO(paper.csv(found))))
    own = [row for row in rows if row["of"] == "Table 1" and row["what"] == "the paper's model"]
    assert [(row["protocol"], row["score"], row["paper_per_cent"], row["ours"], row["low"]) for row in own] == [
        (AS_THE_PAPER, "WA", "82.3", "0.75", ""),
        (AS_THE_PAPER, "UA", "83.0", "0.76", ""),
        (NESTED, "WA", "", "0.71", "0.65"),
        (NESTED, "UA", "", "0.722", "0.66"),
    ]
    assert {row["of"] for row in rows} == {"Table 1", "Figure 3", "Figure 7"}


def test_the_latex_is_a_whole_document_of_plain_ascii(iemocap: RunResult, variants: RunResult) -> None:
    text = paper.latex(tables({"iemocap": iemocap}, {"iemocap": variants}))
    assert text.isascii()
    assert text.startswith(r"\documentclass") and text.endswith("\\end{document}\n")
    for name in ("document", "table", "tabular"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}") == (1 if name == "document" else 3)
    for block in re.findall(r"\\begin\{tabular\}\{(l+)\}(.*?)\\end\{tabular\}", text, re.DOTALL):
        rows = [row for row in block[1].split(r"\\") if "&" in row]
        # Percent signs of headings are escaped, or they would comment out the rest.
        assert {len(row.split(" & ")) for row in rows} == {len(block[0])}
        assert not re.search(r"(?<!\\)[%#_]", block[1])
    assert r"71.0 [65.0, 77.0]" in text and r"\usepackage{booktabs}" in text


def test_the_page_has_all_figures_and_a_link_to_each_run(tmp_path: Path) -> None:
    folder = write_paper(tmp_path)
    assert write_report(folder) == []
    page = (tmp_path / "report.html").read_text()
    assert set(re.findall(r'<figure id="([\w-]+)"', page)) == FIGURES
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == FIGURES
    for name in ("gridsearch-iemocap", "ablation-iemocap", "gridsearch-ravdess"):
        assert f'href="{name}/report.html"' in page
    assert "<script" not in page and page.count("Table 2: RAVDESS") == 1
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids)), "two corpora on one page do not share ids"
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    write_report(folder)
    assert before == {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}


def test_a_corpus_that_was_not_given_is_noted_and_left_out(tmp_path: Path) -> None:
    write_report(write_paper(tmp_path, ravdess=False))
    page = (tmp_path / "report.html").read_text()
    assert "RAVDESS was not given (--ravdess): table 2 and figure 4 of the paper are missing" in page
    assert "Table 2: " not in page and "Table 1: IEMOCAP" in page


def test_a_damaged_record_of_the_runs_is_named_with_its_remedy(tmp_path: Path) -> None:
    folder = Folder.at(str(tmp_path))
    PaperRun(grids={"iemocap": "a"}, ablations={}).write(folder)
    assert PaperRun.read(folder).grids == {"iemocap": "a"}
    for content in (b"{", b'{"grids": 3}'):
        folder.write_bytes(paper.PAPER, content)
        with pytest.raises(StorageError, match=r"paper\.json cannot be read .* Run jobs/paper\.py again"):
            PaperRun.read(folder)
