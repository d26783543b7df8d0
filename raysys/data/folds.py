"""Folds: each group of a corpus is tested once, and no speaker is in two parts; or a published partition as it is."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from raysys.config import GROUPS, CorpusConfig
from raysys.data.dealing import deal
from raysys.data.manifest import Manifest, Utterance
from raysys.data.partition import Partition, given_parts, partition_of, refuse_unknown_speakers
from raysys.errors import ManifestError

_MOST_SPEAKERS_LEFT_OUT_ONE_BY_ONE = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """One split of the corpus, as utterance ids in the manifest's order.

    Attributes:
        index: position among the folds, from 0.
        name: the group that is tested, such as 'Session1'; 'given' of a given partition.
        train, validation, test: utterance ids; together the whole corpus.
    """

    index: int
    name: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


def make_folds(manifest: Manifest, config: CorpusConfig) -> tuple[Fold, ...]:
    """Split the corpus into groups; each is the test part of one fold.

    Fold i tests group i, validates on the whole of group i + 1 (cyclic), and trains on the rest. A given partition is a
    single fold, with the parts that the corpus gives.

    Raises:
        ManifestError: fewer than three groups, or more than there are speakers; an utterance without the session, fold
            or split asked for, a speaker in two parts unless the partition is a published one, or a class without
            training utterances in a fold.
    """
    kind = _resolve(manifest, config)
    published = config.published is not None
    if not published:
        refuse_unknown_speakers(manifest)
    single = published and any(u.split is not None for u in manifest.utterances)
    if kind == "given" or single:
        folds: tuple[Fold, ...] = (Fold(index=0, name=kind, **given_parts(manifest)),)
    else:
        folds = _rotated(manifest, config, kind)
    check_folds(manifest, folds, published=published)
    return folds


def published_partition(manifest: Manifest, config: CorpusConfig, folds: Sequence[Fold]) -> Partition | None:
    """What a published partition's parts share; None for folds that the corpus is cut into here.

    Args:
        folds: of `make_folds`.
    """
    return None if config.published is None else partition_of(config.published, manifest, folds)


def _rotated(manifest: Manifest, config: CorpusConfig, kind: str) -> tuple[Fold, ...]:
    """Each group is tested by one fold and validates another."""
    if kind != "groups" and config.n_folds != GROUPS:
        raise ManifestError(
            f"{manifest.title}: --corpus.n-folds {config.n_folds} is for groups of speakers, and --corpus.folds "
            f"{config.folds} means {kind} for this table. Add --corpus.folds groups, or leave out --corpus.n-folds."
        )
    group_of = _groups(manifest, config, kind)
    names = sorted(set(group_of.values()), key=_natural)
    if len(names) < 3:
        raise ManifestError(
            f"{manifest.title}: --corpus.folds {kind} gives {len(names)} group(s), "
            f"{', '.join(names)}; at least 3 are needed, to train, validate and test on different "
            f"ones. {_more_groups(kind)}"
        )
    members = {
        name: [u.utterance_id for u in manifest.utterances if group_of[u.utterance_id] == name] for name in names
    }
    folds = []
    for index, name in enumerate(names):
        held_out = names[(index + 1) % len(names)]
        folds.append(
            Fold(
                index=index,
                name=name,
                train=tuple(
                    u.utterance_id for u in manifest.utterances if group_of[u.utterance_id] not in (name, held_out)
                ),
                validation=tuple(members[held_out]),
                test=tuple(members[name]),
            )
        )
    return tuple(folds)


def check_folds(manifest: Manifest, folds: Sequence[Fold], *, published: bool = False) -> None:
    """Refuse folds that leak or are incomplete.

    Args:
        published: a published partition may leave utterances untested, and have a speaker in two parts.

    Raises:
        ManifestError: an utterance is not tested exactly once, a speaker is in two parts of a
            fold, or a class has no training utterance in a fold.
    """
    _check_tested(manifest, folds, published)
    if not published:
        _check_speakers(manifest, folds)
    emotions = {u.utterance_id: u.emotion for u in manifest.utterances}
    for fold in folds:
        trained = {emotions[utterance_id] for utterance_id in fold.train}
        for name in manifest.classes:
            if name not in trained:
                raise ManifestError(
                    f"{manifest.title}: fold {fold.name!r} has no training utterance of class "
                    f"{name!r}, so it cannot be learned there. Drop the class with "
                    f"--corpus.emotion-map {name}=, or choose another --corpus.folds."
                )


def _check_tested(manifest: Manifest, folds: Sequence[Fold], published: bool) -> None:
    known = {u.utterance_id for u in manifest.utterances}
    tested = Counter(name for fold in folds for name in fold.test)
    fewest = 0 if published else 1
    wrong = [name for name in sorted(known | set(tested)) if not fewest <= tested[name] <= (name in known)]
    if wrong:
        raise ManifestError(
            f"{manifest.title}: {len(wrong)} utterances are not tested exactly once, such as "
            f"{wrong[0]!r} ({tested[wrong[0]]} times). Recreate the folds with --corpus.folds."
        )


def _check_speakers(manifest: Manifest, folds: Sequence[Fold]) -> None:
    speakers = {u.utterance_id: u.speaker for u in manifest.utterances}
    for fold in folds:
        parts = {"train": fold.train, "validation": fold.validation, "test": fold.test}
        part_of: dict[str, str] = {}
        for part, utterance_ids in parts.items():
            for utterance_id in utterance_ids:
                speaker = speakers[utterance_id]
                first = part_of.setdefault(speaker, part)
                if first != part:
                    raise ManifestError(
                        f"{manifest.title}: in fold {fold.name!r}, speaker {speaker!r} is in both "
                        f"the {first} and the {part} part (with {utterance_id!r}). Fix the "
                        "speaker column or the groups, or use --corpus.folds speaker or "
                        "--corpus.folds groups, which never split a speaker. A partition "
                        "published like that is --corpus.folds given."
                    )


def _resolve(manifest: Manifest, config: CorpusConfig) -> str:
    """What 'auto' and 'paper' stand for."""
    if config.resolved_folds is not None:
        return config.resolved_folds
    if config.name == "emobox" and _keeps_apart(manifest):
        return "emobox"
    if config.name == "multi":
        return "groups"
    if config.name == "table" and any(u.fold is not None for u in manifest.utterances):
        return "column"
    if any(u.session is not None for u in manifest.utterances):
        return "session"
    many = len(manifest.speakers) > _MOST_SPEAKERS_LEFT_OUT_ONE_BY_ONE
    return "groups" if many else "speaker"


def _keeps_apart(manifest: Manifest) -> bool:
    """Whether each speaker is in one predefined fold, of three or more."""
    groups = {(u.speaker, u.fold) for u in manifest.utterances}
    names = {fold for _, fold in groups}
    return None not in names and len(names) > 2 and len(groups) == len(manifest.speakers)


def _groups(manifest: Manifest, config: CorpusConfig, kind: str) -> dict[str, str]:
    """Group by utterance id."""
    match kind:
        case "session":
            return _by_attribute(manifest, kind, "session", lambda u: u.session)
        case "emobox" | "column" | "corpus":
            return _by_attribute(manifest, kind, "fold", lambda u: u.fold)
        case "speaker":
            return {u.utterance_id: u.speaker for u in manifest.utterances}
        case _:
            return _dealt(manifest, config.n_folds)


def _by_attribute(
    manifest: Manifest, kind: str, column: str, value_of: Callable[[Utterance], str | None]
) -> dict[str, str]:
    groups: dict[str, str] = {}
    without: list[str] = []
    for utterance in manifest.utterances:
        value = value_of(utterance)
        if value is None:
            without.append(utterance.utterance_id)
        else:
            groups[utterance.utterance_id] = value
    if without:
        raise ManifestError(
            f"{manifest.title}: --corpus.folds {kind} needs column {column!r} for every "
            f"utterance; {len(without)} of {len(manifest.utterances)} have none, such as "
            f"{without[0]!r}. Fill it, or use --corpus.folds speaker or groups."
        )
    return groups


def _dealt(manifest: Manifest, n_groups: int) -> dict[str, str]:
    """Group by utterance id, for --corpus.folds groups.

    Raises:
        ManifestError: there are fewer speakers than groups.
    """
    speakers = sorted(manifest.speakers, key=_natural)
    if n_groups > len(speakers):
        raise ManifestError(
            f"{manifest.title}: --corpus.n-folds is {n_groups}, but there are {len(speakers)} speakers, and each group "
            f"needs one. Set it to {len(speakers)} at most."
        )
    counts_of = {speaker: Counter[str]() for speaker in speakers}
    for utterance in manifest.utterances:
        # Of several corpora, the classes of each are dealt evenly.
        kind = f"{utterance.fold}/{utterance.emotion}" if manifest.corpus == "multi" else utterance.emotion
        counts_of[utterance.speaker][kind] += 1
    groups = deal(counts_of, _sexes(manifest), n_groups)
    return {u.utterance_id: f"group-{groups[u.speaker] + 1}" for u in manifest.utterances}


def _sexes(manifest: Manifest) -> dict[str, str | None]:
    stated: dict[str, set[str]] = defaultdict(set)
    for utterance in manifest.utterances:
        if utterance.sex is not None:
            stated[utterance.speaker].add(utterance.sex)
    for speaker, sexes in stated.items():
        if len(sexes) > 1:
            raise ManifestError(
                f"{manifest.title}: speaker {speaker!r} is F in some utterances and M in others. "
                "Fix column 'sex', or give the two speakers different names."
            )
    return {speaker: next(iter(stated[speaker]), None) for speaker in manifest.speakers}


def _more_groups(kind: str) -> str:
    match kind:
        case "session":
            return "--corpus.folds speaker leaves out one speaker at a time."
        case "groups":
            return "Set --corpus.n-folds to 3 or more, and at most the number of speakers."
        case "speaker":
            return "Add speakers to the corpus, or use a published partition (--corpus.folds given, or emobox)."
        case _:
            return "--corpus.folds groups or --corpus.folds speaker split by speaker."


def _natural(name: str) -> tuple[list[str | tuple[int, str]], str]:
    """Sort key that puts 'speaker 2' before 'speaker 10'."""
    parts = re.split(r"(\d+)", name)
    return [_number(part) if i % 2 else part for i, part in enumerate(parts)], name


def _number(digits: str) -> tuple[int, str]:
    """Sort key in numeric order; Python refuses to parse more than 4300 digits."""
    plain = "".join(str(unicodedata.decimal(digit)) for digit in digits).lstrip("0")
    return len(plain), plain
