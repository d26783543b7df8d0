"""Published partitions: parts as given, one training, and what the parts share is known beside every score."""

from __future__ import annotations

import dataclasses

import pytest

from raysys.config import CorpusConfig
from raysys.data.folds import check_folds, make_folds, published_partition
from raysys.data.manifest import UNKNOWN, Manifest, Utterance
from raysys.data.partition import Partition, part_named, partition_notes, parts_tested
from raysys.errors import ConfigError, ManifestError

CLASSES = ("calm", "tense")
GIVEN = CorpusConfig(name="table", root="x.csv", folds="given")
# Id: speaker, emotion, part. Ana trains and is tested; who says u and v is not known.
ROWS = {
    "a": ("ana", "calm", "train"),
    "b": ("bo", "tense", "train"),
    "c": ("cy", "calm", "validation"),
    "d": ("ana", "tense", "test1"),
    "e": ("di", "calm", "test2"),
    "u": (UNKNOWN, "calm", "train"),
    "v": (UNKNOWN, "tense", "test2"),
}


def manifest_of(rows: dict[str, tuple[str, str, str | None]]) -> Manifest:
    utterances = tuple(
        Utterance(utterance_id=name, audio_path="/a.wav", speaker=speaker, emotion=emotion, split=split)
        for name, (speaker, emotion, split) in rows.items()
    )
    return Manifest(corpus="table", title="calls", classes=CLASSES, utterances=utterances)


@pytest.mark.parametrize(
    ("word", "part"),
    [
        ("train", "train"),
        ("Train", "train"),
        ("validation", "validation"),
        ("Valid", "validation"),
        ("val", "validation"),
        ("DEV", "validation"),
        ("Development", "validation"),
        (" test ", "test"),
        ("Test1", "test1"),
        ("test_2", "test2"),
        ("test 03", "test3"),
        ("training", None),
        ("holdout", None),
        ("1", None),
        ("test" + "9" * 5000, None),
    ],
)
def test_words_for_parts_in_any_case(word: str, part: str | None) -> None:
    assert part_named(word) == part


def test_a_given_partition_is_one_fold_with_its_parts_and_all_test_parts() -> None:
    (fold,) = make_folds(manifest_of(ROWS), GIVEN)
    assert (fold.index, fold.name) == (0, "given")
    assert (fold.train, fold.validation, fold.test) == (("a", "b", "u"), ("c",), ("d", "e", "v"))


def test_what_is_to_be_tested_is_what_the_test_parts_hold() -> None:
    manifest = manifest_of(ROWS)
    assert [u.utterance_id for u in manifest.tested] == ["d", "e", "v"]
    assert parts_tested(manifest) == ["test1", "test2"]
    rotated = manifest_of({name: (speaker, emotion, None) for name, (speaker, emotion, _) in ROWS.items()})
    assert rotated.tested == rotated.utterances and parts_tested(rotated) == []


def test_test_parts_are_in_the_order_of_their_numbers() -> None:
    more = {f"t{n}": ("di", "calm", f"test{n}") for n in (10, 2, 1)}
    assert parts_tested(manifest_of(ROWS | more)) == ["test1", "test2", "test10"]


def test_shared_and_unknown_speakers_are_counted_and_told() -> None:
    manifest = manifest_of(ROWS)
    partition = published_partition(manifest, GIVEN, make_folds(manifest, GIVEN))
    # Ana is in two parts; four speakers are known.
    assert partition == Partition(name="given partition", speakers=4, shared=1, tested=2, heard=1, unknown=2)
    assert partition.described == "given partition, whose parts share 1 of 4 known speakers (1 of 2 tested ones)"
    sizes, shared, unknown = partition_notes(partition, manifest)
    assert sizes.endswith(": train 3, validation 1, test1 1, test2 2 utterances")
    assert shared == (
        "the model has heard 1 of the 2 speakers that it is tested on: the scores are no estimate for new speakers"
    )
    assert unknown.startswith("2 utterances are of unknown speakers")


def test_a_partition_that_keeps_speakers_apart_says_so_and_nothing_more() -> None:
    manifest = manifest_of(
        {name: row for name, row in ROWS.items() if row[0] != UNKNOWN} | {"d": ("eli", "tense", "test1")}
    )
    partition = published_partition(manifest, GIVEN, make_folds(manifest, GIVEN))
    assert partition is not None and partition.described == "given partition, whose parts share 0 of 5 speakers"
    assert len(partition_notes(partition, manifest)) == 1


def test_a_speaker_trained_and_validated_on_is_shared_but_not_heard_before_its_test() -> None:
    manifest = manifest_of(ROWS | {"c": ("bo", "calm", "validation"), "d": ("eli", "tense", "test1")})
    partition = published_partition(manifest, GIVEN, make_folds(manifest, GIVEN))
    assert partition is not None and (partition.shared, partition.heard, partition.tested) == (1, 0, 2)
    assert partition.described.endswith("share 1 of 4 known speakers (0 of 2 tested ones)")


def test_where_no_speaker_is_known_nobody_can_say_what_is_shared() -> None:
    manifest = manifest_of({name: (UNKNOWN, emotion, split) for name, (_, emotion, split) in ROWS.items()})
    partition = published_partition(manifest, GIVEN, make_folds(manifest, GIVEN))
    assert partition is not None and partition.described == "given partition, whose speakers are unknown"
    assert manifest.speakers == ()


def test_one_speaker_is_enough() -> None:
    manifest = manifest_of({name: ("ana", emotion, split) for name, (_, emotion, split) in ROWS.items()})
    partition = published_partition(manifest, GIVEN, make_folds(manifest, GIVEN))
    assert partition is not None and (partition.shared, partition.speakers) == (1, 1)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"b": ("bo", "calm", "train")}, r"fold 'given' has no training utterance of class 'tense'"),
        (
            {"c": ("cy", "calm", "train")},
            r"no validation part, found train 4, test1 1, test2 2\. Epochs are chosen on it: name one, .*or use "
            r"another --corpus\.folds",
        ),
        (
            dict.fromkeys("abu", ("cy", "calm", "validation")),
            r"no train part, found validation 4, test1 1, test2 2",
        ),
        (dict.fromkeys("dev", ("cy", "calm", "train")), r"no test part, found train 6, validation 1"),
        (
            dict.fromkeys("ad", ("cy", "calm", None)),
            r"calls: .*2 of 7 have none, such as 'a'\. Fill column 'split'",
        ),
    ],
)
def test_a_partition_that_cannot_be_trained_or_tested_is_refused(
    changes: dict[str, tuple[str, str, str | None]], found: str
) -> None:
    with pytest.raises(ManifestError, match=found):
        make_folds(manifest_of(ROWS | changes), GIVEN)


def test_an_utterance_may_be_tested_once_at_most() -> None:
    manifest = manifest_of(ROWS)
    (fold,) = make_folds(manifest, GIVEN)
    twice = (fold, dataclasses.replace(fold, index=1))
    with pytest.raises(ManifestError, match=r"3 utterances are not tested exactly once, such as 'd' \(2 times\)"):
        check_folds(manifest, twice, published=True)


@pytest.mark.parametrize("folds", ["speaker", "groups", "auto"])
def test_folds_that_keep_speakers_apart_need_to_know_them(folds: str) -> None:
    config = dataclasses.replace(GIVEN, folds=folds)  # type: ignore[arg-type]
    with pytest.raises(ManifestError, match=r"speakers of 2 of 7 utterances are unknown, such as 'u'.*folds given"):
        make_folds(manifest_of(ROWS), config)


def test_the_parts_are_part_of_a_corpuss_fingerprint_and_of_its_file() -> None:
    manifest = manifest_of(ROWS)
    assert Manifest.from_table(manifest.to_table()) == manifest
    moved = manifest_of(ROWS | {"e": ("di", "calm", "test1")})
    assert moved.fingerprint() != manifest.fingerprint()


def test_only_a_table_has_parts_to_give() -> None:
    with pytest.raises(ConfigError, match=r"--corpus\.folds given takes the parts from a table's column 'split'"):
        CorpusConfig(name="ravdess", root="x", folds="given")
