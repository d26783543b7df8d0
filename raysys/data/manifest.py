"""The manifest: a corpus's contents, one record per utterance, checked before anything runs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

from raysys.data.names import composed, spelt_twice
from raysys.errors import ManifestError

UNKNOWN = "unknown"
"""The speaker of an utterance of which nobody knows it; legal in a published partition only."""
ATTRIBUTES = ("valence", "arousal", "dominance")


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """One spoken turn with one emotion.

    Attributes:
        utterance_id: unique in the corpus.
        audio_path: absolute path of its file (FLAC or WAV, any sample rate and number of channels).
        speaker: no speaker is ever in two parts of a fold, unless the partition is a published one; or `UNKNOWN`.
        emotion: class name, after merging.
        transcript: the words, or None if there are none.
        session: recording session, or None.
        sex: 'F', 'M', or None if unknown; used to balance groups of speakers.
        fold: the corpus's predefined fold, or None.
        split: its part of the corpus's published partition: 'train', 'validation', 'test', or of several test parts
            'test1', 'test2', ...; None where there is no such partition, or it is not used.
        start_s, end_s: its part of the file, in seconds; None: from the start, to the end.
        duration_s: length in seconds, filled in by `inspect_audio`.
        digest: hash of the audio file's bytes, filled in by `inspect_audio`.
        votes: what share of its annotators chose each class, in the manifest's order, sum 1; None if unknown.
        valence, arousal, dominance: how it sounds to annotators, on the corpus's own scale; None if unknown.
        where: its place in the table it was read from, such as 'line 7', for messages; not kept in files.
    """

    utterance_id: str
    audio_path: str
    speaker: str
    emotion: str
    transcript: str | None = None
    session: str | None = None
    sex: str | None = None
    fold: str | None = None
    split: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    duration_s: float | None = None
    digest: str | None = None
    votes: tuple[float, ...] | None = None
    valence: float | None = None
    arousal: float | None = None
    dominance: float | None = None
    where: str = field(default="", compare=False)

    @property
    def attributes(self) -> tuple[float | None, float | None, float | None]:
        """In the order of `ATTRIBUTES`."""
        return self.valence, self.arousal, self.dominance


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """An utterance skipped on request, and why."""

    utterance_id: str
    audio_path: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """All utterances of a corpus, ordered by id, and the class names, in index order.

    Attributes:
        corpus: the reader's name.
        title: the corpus's name for people; by default the reader's.
        notes: what is odd about the corpus but usable, for the user; not kept in files, since a run keeps its notes.
    """

    corpus: str
    classes: tuple[str, ...]
    utterances: tuple[Utterance, ...]
    skipped: tuple[Skipped, ...] = ()
    title: str = ""
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if not self.title:
            object.__setattr__(self, "title", self.corpus)

    @property
    def speakers(self) -> tuple[str, ...]:
        """Those that are known."""
        return tuple(sorted({u.speaker for u in self.utterances} - {UNKNOWN}))

    @property
    def n_unknown(self) -> int:
        """Utterances of unknown speakers."""
        return sum(u.speaker == UNKNOWN for u in self.utterances)

    @property
    def tested(self) -> tuple[Utterance, ...]:
        """What the folds test together, each once: all, or the test parts of a published partition."""
        return tuple(u for u in self.utterances if u.split is None or u.split.startswith("test"))

    def labels(self) -> dict[str, int]:
        """Class index by utterance id."""
        index = {name: i for i, name in enumerate(self.classes)}
        return {u.utterance_id: index[u.emotion] for u in self.utterances}

    def fingerprint(self) -> str:
        """Hash of the contents, not of file locations.

        Ids, speakers and their sex (groups depend on it), emotions, transcripts, parts, audio bytes, votes, parts
        of a published partition, and attributes.
        """
        rows = [
            [u.utterance_id, u.speaker, u.emotion, u.transcript, u.sex, u.session, u.fold, u.start_s, u.end_s, u.digest]
            + ([] if u.votes is None else [u.votes])
            + ([] if u.split is None else [{"split": u.split}])
            + ([{"attributes": rated}] if (rated := u.attributes) != (None, None, None) else [])
            for u in self.utterances
        ]
        text = json.dumps([self.classes, rows], ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_table(self) -> pa.Table:
        columns = {name: [getattr(u, name) for u in self.utterances] for name in _SCHEMA.names}
        return pa.table(columns, schema=_SCHEMA).replace_schema_metadata(
            {
                "corpus": self.corpus,
                "title": self.title,
                "classes": json.dumps(self.classes),
                "skipped": json.dumps([dataclasses.asdict(s) for s in self.skipped]),
            }
        )

    @classmethod
    def from_table(cls, table: pa.Table) -> Manifest:
        metadata = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
        return cls(
            corpus=metadata["corpus"],
            title=metadata.get("title", ""),  # runs of early versions have none
            classes=tuple(json.loads(metadata["classes"])),
            utterances=tuple(_utterance(row) for some in table.to_batches(_ROWS) for row in some.to_pylist()),
            skipped=tuple(Skipped(**row) for row in json.loads(metadata["skipped"])),
        )


_SHOWN = 3
_ROWS = 1_000
"""Of a table at a time: as values of Python, each takes more than its record."""
_STRINGS = ("utterance_id", "audio_path", "speaker", "emotion", "transcript", "session", "sex", "fold", "split")
_SCHEMA = pa.schema(
    [(name, pa.string()) for name in _STRINGS]
    + [(name, pa.float64()) for name in ("start_s", "end_s", "duration_s")]
    + [("digest", pa.string()), ("votes", pa.list_(pa.float64()))]
    + [(name, pa.float64()) for name in ATTRIBUTES]
)


def _utterance(row: dict[str, Any]) -> Utterance:
    """Of a row of `to_table`; those of early versions have no votes, split and attributes."""
    votes = row.get("votes")
    return Utterance(**(row | {"votes": None if votes is None else tuple(votes)}))


def build_manifest(
    corpus: str,
    source: str,
    utterances: Sequence[Utterance],
    classes: Sequence[str] | None = None,
    *,
    title: str = "",
    same_names: Literal["refuse", "keep"] = "refuse",
    notes: Sequence[str] = (),
) -> Manifest:
    """Sort, check and freeze a reader's utterances.

    Names of speakers, emotions, sessions and folds are `composed`.

    Args:
        corpus: the reader's name.
        source: the folder or file they come from, for error messages.
        utterances: in any order.
        classes: emotions to use, in index order; utterances of others are left out, with a note. None: all that occur,
            in alphabetical order.
        title: the corpus's name for people.
        same_names: what to do with one name in two spellings: raise, or keep them apart, with a note.
        notes: the reader's.

    Raises:
        ManifestError: no utterances, a duplicate id, a control character in a name, one name in two spellings, or fewer
            than two classes.
    """
    if not utterances:
        raise ManifestError(f"{source}: no utterances found. Is this the corpus's top folder (--corpus.root)?")
    utterances = [_with_composed_names(u) for u in utterances]
    _refuse_control_characters(source, utterances)
    _refuse_equal_ids(source, utterances)
    apart = [found for column in _NAMES for found in _apart(column, utterances)]
    if apart and same_names == "refuse":
        shown = "".join(f"\n  {found}: {remedy}" for found, remedy in apart[:_SHOWN])
        more = f"\n  ... and {len(apart) - _SHOWN} more" if len(apart) > _SHOWN else ""
        raise ManifestError(
            f"{source}: names that differ in spelling alone:{shown}{more}\n"
            "If they are meant to be different, add --corpus.same-names keep."
        )
    counts = Counter(u.emotion for u in utterances)
    known = tuple(map(composed, classes)) if classes is not None else tuple(sorted(counts))
    return Manifest(
        corpus=corpus,
        title=title,
        classes=known,
        utterances=tuple(sorted((u for u in utterances if u.emotion in known), key=lambda u: u.utterance_id)),
        notes=(
            *notes,
            *_note_left_out(source, known, counts),
            *(f"kept apart (--corpus.same-names keep): {found}" for found, _ in apart),
        ),
    )


def _note_left_out(source: str, known: Sequence[str], counts: Counter[str]) -> list[str]:
    """What --corpus.classes leaves out. Raises: ManifestError: all but one class."""
    present = [name for name in known if counts[name]]
    others = sorted(counts.keys() - {*known})
    if len(present) < 2:
        found = f"only the class {present[0]!r} occurs" if present else f"no utterance of {_some(known)}"
        left_out = f" --corpus.classes leaves out {', '.join(others)}." if others else ""
        raise ManifestError(f"{source}: {found}; at least two classes are needed.{left_out}")
    if not others:
        return []
    n = sum(counts[name] for name in others)
    counted = ", ".join(f"{name} {counts[name]}" for name in others)
    return [f"{n} utterances of classes that --corpus.classes does not name are left out: {counted}"]


_NAMES = ("speaker", "emotion", "session", "fold")


def _with_composed_names(utterance: Utterance) -> Utterance:
    changed: dict[str, Any] = {
        column: composed(name)
        for column in _NAMES
        if (name := getattr(utterance, column)) is not None and composed(name) != name
    }
    return dataclasses.replace(utterance, **changed) if changed else utterance


def _refuse_equal_ids(source: str, utterances: Sequence[Utterance]) -> None:
    twice = [name for name, n in Counter(u.utterance_id for u in utterances).items() if n > 1]
    if not twice:
        return
    places = [u.where for u in utterances if u.utterance_id == twice[0] and u.where]
    first = f" ({' and '.join(places[:2])} hold {twice[0]!r})" if places else ""
    raise ManifestError(
        f"{source}: {len(twice)} utterance ids occur more than once, {_some(twice)}{first}. Make every id unique."
    )


def _apart(column: str, utterances: Sequence[Utterance]) -> list[tuple[str, str]]:
    """A column's names that are equal but for their spelling: what was found, and the remedy."""
    places: dict[str, list[str]] = defaultdict(list)
    for utterance in utterances:
        if (name := getattr(utterance, column)) is not None:
            places[name].append(utterance.where or f"utterance {utterance.utterance_id!r}")
    return spelt_twice(column, places)


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
