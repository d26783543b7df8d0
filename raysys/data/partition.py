"""Published partitions: training, validation and test parts as a corpus defines them, instead of groups in rotation.

They alone may have a speaker in two parts, or utterances of unknown speakers. Every score from one says so.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from raysys.data.manifest import UNKNOWN, Manifest
from raysys.errors import ManifestError

if TYPE_CHECKING:
    from raysys.data.folds import Fold

WORDS = "train, validation (or valid, val, dev, development), or test (test1, test2, ... for several test parts)"
"""What a column 'split' may hold, in any case."""
_VALIDATION = ("validation", "valid", "val", "dev", "development")
_TEST = re.compile(r"test[ _-]?([0-9]{0,3})")
_REMEDY = {
    "train": "Name the utterances to train on 'train' in column 'split'.",
    "validation": "Epochs are chosen on it: name one, such as some speakers of the training part, or use another "
    "--corpus.folds.",
    "test": "Name the utterances to test 'test' in column 'split'.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """What must be known of a published partition beside each of its scores.

    Attributes:
        name: such as 'given partition'.
        speakers: how many are known; shared: how many of them are in two parts of a fold.
        tested: how many of them are tested; heard: how many of these are in what a model that is tested on them learned
            from, or was chosen by.
        unknown: number of utterances of unknown speakers.
    """

    name: str
    speakers: int
    shared: int
    tested: int
    heard: int
    unknown: int = 0

    @property
    def described(self) -> str:
        """Such as 'given partition, whose parts share 3 of 24 speakers (2 of 10 tested ones)'."""
        if not self.speakers:
            return f"{self.name}, whose speakers are unknown"
        known = " known" if self.unknown else ""
        tested = f" ({self.heard} of {self.tested} tested ones)" if self.shared else ""
        return f"{self.name}, whose parts share {self.shared} of {self.speakers}{known} speakers{tested}"


def part_named(word: str) -> str | None:
    """The part that a word of a column 'split' means: 'train', 'validation', 'test' or 'test<n>'; None if none."""
    plain = word.strip().casefold()
    if plain in _VALIDATION:
        return "validation"
    if (test := _TEST.fullmatch(plain)) is not None:
        return f"test{int(test[1])}" if test[1] else "test"
    return plain if plain == "train" else None


def refuse_unknown_speakers(manifest: Manifest) -> None:
    """Raises: ManifestError: an utterance's speaker is not known, and could be in two parts of folds made here."""
    unknown = [u for u in manifest.utterances if u.speaker == UNKNOWN]
    if unknown:
        where = f" ({unknown[0].where})" if unknown[0].where else ""
        raise ManifestError(
            f"{manifest.title}: the speakers of {len(unknown)} of {len(manifest.utterances)} utterances are unknown, "
            f"such as {unknown[0].utterance_id!r}{where}, so no folds can be made that keep speakers apart. Add the "
            f"speakers, or use a published partition, which may leave them out (--corpus.folds given, or emobox)."
        )


def parts_tested(manifest: Manifest) -> list[str]:
    """The names of the test parts, in the order of their numbers; empty without a partition."""
    names = {u.split for u in manifest.utterances if u.split is not None and u.split.startswith("test")}
    return sorted(names, key=lambda name: int(name.removeprefix("test") or 0))


def given_parts(manifest: Manifest) -> dict[str, tuple[str, ...]]:
    """Ids of the utterances to train on, to validate on and to test, by 'train', 'validation' and 'test'.

    Several test parts are tested together, by one model.

    Raises:
        ManifestError: an utterance is in no part, or a part is empty.
    """
    if without := [u for u in manifest.utterances if u.split is None]:
        raise ManifestError(
            f"{manifest.title}: --corpus.folds given needs the part of every utterance; {len(without)} of "
            f"{len(manifest.utterances)} have none, such as {without[0].utterance_id!r}"
            + (f" ({without[0].where})" if without[0].where else "")
            + f". Fill column 'split' with {WORDS}."
        )
    counts = Counter(u.split for u in manifest.utterances if u.split is not None)
    members: dict[str, list[str]] = {part: [] for part in ("train", "validation", "test")}
    for utterance in manifest.utterances:
        members[str(utterance.split).rstrip("0123456789")].append(utterance.utterance_id)
    for part, found in members.items():
        if not found:
            raise ManifestError(
                f"{manifest.title}: the given partition has no {part} part, found {_sizes(counts)}. {_REMEDY[part]}"
            )
    return {part: tuple(found) for part, found in members.items()}


def partition_of(name: str, manifest: Manifest, folds: Sequence[Fold]) -> Partition:
    """What the parts of folds share.

    Args:
        name: of the partition, for people.
    """
    speaker_of = {u.utterance_id: u.speaker for u in manifest.utterances}
    shared, tested, heard = set[str](), set[str](), set[str]()
    for fold in folds:
        parts = (fold.train, fold.validation, fold.test)
        train, validation, test = ({speaker_of[member] for member in part} - {UNKNOWN} for part in parts)
        tested |= test
        heard |= test & (train | validation)
        shared |= test & (train | validation) | train & validation
    return Partition(
        name=name,
        speakers=len(manifest.speakers),
        shared=len(shared),
        tested=len(tested),
        heard=len(heard),
        unknown=manifest.n_unknown,
    )


def partition_notes(partition: Partition, manifest: Manifest) -> tuple[str, ...]:
    """What a user should know of it before training, and in the report."""
    counts = Counter(u.split for u in manifest.utterances if u.split is not None)
    notes = [partition.described + (f": {_sizes(counts)} utterances" if counts else "")]
    if partition.heard:
        notes.append(
            f"the model has heard {partition.heard} of the {partition.tested} speakers that it is tested on: the "
            f"scores are no estimate for new speakers"
        )
    if partition.unknown:
        notes.append(
            f"{partition.unknown} utterances are of unknown speakers, whom the parts may share; intervals over "
            f"speakers count each of these utterances as a speaker, and are too narrow where several are of one"
        )
    return tuple(notes)


def _sizes(counts: Counter[str]) -> str:
    names = sorted(counts, key=lambda name: (name.startswith("test"), name))
    return ", ".join(f"{name} {counts[name]}" for name in names)
