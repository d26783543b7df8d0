"""Scores of a published partition: the partition is stamped on each, and test parts are scored apart."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raysys.data.folds import make_folds, published_partition
from raysys.data.manifest import Manifest
from raysys.intervals import interval
from raysys.presets import demo
from raysys.report import export
from raysys.report.card import model_card
from raysys.report.compare import compare, comparison_table
from raysys.report.page import page
from raysys.report.parts import class_scores, clusters, speaker_scores, split_scores
from raysys.report.reading import read_run
from raysys.report.reference import REFERENCES, references_of
from raysys.report.results import pool_predictions, summarise
from raysys.report.tables import corpus_lines, result_table
from raysys.results import FinalModel, FoldRow, RunResult
from raysys.storage import Folder
from raysys.yaml_file import to_yaml
from tests.data.test_partition import CLASSES, GIVEN, ROWS, manifest_of

STAMP = "given partition, whose parts share 1 of 4 known speakers (1 of 2 tested ones)"
# Id: label, prediction, speaker. test1: one of two right; test2: three of four.
TESTED = {
    "d": ("tense", "tense", "ana"),
    "f": ("calm", "tense", "di"),
    "e": ("calm", "calm", "di"),
    "g": ("tense", "tense", "di"),
    "v": ("tense", "tense", "unknown"),
    "w": ("calm", "tense", "unknown"),
}
MORE = {
    "f": ("di", "calm", "test1"),
    "g": ("di", "tense", "test2"),
    "w": ("unknown", "calm", "test2"),
}


def predictions() -> pa.Table:
    names = sorted(TESTED)
    rows = [TESTED[name] for name in names]
    shares = np.array([[0.9 if predicted == name else 0.1 for name in CLASSES] for _, predicted, _ in rows], "float32")
    return pa.table(
        {
            "utterance_id": names,
            "speaker": [speaker for *_, speaker in rows],
            "fold": pa.array([1] * len(rows), pa.int64()),
            "label": [label for label, *_ in rows],
            "prediction": [predicted for _, predicted, _ in rows],
            **{f"p_{name}": shares[:, i] for i, name in enumerate(CLASSES)},
        }
    )


@pytest.fixture
def manifest() -> Manifest:
    return manifest_of(dict(sorted((ROWS | MORE).items())))


@pytest.fixture
def results(manifest: Manifest) -> RunResult:
    folds = make_folds(manifest, GIVEN)
    partition = published_partition(manifest, GIVEN, folds)
    assert partition is not None
    row = FoldRow(fold=1, name="given", n_train=3, n_validation=1, n=6, epoch=2, wa=4 / 6, ua=4 / 6, trial="folds/1")
    facts: dict[str, Any] = {"modalities": "audio", "seed": 0, "parameters": 9, "notes": (), "seconds": 1.0}
    pooled = pool_predictions(manifest, [predictions()])
    return summarise(manifest, [row], pooled, protocol=partition.described, partition=partition, **facts)


def write_run(folder: Path, manifest: Manifest, results: RunResult) -> Folder:
    run = Folder.at(str(folder))
    run.write_table("manifest.parquet", manifest.to_table())
    run.write_json("folds.json", [dataclasses.asdict(fold) for fold in make_folds(manifest, GIVEN)])
    run.write_table("predictions.parquet", predictions())
    run.write_bytes("config.yaml", to_yaml(demo()).encode())
    results.write(run)
    return run


def test_only_the_test_parts_are_scored_and_each_utterance_once(manifest: Manifest) -> None:
    table = predictions()
    assert pool_predictions(manifest, [table]).num_rows == 6
    with pytest.raises(RuntimeError, match=r"6 utterances, found 5 .*\['d'\]"):
        pool_predictions(manifest, [table.slice(1)])
    with pytest.raises(RuntimeError, match=r"found 7 .*\['d'\]"):
        pool_predictions(manifest, [table, table.slice(0, 1)])


def test_test_parts_are_scored_apart_by_hand(results: RunResult) -> None:
    one, two = results.by_test
    assert (one.name, one.n, one.wa, one.ua) == ("test1", 2, 0.5, 0.5)
    assert (two.name, two.n, two.wa, two.ua) == ("test2", 4, 0.75, 0.75)
    assert (results.pooled.n, results.pooled.wa) == (6, pytest.approx(4 / 6))


def test_a_single_test_part_is_what_is_pooled(manifest: Manifest) -> None:
    alone = [dataclasses.replace(u, split="test") if u.split == "test1" else u for u in manifest.utterances]
    kept = dataclasses.replace(manifest, utterances=tuple(u for u in alone if u.split != "test2"))
    own = predictions().filter(pa.array([name in "df" for name in sorted(TESTED)]))
    assert split_scores(kept, own) == ()


def test_an_utterance_of_an_unknown_speaker_is_a_cluster_of_its_own(results: RunResult) -> None:
    table = predictions()
    found = clusters(table).tolist()
    assert len(set(found)) == 4 and found[0] == "ana" and found[-1] != found[-2]
    names = ["ana", "di", "di", "di", "v alone", "w alone"]
    label_N, predicted_N = ([CLASSES.index(name) for name in table[c].to_pylist()] for c in ("label", "prediction"))
    expected = interval(label_N, predicted_N, names, [1] * 6, "wa")
    assert results.pooled.wa_ci95 == pytest.approx(expected, abs=1e-6)
    # Counted are the known ones.
    assert [(c.name, c.n, c.speakers) for c in class_scores(table, CLASSES)] == [("calm", 3, 1), ("tense", 3, 2)]
    assert [(s.name, s.n, s.speakers) for s in speaker_scores(table, CLASSES)][-1] == ("unknown", 2, 0)


def test_the_terminal_says_which_partition_and_what_each_test_part_scores(
    manifest: Manifest, results: RunResult
) -> None:
    said = result_table(results)
    assert f"pooled over 6 test utterances of test1 and test2, each scored once ({STAMP})" in said
    assert "  test1, 2 utterances:  WA 50.0" in said and "  test2, 4 utterances:  WA 75.0" in said
    assert "\nstd" not in said, "a single fold has no deviation"
    assert "4 speakers and 3 utterances of unknown ones" in corpus_lines(manifest)


def test_results_exports_and_the_page_are_stamped(tmp_path: Path, manifest: Manifest, results: RunResult) -> None:
    run = write_run(tmp_path / "run", manifest, results)
    stored = json.loads((tmp_path / "run" / "results.json").read_text())
    assert stored["protocol"] == STAMP
    assert stored["partition"] == {
        "name": "given partition", "speakers": 4, "shared": 1, "tested": 2, "heard": 1, "unknown": 3
    }  # fmt: skip
    assert RunResult.read(run) == results
    rows = list(csv.DictReader(io.StringIO(export.results_csv(results))))
    assert [(row["name"], row["n"], row["protocol"]) for row in rows] == [
        ("given", "6", STAMP),
        ("test1", "2", STAMP),
        ("test2", "4", STAMP),
        ("pooled", "6", STAMP),
    ]
    (table,) = export.paper_tables(results)
    assert [row[2] for row in table.rows] == [STAMP, f"{STAMP}, test1 alone", f"{STAMP}, test2 alone"]
    said = " ".join(page(read_run(run), {}, []).split())
    assert f"Protocol: {STAMP}. <strong>In training the model has heard 1 of the 2 speakers" in said
    assert "pooled over test1 and test2, which the same model was tested on" in said
    assert "Of 3 utterances the speaker is unknown" in said and "Scores by test part" in said


def test_the_final_models_card_says_what_it_learned_and_the_stamp(results: RunResult) -> None:
    final = FinalModel(point="", epochs=2, folder="model", data="the training and validation parts", temperature=1.0)
    said = " ".join(model_card(dataclasses.replace(results, final=final)).split())
    assert (
        "it was trained on the training and validation parts. The same with the training part alone scored, by" in said
    )
    assert said.count(STAMP) >= 4 and "test2: UA 75.0, WA 75.0, 4 utterances" in said
    assert "cross-validation" not in said and "test part as given" in said


def test_a_comparison_says_which_partition_and_where_protocols_differ(
    tmp_path: Path, manifest: Manifest, results: RunResult
) -> None:
    one = write_run(tmp_path / "one", manifest, results)
    said = comparison_table(compare(one, one))
    assert f"Both: {STAMP}." in said
    other = write_run(tmp_path / "other", manifest, dataclasses.replace(results, protocol="nested", partition=None))
    assert f"The protocols differ, and so may how easy the test is. a: {STAMP}; b: nested." in comparison_table(
        compare(one, other)
    )


def test_emoboxs_scores_stand_beside_those_of_a_corpus_of_its() -> None:
    sources = {reference.source for reference in references_of("emobox", "/data/EmoBox/data/ravdess")}
    assert sources == {"EmoBox, wav2vec2-base", "EmoBox, Whisper-large-v3"}
    assert references_of("emobox", "/data/EmoBox/data/emodb") == () and references_of("table", None) == ()
    assert references_of("ravdess", "/x") == REFERENCES["ravdess"]
