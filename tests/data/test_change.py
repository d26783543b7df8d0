"""How much augmented views change the audio: the ratio by hand, which utterances are compared, and what is told."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from raysys.config import AugmentConfig
from raysys.data.change import MEASURED, Change, change_line, change_notes, difference_ratio_db, mean_change
from raysys.data.views import Source
from raysys.storage import Folder
from tests.data.test_views import with_kept_views, write_store

OFF = AugmentConfig(lsa=False, speed=False, noise=False)
NOISY = dataclasses.replace(OFF, noise=True, noise_snr_db=(20.0, 20.0))
WAVEFORMS = {f"u{i}": np.random.default_rng(i).normal(0, 0.1, 9_000).astype(np.float32) for i in range(60)}


@pytest.fixture
def source(tmp_path: Path) -> Source:
    silent = {"silent": np.zeros(9_000, np.float32)}
    store = write_store(Folder.at(str(tmp_path)) / "store", WAVEFORMS | silent)
    return Source(store=store, augment=NOISY, crop_s=0.5, seed=0)


def augmented_by(source: Source, augment: AugmentConfig | None) -> Source:
    return dataclasses.replace(source, augment=augment)


def test_the_ratio_is_that_of_the_powers_in_decibels() -> None:
    clean_S = np.array([3.0, -4.0], np.float32)
    # Powers 25 and 0.25: a hundredth.
    assert difference_ratio_db(clean_S, np.array([3.3, -3.6], np.float32)) == pytest.approx(20, abs=1e-4)
    assert difference_ratio_db(clean_S, np.zeros(2, np.float32)) == 0
    assert difference_ratio_db(clean_S, -clean_S) == pytest.approx(-6.0206, abs=1e-4)
    assert difference_ratio_db(clean_S, clean_S) == 120


def test_the_ratio_is_refused_where_it_has_no_meaning() -> None:
    with pytest.raises(ValueError, match="4 and 3 samples"):
        difference_ratio_db(np.ones(4), np.ones(3))
    with pytest.raises(ValueError, match="silent"):
        difference_ratio_db(np.zeros(4), np.ones(4))


def test_white_noise_at_20_db_differs_by_20_db(source: Source) -> None:
    change = mean_change(source, ["silent", *WAVEFORMS][:40])
    assert change is not None and change.utterances == 39, "silence has no ratio"
    assert change.ratio_db == pytest.approx(20, abs=0.01)


def test_utterances_are_drawn_by_seed_and_id_whatever_their_order(source: Source) -> None:
    """Of a corpus sorted by speaker, the first 50 would be one speaker's."""
    varied = augmented_by(source, dataclasses.replace(NOISY, noise_snr_db=(0.0, 40.0)))
    change = mean_change(varied, list(WAVEFORMS))
    assert change is not None and change.utterances == MEASURED
    assert mean_change(varied, list(WAVEFORMS)[::-1]) == change
    assert change != mean_change(varied, list(WAVEFORMS)[:MEASURED])


def test_stored_views_are_compared_as_they_are(source: Source, tmp_path: Path) -> None:
    fresh = augmented_by(source, dataclasses.replace(NOISY, variants=2))
    stored = with_kept_views(fresh, Folder.at(str(tmp_path)), WAVEFORMS)
    assert mean_change(stored, list(WAVEFORMS)) == mean_change(fresh, list(WAVEFORMS))


def test_with_speed_those_of_equal_length_are_compared(source: Source) -> None:
    change = mean_change(augmented_by(source, dataclasses.replace(NOISY, speed=True)), list(WAVEFORMS))
    assert change is not None and 3 <= change.utterances <= 20, "a fifth of 50"
    assert change.ratio_db == pytest.approx(20, abs=0.01)


@pytest.mark.parametrize("augment", [None, OFF, dataclasses.replace(OFF, speed=True)])
def test_nothing_is_measured_without_a_second_view_or_of_speed_alone(
    source: Source, augment: AugmentConfig | None
) -> None:
    assert mean_change(augmented_by(source, augment), list(WAVEFORMS)) is None


def test_the_line_says_by_how_much_and_of_how_many() -> None:
    change = Change(ratio_db=17.6, utterances=50)
    said = "second view: differs from the first by 18 dB (signal to difference, mean of 50 utterances)"
    assert change_line(change, NOISY) == said
    at_speed = change_line(Change(ratio_db=17.6, utterances=1), dataclasses.replace(NOISY, speed=True))
    assert at_speed is not None and at_speed.endswith("mean of 1 utterance played at the same speed)")
    assert change_line(None, NOISY) is None
    alone = change_line(None, dataclasses.replace(OFF, speed=True))
    assert alone == "second view: differs from the first in speed, which is not measured"


def test_a_tiny_change_is_noted_with_flags_that_change_more() -> None:
    tiny = Change(ratio_db=62.0, utterances=50)
    (note,) = change_notes(tiny, dataclasses.replace(OFF, lsa=True), contrasts=True)
    assert "62 dB below it (over 30)" in note and "the contrastive terms compare nearly the same audio" in note
    flags = "--augment.speed, --augment.spec-augment, --augment.noise-folder, --augment.room-folder and --augment.noise"
    assert note.endswith(f"{flags} change more")
    more = dataclasses.replace(NOISY, spec_augment=True, noise_folder="/noise", room_folder="/rooms")
    (note,) = change_notes(tiny, more, contrasts=False)
    assert "cross-entropy reads nearly the same audio" in note
    assert note.endswith("--augment.speed and a lower --augment.noise-snr-db change more")


@pytest.mark.parametrize(
    ("change", "augment"),
    [
        (None, NOISY),
        (Change(ratio_db=30.0, utterances=50), NOISY),
        (Change(ratio_db=62.0, utterances=50), dataclasses.replace(OFF, lsa=True, speed=True)),
    ],
)
def test_no_note_where_views_differ_or_nothing_was_measured(change: Change | None, augment: AugmentConfig) -> None:
    assert change_notes(change, augment, contrasts=True) == []
