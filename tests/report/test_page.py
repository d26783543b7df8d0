"""The report: one file that says what the run found, whatever the run's texts hold."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from raysys.report.page import write_report
from raysys.report.reading import most_confidently_wrong, read_run, subsets
from raysys.storage import Folder
from tests.report.run_folder import EVIL, write_run

KINDS = ("crossval", "gridsearch", "ablation")
FIGURES = {"confusion", "losses", "validation", "tsne-with", "tsne-without", "reliability"}
MORE = {"crossval": set[str](), "gridsearch": {"grid"}, "ablation": {"ablation"}}


def report(place: Path, kind: str, *, features: bool = True) -> tuple[Folder, str]:
    run = write_run(place, kind, features=features)
    write_report(run)
    return run, run.read_bytes("report.html").decode()


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_is_one_file_with_all_its_figures(kind: str, tmp_path: Path) -> None:
    run, page = report(tmp_path / "run", kind)
    assert page.count("<figure>") == page.count("<svg") == len(FIGURES | MORE[kind])
    assert {name.removesuffix(".png") for name in (run / "figures").names()} == FIGURES | MORE[kind]
    assert all((run / "figures").read_bytes(name).startswith(b"\x89PNG") for name in (run / "figures").names())
    # Nothing is fetched: addresses in it are namespaces of SVG, which nobody opens.
    fetched = re.findall(r'(?:src|href)="(?!data:|#)([^"]*)"', page)
    assert fetched == [] and "url(http" not in page and "@import" not in page


def test_ids_of_several_figures_do_not_meet(tmp_path: Path) -> None:
    _, page = report(tmp_path / "run", "gridsearch")
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert all(used in ids for used in re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', page) for used in used if used)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_runs_give_equal_pages(kind: str, tmp_path: Path) -> None:
    first = report(tmp_path / "a" / "run", kind)[0]
    second = report(tmp_path / "b" / "run", kind)[0]
    for name in ("report.html", "table.tex", "table.md", "results.csv"):
        assert first.read_bytes(name) == second.read_bytes(name), name


def test_texts_are_shown_and_never_obeyed(tmp_path: Path) -> None:
    _, page = report(tmp_path / "run", "ablation")
    assert "<script" not in page
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt; &amp; so on" in page
    assert "text &amp; &lt;b&gt;only&lt;/b&gt;" in page and "<b>only" not in page


def test_a_run_without_features_says_so(tmp_path: Path) -> None:
    run, page = report(tmp_path / "run", "crossval", features=False)
    assert "were not kept" in page
    assert "tsne-with.png" not in (run / "figures").names()


def test_the_optimistic_protocol_is_marked_and_the_final_model_has_no_test_score(tmp_path: Path) -> None:
    _, page = report(tmp_path / "run", "gridsearch")
    assert "score optimistic" in page and "not an estimate" in page and "95.2" in page
    assert "It has no test score." in page
    assert "7 epochs" in page and "0.6 s beyond its training" in page


def test_a_published_score_stands_beside_with_its_protocol(tmp_path: Path) -> None:
    _, page = report(tmp_path / "run", "crossval")
    assert re.search(r"the paper</td><td[^>]*>epoch and weights chosen on the reported folds</td><td>82.3", page)
    assert "83.5" not in page, "that is RAVDESS"


def test_subsets_are_counted_by_hand(tmp_path: Path) -> None:
    found = subsets(read_run(write_run(tmp_path / "run")))
    # Sessions share the script's 8 lines and nothing else; each session improvises 8 of its own.
    assert {name: int(rows.sum()) for name, rows in found.items()} == {
        "improvised": 24,
        "scripted": 24,
        "script-disjoint": 24,
    }
    assert np.array_equal(found["improvised"], found["script-disjoint"])


def test_the_most_confidently_wrong_come_first_and_short_ones_can_be_heard(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run"))
    wrong = most_confidently_wrong(run)
    assert [run.names[i] for i in wrong] == [f"Ses0{s}F_impro01_F000" for s in (1, 2, 3)]
    assert run.manifest.utterances[0].transcript == EVIL
    _, page = report(tmp_path / "again", "crossval")
    assert page.count('<audio controls preload="none" src="data:audio/mpeg;base64,') == 2, "the first is 11 s long"


def test_tables_for_papers_and_spreadsheets(tmp_path: Path) -> None:
    run, _ = report(tmp_path / "run", "ablation")
    rows = list(csv.reader(run.read_bytes("results.csv").decode().splitlines()))
    assert rows[0][:2] == ["fold", "n_train"] and rows[-1][0] == "pooled" and len(rows) == 5
    assert float(rows[-1][6]) == pytest.approx(run.read_json("results.json")["pooled"]["ua"])
    ablation = list(csv.reader(run.read_bytes("ablation.csv").decode().splitlines()))
    assert len(ablation) == 1 + 7 * 2 and ablation[1] == ["full", "0", "0.74", "0.75"]
    latex = run.read_bytes("table.tex").decode()
    assert r"text \& <b>only</b> & 76.0 & 76.0 & 1.4 & -5.0 & -8.0 to -2.0 \\" in latex
    assert r"95 \% interval" in latex and r"\toprule" in latex
    assert "| full | 76.0 | 76.0 | 1.4 |  |  |" in run.read_bytes("table.md").decode()
    grid = report(tmp_path / "grid", "gridsearch")[0].read_bytes("grid.csv").decode().splitlines()
    assert grid[1].startswith("alpha=1 beta=1,1,1,0.7,") and len(grid) == 5
