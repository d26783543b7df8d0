"""The terminal tables show the numbers in results.json."""

from __future__ import annotations

import dataclasses

import pytest

from raysys.config import Select
from raysys.data.manifest import Manifest, Skipped, Utterance
from raysys.report.tables import corpus_lines, grid_table, result_table, seeds_table
from raysys.results import GridResult, RunResult, VoteScores
from tests.report.made_up import grid, run_result, seeds, typed


@pytest.fixture
def results() -> RunResult:
    sizes = {"n_train": 3290, "n_validation": 1085, "epoch": 12}
    return run_result(
        protocol="nested",
        classes=["ang", "happiness", "neu"],
        folds=[
            {"fold": 1, "name": "Session1", **sizes, "n": 1023, "wa": 0.7123, "ua": 0.6999},
            {"fold": 2, "name": "Session2", **sizes, "n": 1241, "wa": 0.5, "ua": 1.0},
        ],
        mean={"wa": 0.60615, "ua": 0.84995},
        std={"wa": 0.15012, "ua": 0.2122},
        pooled={
            "n": 2264,
            "wa": 0.6111,
            "ua": 0.8222,
            "wa_ci95": [0.5511, 0.6622],
            "ua_ci95": [0.7733, 0.8744],
            "chance_wa": 0.5486,
            "chance_ua": 0.5,
        },
        confusion=[[30, 8, 2], [1, 98, 1], [0, 0, 0]],
    )


def row(table: str, start: str) -> list[str]:
    return next(line for line in table.splitlines() if line.startswith(start)).split()


def test_folds_mean_and_deviation_are_in_per_cent(results: RunResult) -> None:
    table = result_table(results)
    assert row(table, "fold") == ["fold", "train", "valid", "test", "epoch", "WA", "UA"]
    assert row(table, "Session1") == ["Session1", "3290", "1085", "1023", "12", "71.2", "70.0"]
    assert row(table, "Session2") == ["Session2", "3290", "1085", "1241", "12", "50.0", "100.0"]
    assert row(table, "mean") == ["mean", "60.6", "85.0"]
    assert row(table, "std") == ["std", "15.0", "21.2"]


def test_scores_stand_below_their_headings(results: RunResult) -> None:
    lines = result_table(results).splitlines()[:5]
    columns = {"WA": ["71.2", "50.0", "60.6", "15.0"], "UA": ["70.0", "100.0", "85.0", "21.2"]}
    for heading, numbers in columns.items():
        end = lines[0].index(heading) + 2
        assert [line[:end].split()[-1] for line in lines[1:]] == numbers


def test_pooled_scores_stand_with_their_own_interval_and_meaning(results: RunResult) -> None:
    table = result_table(results)
    assert "pooled over 2264 test utterances, each scored once (nested protocol)" in table
    wa, ua = (" ".join(row(table, f"  {name}")) for name in ("WA", "UA"))
    assert wa == "WA 61.1 95 % interval 55.1 to 66.2 over speakers (overall accuracy); chance 54.9"
    assert ua == "UA 82.2 95 % interval 77.3 to 87.4 over speakers (mean class recall); chance 50.0"


def test_the_distance_from_votes_is_told_where_there_are_votes(results: RunResult) -> None:
    table = result_table(dataclasses.replace(results, votes=VoteScores(n=17, kl=0.41234, js=0.1)))
    assert "annotators' votes: KL divergence 0.412, Jensen-Shannon 0.100 nats (means over 17 test utterances" in table
    assert "votes" not in result_table(results)


def test_another_score_that_selected_is_told(results: RunResult) -> None:
    table = result_table(dataclasses.replace(results, select="macro_f1"))
    assert "each scored once (nested protocol, by validation macro-F1)" in table


@pytest.mark.parametrize(
    ("select", "order"),
    [
        ("ua", ["point validation UA chosen by fold", "a 70.0", "b 60.0 1", "c stopped"]),
        ("loss", ["point validation loss chosen by fold", "b 0.500 1", "a 0.900", "c stopped"]),
    ],
)
def test_points_are_listed_by_the_score_that_selected_the_best_first(
    results: RunResult, select: Select, order: list[str]
) -> None:
    scores: dict[str, dict[str, float | None]] = {
        "a": {"validation_ua": 0.7, "validation_score": 0.9},
        "b": {"validation_ua": 0.6, "validation_score": 0.5},
        "c": {"validation_ua": None},
    }
    if select == "ua":
        # As early versions wrote it.
        scores = {name: {"validation_ua": found["validation_ua"]} for name, found in scores.items()}
    points = [{"name": name, **found} for name, found in scores.items()]
    made = typed(GridResult, grid(points=points, nested={"1": "b"}))
    lines = grid_table(dataclasses.replace(results, grid=made, select=select)).splitlines()
    assert [" ".join(line.split()) for line in lines[:4]] == order
    assert any("own validation speakers, by validation loss" in line for line in lines) == (select == "loss")


def test_the_confusion_matrix_shows_counts_and_recalls(results: RunResult) -> None:
    table = result_table(results)
    assert "rows: true class, columns: predicted" in table
    assert row(table, "ang") == ["ang", "30", "8", "2", "75.0"]
    assert row(table, "happiness") == ["happiness", "1", "98", "1", "98.0"]
    assert row(table, "neu") == ["neu", "0", "0", "0", "-"]


def test_seeds_stand_with_their_mean_and_their_ensemble() -> None:
    table = seeds_table(seeds())
    assert row(table, "0") == ["0", "50.0", "40.0"]
    assert row(table, "3") == ["3", "60.0", "60.0"]
    assert row(table, "std") == ["std", "7.1", "14.1"]
    assert " ".join(row(table, "mean")) == "mean 55.0 50.0 95 % intervals: WA 40.0 to 60.0, UA 40.0 to 60.0"
    assert " ".join(row(table, "ensemble")) == "ensemble 70.0 68.0 95 % intervals: WA 61.0 to 79.0, UA 60.0 to 76.0"
    lines = table.splitlines()[:6]
    assert {line[: lines[0].index("WA") + 2].split()[-1] for line in lines} == {
        "WA",
        "50.0",
        "60.0",
        "55.0",
        "7.1",
        "70.0",
    }


def test_corpus_lines_count_by_class() -> None:
    utterances = tuple(
        Utterance(
            utterance_id=name, audio_path="x.wav", speaker=f"S{i}", emotion=emotion, transcript=text, duration_s=1800.0
        )
        for i, (name, emotion, text) in enumerate([("a", "joy", "Hi."), ("b", "fear", None), ("c", "joy", "")])
    )
    skipped = Skipped(utterance_id="z", audio_path="z.wav", reason="x")
    manifest = Manifest(corpus="table", classes=("joy", "fear"), utterances=utterances)
    assert corpus_lines(manifest).splitlines() == [
        "corpus    table: 3 utterances, 1.50 h, 3 speakers, 2 with a transcript",
        "classes   joy 2, fear 1",
    ]
    voted = tuple(dataclasses.replace(u, votes=(0.5, 0.5)) for u in utterances[:2])
    with_votes = Manifest(corpus="table", classes=("joy", "fear"), utterances=(*voted, utterances[2]))
    assert corpus_lines(with_votes).splitlines()[0].endswith("2 with a transcript, 2 with votes")
    with_skipped = Manifest(corpus="table", classes=("joy", "fear"), utterances=utterances, skipped=(skipped,))
    assert "skipped   1 utterances" in corpus_lines(with_skipped)
