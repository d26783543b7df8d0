"""Scores computed by the report itself, checked by hand."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from raysys.data.manifest import Manifest, Utterance
from raysys.metrics import calibration_error
from raysys.report.scores import class_scores, dialog_parts, indices, probabilities, reliability_bins, surest_mistakes

CLASSES = ("ang", "hap")
# Transcript, label, probability of ang, fold, speaker.
ROWS: dict[str, tuple[str | None, str, float, int, str]] = {
    "Ses01_impro01_F000": ("I am here.", "ang", 0.9, 1, "A"),
    "Ses01_script01_F000": ("Where is it?", "ang", 0.2, 1, "A"),
    "Ses01_script01_F001": ("Alone.", "hap", 0.4, 1, "B"),
    "Ses02_impro01_F000": ("i AM, here", "hap", 0.95, 2, "C"),
    "Ses02_script01_F000": ("where is it", "hap", 0.1, 2, "C"),
    "Ses02_script01_F001": (None, "ang", 0.8, 2, "D"),
}
FOLDS: list[dict[str, Any]] = [
    {"index": 0, "name": "1", "train": [n for n in ROWS if "Ses02" in n], "validation": [], "test": []},
    {"index": 1, "name": "2", "train": ["Ses01_script01_F000", "Ses01_script01_F001"], "validation": [], "test": []},
    {"index": 2, "name": "all", "train": list(ROWS), "validation": [], "test": []},
]


@pytest.fixture
def manifest() -> Manifest:
    return Manifest(
        corpus="demo",
        classes=CLASSES,
        utterances=tuple(
            Utterance(utterance_id=name, audio_path="x.wav", speaker=who, emotion=label, transcript=text)
            for name, (text, label, _, _, who) in ROWS.items()
        ),
    )


@pytest.fixture
def predictions() -> pa.Table:
    angry = [row[2] for row in ROWS.values()]
    return pa.table(
        {
            "utterance_id": list(ROWS),
            "speaker": [row[4] for row in ROWS.values()],
            "fold": [row[3] for row in ROWS.values()],
            "label": [row[1] for row in ROWS.values()],
            "prediction": ["ang" if p > 0.5 else "hap" for p in angry],
            "p_ang": angry,
            "p_hap": [1 - p for p in angry],
        }
    )


def test_precision_recall_and_f1_by_hand() -> None:
    """a: 6 of 8 found, 6 of 10 predictions right; b: 1 of 5, 1 of 3; c is neither present nor predicted."""
    a, b, c = class_scores([[6, 2, 0], [4, 1, 0], [0, 0, 0]], ["a", "b", "c"])
    assert (a.precision, a.recall, a.f1, a.support) == (6 / 10, 6 / 8, pytest.approx(2 * 6 / 18), 8)
    assert (b.precision, b.recall, b.f1, b.support) == (1 / 3, 1 / 5, pytest.approx(2 * 1 / 8), 5)
    assert (c.precision, c.recall, c.f1, c.support) == (None, None, None, 0)


def test_script_disjoint_utterances_have_no_line_of_their_own_folds_training_part(
    manifest: Manifest, predictions: pa.Table
) -> None:
    """Fold 1 trains on 'I am here' and 'Where is it', but not on 'Alone'. Fold 2 trains on 'Where is it' and 'Alone',
    but not on 'I am here'; an utterance without a transcript has no line that could be new. The entry of the final
    model, which trains on all data, is not a test fold.
    """
    parts = {part.name: part for part in dialog_parts(manifest, FOLDS, predictions)}
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
    folds = [fold | {"train": list(ROWS)} for fold in FOLDS]
    part = dialog_parts(manifest, folds, predictions)[-1]
    assert (part.n, part.wa, part.ua, part.wa_ci95, part.ua_ci95) == (0, None, None, None, None)


def test_the_bins_gaps_add_up_to_the_calibration_error(predictions: pa.Table) -> None:
    bins = reliability_bins(predictions, CLASSES)
    assert len(bins) == 15 and sum(b.n for b in bins) == 6
    gaps = sum(
        b.n * abs(b.accuracy - b.confidence) for b in bins if b.accuracy is not None and b.confidence is not None
    )
    expected = calibration_error(probabilities(predictions, CLASSES), indices(predictions, "label", CLASSES))
    assert gaps / 6 == pytest.approx(expected)
    # 0.9 and 0.9 are right, 0.95 is wrong: bins 13/15 to 14/15 and 14/15 to 1.
    assert [(b.n, b.accuracy) for b in bins[-2:]] == [(2, 1.0), (1, 0.0)]


def test_mistakes_are_the_wrong_predictions_the_surest_first(manifest: Manifest, predictions: pa.Table) -> None:
    found = surest_mistakes(manifest, predictions)
    assert [m.utterance.utterance_id for m in found] == ["Ses02_impro01_F000", "Ses01_script01_F000"]
    assert (found[0].predicted, found[0].probability, found[0].fold) == ("ang", 0.95, 2)
    assert found[0].true_probability == pytest.approx(0.05)
    assert [m.utterance.utterance_id for m in surest_mistakes(manifest, predictions, most=1)] == ["Ses02_impro01_F000"]
