"""Corpus statistics: counted by hand, and no duplicate goes unnoticed."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from raysys.data.duplicates import Duplicate
from raysys.data.folds import Fold
from raysys.data.manifest import Manifest, Skipped, Utterance
from raysys.data.statistics import corpus_statistics, statistics_lines


def utterance(name: str, speaker: str, emotion: str, duration_s: float, **more: Any) -> Utterance:
    digest = more.pop("digest", f"bytes of {name}")
    return Utterance(
        utterance_id=name,
        audio_path=f"/{name}.wav",
        speaker=speaker,
        emotion=emotion,
        duration_s=duration_s,
        digest=digest,
        **more,
    )


@pytest.fixture
def manifest() -> Manifest:
    return Manifest(
        corpus="table",
        classes=("tense", "calm", "never"),
        utterances=(
            utterance("a", "bo", "calm", 1.0, transcript="Hi.", session="2"),
            utterance("b", "bo", "calm", 2.0, transcript="", session="2"),
            utterance("c", "bo", "tense", 4.0, session="1"),
            utterance("d", "ana", "tense", 3.0),
            utterance("e", "cy", "calm", 10.0, transcript="Oh.", session="10"),
            utterance("f", "cy", "calm", 7.0),
        ),
        skipped=(Skipped(utterance_id="z", audio_path="/z.wav", reason="is truncated"),),
    )


FOLDS = (
    Fold(index=0, name="group-1", train=("a", "b", "c"), validation=("e", "f"), test=("d",)),
    Fold(index=1, name="group-2", train=("d",), validation=("a", "b", "c"), test=("e", "f")),
)


def with_digests(manifest: Manifest, **digests: str) -> Manifest:
    utterances = [
        dataclasses.replace(u, digest=digests[u.utterance_id]) if u.utterance_id in digests else u
        for u in manifest.utterances
    ]
    return dataclasses.replace(manifest, utterances=tuple(utterances))


def test_counts_by_hand(manifest: Manifest) -> None:
    found = corpus_statistics(manifest)
    assert found.corpus == "table" and found.fingerprint == manifest.fingerprint()
    assert list(found.classes.items()) == [("tense", 2), ("calm", 4), ("never", 0)]
    assert found.speakers == {"ana": 1, "bo": 3, "cy": 2}
    assert found.sessions == {"1": 1, "2": 2, "10": 1}
    assert found.durations_s == (1.0, 2.0, 3.0, 4.0, 7.0, 10.0)
    assert found.with_transcript == 3
    assert found.skipped == manifest.skipped
    assert found.same_bytes == () and found.same_waveform is None


def test_what_is_printed_by_hand(manifest: Manifest) -> None:
    """27 s in six utterances: mean 4.5, median 3.5; the 95th percentile is 3/4 of the way from 7 to 10."""
    assert statistics_lines(corpus_statistics(manifest, {}), FOLDS).splitlines() == [
        f"corpus      table, fingerprint {manifest.fingerprint()}",
        "utterances  6, 0.01 h, 3 with a transcript (50.0%)",
        "classes     tense 2 (33.3%), calm 4 (66.7%), never 0 (0.0%)",
        "speakers    3; utterances of each: min 1, median 2, max 3",
        "durations   min 1.00 s, median 3.50 s, mean 4.50 s, 95th percentile 9.25 s, max 10.00 s",
        "sessions    1 1, 10 1, 2 2",
        "folds       2: utterances to train, validate, test",
        "  group-1: 3, 2, 1",
        "  group-2: 1, 3, 2",
        "duplicates  none equal to the byte",
        "duplicates  none equal to the sample once decoded, in addition",
        "skipped     1 utterance(s) that cannot be used",
        "  z: /z.wav is truncated",
    ]


def test_files_equal_to_the_byte_are_named_with_their_speakers_and_classes(manifest: Manifest) -> None:
    found = corpus_statistics(with_digests(manifest, a="x", b="x", c="y", d="y", f="y"))
    assert found.same_bytes == (
        Duplicate(utterance_ids=("a", "b"), speakers=("bo",), emotions=("calm",)),
        Duplicate(utterance_ids=("c", "d", "f"), speakers=("ana", "bo", "cy"), emotions=("calm", "tense")),
    )
    text = statistics_lines(found, FOLDS)
    lines = text.splitlines()
    at = lines.index("duplicates  2 group(s) equal to the byte")
    assert lines[at + 1] == "  a, b (bo; calm)"
    assert lines[at + 2].startswith("  c, d, f (ana, bo, cy; calm, tense): DIFFERENT SPEAKERS")
    assert lines[at + 2].endswith("DIFFERENT CLASSES")
    assert "once decoded" not in text, "waveforms were not compared"


def test_equal_waveforms_are_listed_once_if_the_bytes_are_equal_too(manifest: Manifest) -> None:
    """b and a are byte-identical, and so have equal waveforms; those of c and d are equal in different files."""
    same = with_digests(manifest, a="x", b="x")
    found = corpus_statistics(same, {"a": "1", "b": "1", "c": "2", "d": "2", "e": "3"})
    assert [d.utterance_ids for d in found.same_bytes] == [("a", "b")]
    assert found.same_waveform is not None
    assert [d.utterance_ids for d in found.same_waveform] == [("c", "d")]
    larger = corpus_statistics(same, {"a": "1", "b": "1", "c": "1"})
    assert larger.same_waveform is not None
    assert [d.utterance_ids for d in larger.same_waveform] == [("a", "b", "c")]
    lines = statistics_lines(found, FOLDS).splitlines()
    at = lines.index("duplicates  1 group(s) equal to the sample once decoded, in addition")
    assert lines[at + 1].startswith("  c, d (ana, bo; tense): DIFFERENT SPEAKERS")


def test_long_lists_end_with_the_number_of_further_entries(manifest: Manifest) -> None:
    many = tuple(Skipped(utterance_id=f"s{i}", audio_path="/s.wav", reason="is truncated") for i in range(23))
    lines = statistics_lines(corpus_statistics(dataclasses.replace(manifest, skipped=many)), FOLDS).splitlines()
    assert lines[-22:-20] == ["skipped     23 utterance(s) that cannot be used", "  s0: /s.wav is truncated"]
    assert lines[-1] == "  ... and 3 more"
