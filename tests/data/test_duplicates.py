"""Duplicate audio is reported, and refused if a fold learns from one copy and tests the other, unless allowed."""

from __future__ import annotations

import dataclasses

import pytest

from raysys.data.duplicates import Duplicate, Leak, check_duplicates, equal_bytes, leaks
from raysys.data.folds import Fold
from raysys.data.manifest import Manifest, Utterance
from raysys.errors import ManifestError


def utterance(name: str, digest: str, **more: float) -> Utterance:
    return Utterance(
        utterance_id=name, audio_path=f"/{name}.wav", speaker=name[0], emotion="calm", digest=digest, **more
    )


MANIFEST = Manifest(
    corpus="table",
    classes=("calm", "tense"),
    utterances=(utterance("a1", "x"), utterance("a2", "x"), utterance("b1", "y"), utterance("c1", "y")),
)
FOLDS = (
    Fold(index=0, name="a", train=("c1",), validation=("b1",), test=("a1", "a2")),
    Fold(index=1, name="b", train=("a1", "a2"), validation=("c1",), test=("b1",)),
    Fold(index=2, name="c", train=("b1",), validation=("a1", "a2"), test=("c1",)),
)


def group(*names: str) -> Duplicate:
    return Duplicate(utterance_ids=names, speakers=(), emotions=())


def test_only_equal_stretches_of_a_file_are_equal_audio() -> None:
    parts = (
        utterance("a", "x", start_s=0.0, end_s=1.0),
        utterance("b", "x", start_s=0.5, end_s=1.0),
        utterance("c", "x", end_s=1.0),
        utterance("d", "x"),
        utterance("e", "y", end_s=1.0),
    )
    assert [d.utterance_ids for d in equal_bytes(parts)] == [("a", "c")]


def test_a_leak_is_between_the_test_part_and_the_training_or_validation_part() -> None:
    assert leaks([group("a1", "a2")], FOLDS) == [], "both are always in one part"
    assert leaks([group("b1", "c1")], FOLDS) == [
        Leak(fold="b", part="validation", learned="c1", tested="b1"),
        Leak(fold="c", part="train", learned="b1", tested="c1"),
    ]


def test_a_fold_that_tests_nothing_leaks_nothing() -> None:
    everything = Fold(index=3, name="all", train=("a1", "a2", "b1", "c1"), validation=(), test=())
    assert leaks([group("b1", "c1")], [everything]) == []


def test_a_leak_is_an_error_that_names_the_files_and_the_fix() -> None:
    with pytest.raises(ManifestError) as error:
        check_duplicates(MANIFEST, FOLDS, equal_bytes(MANIFEST.utterances), "to the byte", allowed=False)
    message = str(error.value)
    assert "table: 2 utterance(s)" in message and "equal to the byte" in message
    assert "fold 'b' tests /b1.wav (b1), whose audio is also in its validation part, as /c1.wav (c1)" in message
    assert "--corpus.allow-duplicates" in message and "a1" not in message


def test_the_first_five_leaks_are_listed_and_the_others_counted() -> None:
    many = [utterance(f"{speaker}{i}", f"{i}") for i in range(9) for speaker in "bc"]
    manifest = dataclasses.replace(MANIFEST, utterances=tuple(many))
    ids = {speaker: tuple(f"{speaker}{i}" for i in range(9)) for speaker in "bc"}
    fold = Fold(index=0, name="b", train=ids["c"], validation=(), test=ids["b"])
    with pytest.raises(ManifestError, match="and 4 more") as error:
        check_duplicates(manifest, [fold], equal_bytes(many), "to the byte", allowed=False)
    assert str(error.value).count("fold 'b' tests") == 5


def test_allowed_or_harmless_duplicates_are_reported_with_ids_and_count() -> None:
    duplicates = equal_bytes(MANIFEST.utterances)
    (note,) = check_duplicates(MANIFEST, FOLDS, duplicates, "to the byte", allowed=True)
    assert note == (
        "4 utterances have audio identical to another's, equal to the byte (2 group(s)): a1 = a2; b1 = c1. "
        "2 of them are tested in folds that learn from a duplicate, which inflates the scores."
    )
    (note,) = check_duplicates(MANIFEST, FOLDS, duplicates[:1], "to the byte", allowed=False)
    assert note.endswith("(1 group(s)): a1 = a2.")
    assert check_duplicates(MANIFEST, FOLDS, (), "to the byte", allowed=False) == ()
