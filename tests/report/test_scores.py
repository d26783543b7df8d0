"""Scores computed by the report itself, checked by hand."""

from __future__ import annotations

import pyarrow as pa
import pytest

from raysys.data.manifest import Manifest
from raysys.metrics import calibration_error
from raysys.report.parts import indices
from raysys.report.scores import probabilities, reliability_bins, surest_mistakes
from tests.report.by_hand import CLASSES, six_predictions, six_utterances


@pytest.fixture
def manifest() -> Manifest:
    return six_utterances()


@pytest.fixture
def predictions() -> pa.Table:
    return six_predictions()


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
