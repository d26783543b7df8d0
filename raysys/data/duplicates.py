"""Duplicate audio in a corpus: found by bytes or by samples, and kept from inflating the scores."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from raysys.data.folds import Fold
from raysys.data.manifest import Manifest, Utterance
from raysys.errors import ManifestError

_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """Utterances with identical audio.

    Attributes:
        speakers, emotions: theirs, without repetition, sorted.
    """

    utterance_ids: tuple[str, ...]
    speakers: tuple[str, ...]
    emotions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """Two utterances with identical audio, one trained or validated on in a fold that tests the other."""

    fold: str
    part: str
    learned: str
    tested: str


def equal_bytes(utterances: Sequence[Utterance]) -> tuple[Duplicate, ...]:
    """The same stretch of byte-identical files; known as soon as the files are inspected."""
    return _grouped(utterances, {u.utterance_id: (u.digest, u.start_s or 0.0, u.end_s) for u in utterances})


def equal_waveforms(utterances: Sequence[Utterance], digests: Mapping[str, str]) -> tuple[Duplicate, ...]:
    """Sample-identical after decoding. `digests`: of those that may be, by utterance id, see `waveform_digest`."""
    return _grouped(utterances, digests)


def waveform_digest(waveform_S: np.ndarray) -> str:
    """Hash of a waveform's samples."""
    return hashlib.blake2b(np.ascontiguousarray(waveform_S).data, digest_size=16).hexdigest()


def equal_once_decoded(manifest: Manifest, digests: Mapping[str, str]) -> tuple[Duplicate, ...]:
    """Sample-identical, but from files that are not byte-identical, or from different stretches of them."""
    known = {*equal_bytes(manifest.utterances)}
    found = equal_waveforms(manifest.utterances, digests)
    return tuple(duplicate for duplicate in found if duplicate not in known)


def check_duplicates(
    manifest: Manifest, folds: Sequence[Fold], duplicates: Sequence[Duplicate], how: str, *, allowed: bool
) -> tuple[str, ...]:
    """Refuse a fold that tests audio it also trains or validates on, which inflates its scores.

    Args:
        manifest: gives the file names.
        duplicates: of the corpus.
        how: in what sense they are equal: 'to the byte'.
        allowed: only report them.

    Returns: what a run must report about its duplicates; empty if there are none.

    Raises:
        ManifestError: naming the fold and the files of the first few.
    """
    if not duplicates:
        return ()
    leaked = leaks(duplicates, folds)
    if leaked and not allowed:
        raise ManifestError(_refusal(manifest, leaked, how))
    named = _first([" = ".join(d.utterance_ids) for d in duplicates], "; ")
    count = sum(len(d.utterance_ids) for d in duplicates)
    note = f"{count} utterances have audio identical to another's, equal {how} ({len(duplicates)} group(s)): {named}."
    if leaked:
        note += f" {len(leaked)} of them are tested in folds that learn from a duplicate, which inflates the scores."
    return (note,)


def leaks(duplicates: Iterable[Duplicate], folds: Iterable[Fold]) -> list[Leak]:
    """The first leak of each tested utterance, in the order of `duplicates`."""
    found: dict[str, Leak] = {}
    parts = [
        (fold.name, dict.fromkeys(fold.train, "train") | dict.fromkeys(fold.validation, "validation"), set(fold.test))
        for fold in folds
    ]
    for duplicate in duplicates:
        for name, part_of, test in parts:
            learned = next((u for u in duplicate.utterance_ids if u in part_of), None)
            for tested in duplicate.utterance_ids:
                if learned is not None and tested in test:
                    leak = Leak(fold=name, part=part_of[learned], learned=learned, tested=tested)
                    found.setdefault(tested, leak)
    return list(found.values())


def _refusal(manifest: Manifest, leaked: Sequence[Leak], how: str) -> str:
    path_of = {u.utterance_id: u.audio_path for u in manifest.utterances}
    lines = [
        f"fold {leak.fold!r} tests {path_of[leak.tested]} ({leak.tested}), whose audio is also in its {leak.part} part,"
        f" as {path_of[leak.learned]} ({leak.learned})"
        for leak in leaked
    ]
    return (
        f"{manifest.title}: {len(leaked)} utterance(s) are tested in folds that learn from the same audio, equal "
        f"{how}:\n  {_first(lines, chr(10) + '  ')}\nKeep one of each, or put both in one group of --corpus.folds. "
        f"--corpus.allow-duplicates trains anyway, and the report says so."
    )


def _grouped(utterances: Sequence[Utterance], audio_of: Mapping[str, Hashable]) -> tuple[Duplicate, ...]:
    """Groups of utterances with identical audio, ordered by their first ids."""
    groups: dict[Hashable, list[Utterance]] = defaultdict(list)
    for utterance in utterances:
        if utterance.utterance_id in audio_of:
            groups[audio_of[utterance.utterance_id]].append(utterance)
    return tuple(
        Duplicate(
            utterance_ids=tuple(u.utterance_id for u in group),
            speakers=tuple(sorted({u.speaker for u in group})),
            emotions=tuple(sorted({u.emotion for u in group})),
        )
        for group in groups.values()
        if len(group) > 1
    )


def _first(texts: Sequence[str], separator: str) -> str:
    shown = list(texts[:_SHOWN])
    return separator.join(shown if len(texts) <= _SHOWN else [*shown, f"and {len(texts) - _SHOWN} more"])
