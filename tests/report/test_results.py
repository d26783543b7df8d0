"""Pooling: every utterance counted once, and WA and UA not swapped."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raysys.data.manifest import Manifest, Skipped, Utterance
from raysys.report.results import pool_predictions, pooled_scores, summarise
from raysys.results import FoldRow, RunResult, VoteScores
from raysys.storage import Folder

# Class, prediction and speaker by fold: 4 joy and 2 fear; a third class that never occurs.
FOLD_1 = {"a": ("joy", "joy", "S1"), "b": ("joy", "joy", "S2"), "c": ("fear", "joy", "S1")}
FOLD_2 = {"d": ("joy", "joy", "S3"), "e": ("fear", "fear", "S4"), "f": ("joy", "rage", "S3")}
FACTS: dict[str, Any] = {
    "protocol": "nested", "modalities": "both", "seed": 7, "parameters": 9, "notes": (), "seconds": 1.0
}  # fmt: skip
CLASSES = ("joy", "fear", "rage")


@pytest.fixture
def manifest() -> Manifest:
    return Manifest(
        corpus="table",
        classes=CLASSES,
        utterances=tuple(
            Utterance(utterance_id=name, audio_path="x.wav", speaker=speaker, emotion=label)
            for name, (label, _, speaker) in {**FOLD_1, **FOLD_2}.items()
        ),
        skipped=(Skipped(utterance_id="z", audio_path="/z.wav", reason="is truncated"),),
    )


def table(fold: int, rows: dict[str, tuple[str, str, str]]) -> pa.Table:
    certain = np.array([[float(p == c) for c in CLASSES] for _, p, _ in rows.values()], "float32")
    return pa.table(
        {
            "utterance_id": list(rows),
            "speaker": [speaker for *_, speaker in rows.values()],
            "fold": pa.array([fold] * len(rows), pa.int64()),
            "label": [label for label, *_ in rows.values()],
            "prediction": [predicted for _, predicted, _ in rows.values()],
            **{f"p_{name}": certain[:, i] for i, name in enumerate(CLASSES)},
        }
    )


def fold_result(fold: int, wa: float, ua: float) -> FoldRow:
    return FoldRow(fold=fold, name=f"Session{fold}", n_train=3, n_validation=0, n=3, epoch=2, wa=wa, ua=ua)


def test_pooled_predictions_are_all_utterances_by_id(manifest: Manifest) -> None:
    pooled = pool_predictions(manifest, [table(2, FOLD_2), table(1, FOLD_1)])
    assert pooled["utterance_id"].to_pylist() == list("abcdef")
    assert pooled["fold"].to_pylist() == [1, 1, 1, 2, 2, 2]
    assert pooled["prediction"].to_pylist() == ["joy", "joy", "joy", "joy", "fear", "rage"]


@pytest.mark.parametrize(
    ("second", "named"),
    [
        ({"d": FOLD_2["d"], "e": FOLD_2["e"]}, r"\['f'\]"),
        (FOLD_2 | {"a": FOLD_1["a"]}, r"\['a'\]"),
        (FOLD_2 | {"x": FOLD_1["a"]}, r"\['x'\]"),
    ],
)
def test_an_utterance_scored_twice_or_never_or_unknown_is_an_error_naming_it(
    manifest: Manifest, second: dict[str, tuple[str, str, str]], named: str
) -> None:
    with pytest.raises(RuntimeError, match=named):
        pool_predictions(manifest, [table(1, FOLD_1), table(2, second)])


@pytest.fixture
def results(manifest: Manifest) -> RunResult:
    pooled = pool_predictions(manifest, [table(1, FOLD_1), table(2, FOLD_2)])
    folds = [fold_result(2, wa=2 / 3, ua=0.75), fold_result(1, wa=2 / 3, ua=0.5)]
    return summarise(manifest, folds, pooled, **FACTS)


def test_pooled_scores_by_hand(results: RunResult) -> None:
    """WA: 4 of 6. UA: joy 3 of 4, fear 1 of 2, mean 5/8; rage is absent and does not count."""
    pooled = results.pooled
    assert pooled.n == 6
    assert pooled.wa == pytest.approx(4 / 6)
    assert pooled.ua == pytest.approx(5 / 8)
    assert pooled.absent_classes == ("rage",)
    # Four of six are joy; two classes are present.
    assert (pooled.chance_wa, pooled.chance_ua) == (pytest.approx(4 / 6), 0.5)
    assert results.confusion == ((3, 0, 1), (1, 1, 0), (0, 0, 0))
    # F1: joy 2 x 3 / (4 + 4), fear 2 / (2 + 1), rage 0.
    assert pooled.macro_f1 == pytest.approx((6 / 8 + 2 / 3 + 0) / 3)
    # Always certain, right four times out of six.
    assert pooled.calibration_error == pytest.approx(1 / 3)
    for name in ("wa", "ua"):
        low, high = getattr(pooled, f"{name}_ci95")
        assert 0 <= low <= getattr(pooled, name) <= high <= 1


def test_the_calibration_error_in_use_is_at_each_folds_temperature() -> None:
    """Fold 1 says 0.9, and is right half of the time: 0.75 at a temperature of 2. Fold 2 says 0.75 and keeps it."""
    rows = [(1, "joy", 0.9), (1, "fear", 0.9), (2, "joy", 0.75), (2, "joy", 0.75)]
    predictions = pa.table(
        {
            "speaker": ["S1", "S2", "S3", "S4"],
            "fold": [fold for fold, *_ in rows],
            "label": [label for _, label, _ in rows],
            "prediction": ["joy"] * 4,
            "p_joy": [p for *_, p in rows],
            "p_fear": [1 - p for *_, p in rows],
        }
    )
    found = pooled_scores(("joy", "fear"), predictions, {1: 2.0, 2: 1.0})
    # All four are in one bin then: they say 0.75, and three of four are right.
    assert found.calibrated_error == pytest.approx(0.0, abs=1e-6)
    assert found.calibration_error == pytest.approx((2 * 0.4 + 2 * 0.25) / 4)
    assert pooled_scores(("joy", "fear"), predictions, {1: 2.0, 2: None}).calibrated_error is None


def test_votes_are_compared_with_the_predictions_of_utterances_that_have_them(manifest: Manifest) -> None:
    """All predictions are certain. a: half of the votes are for joy, which is predicted; e: all, for what is."""
    votes = {"a": (0.5, 0.5, 0.0), "e": (0.0, 1.0, 0.0)}
    utterances = tuple(dataclasses.replace(u, votes=votes.get(u.utterance_id)) for u in manifest.utterances)
    pooled = pool_predictions(manifest, [table(1, FOLD_1), table(2, FOLD_2)])
    folds = [fold_result(1, 0, 0), fold_result(2, 0, 0)]
    found = summarise(dataclasses.replace(manifest, utterances=utterances), folds, pooled, **FACTS).votes
    assert found is not None and found.n == 2
    kl = 0.5 * math.log(0.5) + 0.5 * (math.log(0.5) - math.log(1e-12))
    # Of (1/2, 1/2) and (1, 0) the middle is (3/4, 1/4).
    js = (math.log(2 / 3) / 2 + math.log(2) / 2 + math.log(4 / 3)) / 2
    assert (found.kl, found.js) == (pytest.approx(kl / 2), pytest.approx(js / 2))


def test_a_corpus_without_votes_has_no_scores_of_them(results: RunResult, tmp_path: Path) -> None:
    assert results.votes is None
    folder = Folder.at(str(tmp_path))
    results.write(folder)
    assert "votes" not in folder.read_json("results.json")
    voted = dataclasses.replace(results, votes=VoteScores(n=2, kl=0.5, js=0.25))
    voted.write(folder)
    assert RunResult.read(folder).votes == voted.votes


def test_mean_and_sample_standard_deviation_over_folds(results: RunResult) -> None:
    assert dataclasses.astuple(results.mean) == pytest.approx((2 / 3, 0.625))
    assert dataclasses.astuple(results.std) == pytest.approx((0, 0.25 / math.sqrt(2)))


def test_folds_are_in_order_and_facts_and_skipped_files_are_kept(results: RunResult) -> None:
    assert [f.fold for f in results.folds] == [1, 2]
    assert results.protocol == "nested" and results.seed == 7
    assert results.classes == CLASSES
    assert results.corpus.utterances == 6 and results.corpus.speakers == 4
    assert results.skipped == (Skipped(utterance_id="z", audio_path="/z.wav", reason="is truncated"),)


def test_the_confusion_matrix_counts_classes_by_name(manifest: Manifest) -> None:
    """Not by order of appearance: here all are predicted as the last class."""
    rows = {name: (label, "rage", s) for name, (label, _, s) in {**FOLD_1, **FOLD_2}.items()}
    pooled = pool_predictions(manifest, [table(1, rows)])
    folds = [fold_result(1, 0, 0), fold_result(2, 0, 0)]
    assert summarise(manifest, folds, pooled, **FACTS).confusion == ((0, 0, 4), (0, 0, 2), (0, 0, 0))


def test_scores_of_classes_and_speakers_are_part_of_the_results(results: RunResult) -> None:
    joy, fear, rage = results.by_class
    assert (joy.n, joy.recall, fear.n, fear.recall, rage.n, rage.recall) == (4, 3 / 4, 2, 1 / 2, 0, None)
    assert [(s.name, s.n, s.wa) for s in results.by_speaker] == [
        ("S1", 2, 0.5),
        ("S2", 1, 1.0),
        ("S3", 2, 0.5),
        ("S4", 1, 1.0),
    ]
    assert results.interval_method == "t"
