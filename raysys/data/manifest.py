"""The manifest: a corpus's contents, one record per utterance, checked before anything runs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from raysys.errors import ManifestError


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """One spoken turn with one emotion.

    Attributes:
        utterance_id: unique in the corpus.
        audio_path: absolute path of its file (FLAC or WAV, any sample rate and number of channels).
        speaker: no speaker is ever in two parts of a split.
        emotion: class name, after merging.
        transcript: the words, or None if there are none.
        session: recording session, or None.
        sex: 'F', 'M', or None if unknown; used to balance groups of speakers.
        fold: the corpus's predefined fold, or None.
        start_s, end_s: its part of the file, in seconds; None: from the start, to the end.
        duration_s: length in seconds, filled in by `inspect_audio`.
        digest: hash of the audio file's bytes, filled in by `inspect_audio`.
    """

    utterance_id: str
    audio_path: str
    speaker: str
    emotion: str
    transcript: str | None = None
    session: str | None = None
    sex: str | None = None
    fold: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    duration_s: float | None = None
    digest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """An utterance skipped on request, and why."""

    utterance_id: str
    audio_path: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """All utterances of a corpus, ordered by id, and the class names, in index order."""

    corpus: str
    classes: tuple[str, ...]
    utterances: tuple[Utterance, ...]
    skipped: tuple[Skipped, ...] = ()

    @property
    def speakers(self) -> tuple[str, ...]:
        return tuple(sorted({u.speaker for u in self.utterances}))

    def labels(self) -> dict[str, int]:
        """Class index by utterance id."""
        index = {name: i for i, name in enumerate(self.classes)}
        return {u.utterance_id: index[u.emotion] for u in self.utterances}

    def fingerprint(self) -> str:
        """Hash of the contents: ids, speakers, emotions, transcripts and audio bytes, but not file locations."""
        rows = [
            [u.utterance_id, u.speaker, u.emotion, u.transcript, u.session, u.fold, u.start_s, u.end_s, u.digest]
            for u in self.utterances
        ]
        text = json.dumps([self.classes, rows], ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_table(self) -> pa.Table:
        return pa.Table.from_pylist(
            [dataclasses.asdict(u) for u in self.utterances], schema=_SCHEMA
        ).replace_schema_metadata(
            {
                "corpus": self.corpus,
                "classes": json.dumps(self.classes),
                "skipped": json.dumps([dataclasses.asdict(s) for s in self.skipped]),
            }
        )

    @classmethod
    def from_table(cls, table: pa.Table) -> Manifest:
        metadata = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
        return cls(
            corpus=metadata["corpus"],
            classes=tuple(json.loads(metadata["classes"])),
            utterances=tuple(Utterance(**row) for row in table.to_pylist()),
            skipped=tuple(Skipped(**row) for row in json.loads(metadata["skipped"])),
        )


_STRINGS = ("utterance_id", "audio_path", "speaker", "emotion", "transcript", "session", "sex", "fold")
_SCHEMA = pa.schema(
    [(name, pa.string()) for name in _STRINGS]
    + [(name, pa.float64()) for name in ("start_s", "end_s", "duration_s")]
    + [("digest", pa.string())]
)


def build_manifest(
    corpus: str, source: str, utterances: Sequence[Utterance], classes: Sequence[str] | None = None
) -> Manifest:
    """Sort, check and freeze a reader's utterances.

    Names of speakers, emotions, sessions and folds are `composed`.

    Args:
        corpus: the reader's name.
        source: the folder or file they come from, for error messages.
        utterances: in any order.
        classes: allowed emotions, in index order; None: those that occur, in alphabetical order.

    Raises:
        ManifestError: no utterances, a duplicate id, a control character in a name, an emotion that is not allowed, or
            fewer than two classes.
    """
    if not utterances:
        raise ManifestError(f"{source}: no utterances found. Is this the corpus's top folder (--corpus.root)?")
    utterances = [_with_composed_names(u) for u in utterances]
    _refuse_control_characters(source, utterances)
    twice = [name for name, n in Counter(u.utterance_id for u in utterances).items() if n > 1]
    if twice:
        raise ManifestError(
            f"{source}: {len(twice)} utterance ids occur more than once, {_some(twice)}. Make every id unique."
        )
    present = sorted({u.emotion for u in utterances})
    known = tuple(map(composed, classes)) if classes is not None else tuple(present)
    unknown = [name for name in present if name not in known]
    if unknown:
        raise ManifestError(
            f"{source}: column 'emotion' contains {_some(unknown)}, not among the {len(known)} classes "
            f"{', '.join(known)}. Map them with --corpus.emotion-map old=new, or fix these rows."
        )
    if len(present) < 2:
        raise ManifestError(f"{source}: only the class {present[0]!r} occurs; at least two are needed.")
    ordered = tuple(sorted(utterances, key=lambda u: u.utterance_id))
    return Manifest(corpus=corpus, classes=known, utterances=ordered)


def composed(name: str) -> str:
    """The name in Unicode's composed form (NFC).

    Otherwise a speaker whose 'Zoë' two programs encode differently could be both trained on and tested.
    """
    return unicodedata.normalize("NFC", name)


_NAMES = ("speaker", "emotion", "session", "fold")


def _with_composed_names(utterance: Utterance) -> Utterance:
    changed: dict[str, Any] = {
        column: composed(name)
        for column in _NAMES
        if (name := getattr(utterance, column)) is not None and composed(name) != name
    }
    return dataclasses.replace(utterance, **changed) if changed else utterance


def _refuse_control_characters(source: str, utterances: Sequence[Utterance]) -> None:
    """On a terminal they move the cursor and hide text; in a report's table they break lines."""
    for utterance in utterances:
        for column in ("utterance_id", *_NAMES):
            name = getattr(utterance, column) or ""
            if any(unicodedata.category(c) == "Cc" for c in name):
                raise ManifestError(
                    f"{source}: {column} {name!r} of utterance {utterance.utterance_id!r} contains a control character "
                    "(a line break, tab or escape). Remove it from the name."
                )


def _some(names: Sequence[str], shown: int = 5) -> str:
    listed = ", ".join(repr(name) for name in names[:shown])
    return listed if len(names) <= shown else f"{listed} and {len(names) - shown} more"
