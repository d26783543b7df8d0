"""Scores of parts of the test utterances, checked by hand."""

from __future__ import annotations

import dataclasses

import pyarrow as pa
import pytest

from raysys.data.folds import Fold
from raysys.data.manifest import Manifest
from raysys.intervals import interval
from raysys.report.parts import class_scores, dialog_scores, sex_scores, speaker_scores
from tests.report.by_hand import CLASSES, ROWS, six_predictions, six_utterances

FOLDS = tuple(
    Fold(index=index, name=name, train=tuple(train), validation=(), test=())
    for index, (name, train) in enumerate(
        {
            "1": [n for n in ROWS if "Ses02" in n],
            "2": ["Ses01_script01_F000", "Ses01_script01_F001"],
            "all": [*ROWS],
        }.items()
    )
)


@pytest.fixture
def manifest() -> Manifest:
    return six_utterances()


@pytest.fixture
def predictions() -> pa.Table:
    return six_predictions()


def table(confusion: list[list[int]], classes: str) -> pa.Table:
    """An utterance per count of a confusion matrix, all of one speaker."""
    pairs = [
        (true, predicted)
        for true, row in zip(classes, confusion, strict=True)
        for predicted, n in zip(classes, row, strict=True)
        for _ in range(n)
    ]
    columns = {"label": [true for true, _ in pairs], "prediction": [predicted for _, predicted in pairs]}
    return pa.table({"speaker": ["A"] * len(pairs), "fold": [1] * len(pairs), **columns})


def test_precision_recall_and_f1_by_hand() -> None:
    """a: 6 of 8 found, 6 of 10 predictions right; b: 1 of 5, 1 of 3; c is neither present nor predicted."""
    a, b, c = class_scores(table([[6, 2, 0], [4, 1, 0], [0, 0, 0]], "abc"), "abc")
    assert (a.precision, a.recall, a.f1, a.n) == (6 / 10, 6 / 8, pytest.approx(2 * 6 / 18), 8)
    assert (b.precision, b.recall, b.f1, b.n) == (1 / 3, 1 / 5, pytest.approx(2 * 1 / 8), 5)
    assert (c.precision, c.recall, c.f1, c.n, c.speakers) == (None, None, None, 0, 0)
    # One speaker says nothing about others.
    assert (a.speakers, a.recall_ci95, c.recall_ci95) == (1, None, None)


def test_a_recall_of_several_speakers_has_an_interval(predictions: pa.Table) -> None:
    ang, hap = class_scores(predictions, CLASSES)
    # ang: A 1 of 2 in fold 1, D 1 of 1 in fold 2; hap: B 1 of 1 in fold 1, C 1 of 2 in fold 2.
    assert (ang.n, ang.speakers, ang.recall) == (3, 2, pytest.approx(2 / 3))
    assert ang.recall_ci95 == interval([0, 0, 0], [0, 1, 0], list("AAD"), [1, 1, 2], "wa")
    assert hap.recall_ci95 is not None


def test_speakers_are_scored_one_by_one(predictions: pa.Table) -> None:
    """A: ang 1 of 2. B and D: their only one. C: hap 1 of 2."""
    found = speaker_scores(predictions, CLASSES)
    assert [(s.name, s.n, s.wa, s.ua) for s in found] == [
        ("A", 2, 0.5, 0.5),
        ("B", 1, 1.0, 1.0),
        ("C", 2, 0.5, 0.5),
        ("D", 1, 1.0, 1.0),
    ]
    assert all(s.wa_ci95 is None and s.ua_ci95 is None for s in found)


def test_sexes_are_scored_where_they_are_known(manifest: Manifest, predictions: pa.Table) -> None:
    assert sex_scores(manifest, predictions, manifest.classes) == ()
    sex_of = {"A": "F", "B": "F", "C": "M", "D": None}
    known = tuple(dataclasses.replace(u, sex=sex_of[u.speaker]) for u in manifest.utterances)
    female, male = sex_scores(dataclasses.replace(manifest, utterances=known), predictions, manifest.classes)
    assert (female.name, female.n, female.speakers, female.wa) == ("female", 3, 2, pytest.approx(2 / 3))
    # Recalls: ang 1 of 2, hap 1 of 1.
    assert female.ua == 0.75 and female.wa_ci95 is not None
    assert (male.name, male.n, male.speakers, male.wa, male.wa_ci95) == ("male", 2, 1, 0.5, None)


def test_script_disjoint_utterances_have_no_line_of_their_own_folds_training_part(
    manifest: Manifest, predictions: pa.Table
) -> None:
    """Fold 1 trains on 'I am here' and 'Where is it', but not on 'Alone'. Fold 2 trains on 'Where is it' and 'Alone',
    but not on 'I am here'; an utterance without a transcript has no line that could be new. The entry of the final
    model, which trains on all data, is not a test fold.
    """
    parts = {part.name: part for part in dialog_scores(manifest, FOLDS, predictions)}
    assert {name: part.n for name, part in parts.items()} == {
        "all": 6,
        "improvised": 2,
        "scripted": 4,
        "script-disjoint": 2,
    }
    # Alone: hap, right. I am here (fold 2): hap, predicted as ang.
    assert parts["script-disjoint"].wa == 0.5
    # Right: all but Ses01_script01_F000 and Ses02_impro01_F000.
    assert parts["all"].wa == pytest.approx(4 / 6)
    assert parts["improvised"].wa == 0.5 and parts["scripted"].wa == 0.75
    # Scripted: ang 1 of 2, hap 2 of 2.
    assert parts["scripted"].ua == 0.75


def test_a_part_without_utterances_has_no_scores(manifest: Manifest, predictions: pa.Table) -> None:
    """Every line is in the training part of every fold."""
    folds = [dataclasses.replace(fold, train=tuple(ROWS)) for fold in FOLDS]
    part = dialog_scores(manifest, folds, predictions)[-1]
    assert (part.n, part.wa, part.ua, part.wa_ci95, part.ua_ci95) == (0, None, None, None, None)


def test_only_dialogs_are_scored_by_their_kind(manifest: Manifest, predictions: pa.Table) -> None:
    assert dialog_scores(dataclasses.replace(manifest, corpus="ravdess"), FOLDS, predictions) == ()
