"""Annotators' votes in a table: how many chose an emotion (votes_<emotion>), or what share of them did (p_<emotion>).

Each row has cells of all these columns, or of none. They become shares of 1 in the order of the corpus's classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from raysys.corpora.columns import COUNTS, SHARES, quoted
from raysys.corpora.row import Row
from raysys.data.manifest import Manifest
from raysys.data.names import composed
from raysys.errors import CorpusError

_TOLERANCE = 1e-3
"""By which the probabilities of a row may miss 1."""
_MOST = 2.0**53
"""Up to here whole numbers are exact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteColumns:
    """Attributes:
    names: the table's own name of each column, by emotion.
    counted: whether cells count votes; otherwise they are probabilities.
    """

    names: dict[str, str]
    counted: bool


def find_votes(
    path: Path, columns: Iterable[str], emotions: Collection[str], note: Callable[[str], None]
) -> VoteColumns | None:
    """The columns with votes, if a table has any.

    Columns p_... may be about something else: they are votes if one is named after an emotion of the table, and are
    noted and ignored otherwise.

    Args:
        columns: names that may be those of votes.
        emotions: of the table's utterances.

    Raises:
        CorpusError: both kinds, or two columns of one emotion.
    """
    columns = list(columns)
    counts, shares = (_by_emotion(path, columns, prefix) for prefix in (COUNTS, SHARES))
    if shares and not shares.keys() & {composed(name) for name in emotions}:
        note(f"{path}: ignored columns, which are named after no emotion: {quoted([*shares.values()])}")
        shares = {}
    if counts and shares:
        raise CorpusError(
            f"{path}: votes both as counts ({quoted([*counts.values()])}) and as probabilities "
            f"({quoted([*shares.values()])}). Keep one kind of columns."
        )
    return VoteColumns(names=counts or shares, counted=bool(counts)) if counts or shares else None


def row_votes(row: Row, columns: VoteColumns) -> tuple[float, ...] | None:
    """Shares of 1 by emotion, in the order of the columns; None if all cells are empty.

    Raises:
        CorpusError: some cells are empty, a number that is none, no vote at all, probabilities that do not sum to 1.
    """
    names = [*columns.names.values()]
    empty = [name for name in names if row.empty(name)]
    if len(empty) == len(names):
        return None
    if empty:
        raise row.error(
            empty[0],
            "is empty, but others with votes are not. Write 0 where nobody chose the emotion, or empty all of them.",
        )
    votes = [_vote(row, name, counted=columns.counted) for name in names]
    total = sum(votes)
    if columns.counted and not total:
        raise row.wrong(f"there is no vote in {quoted(names)}. Give at least one, or empty these cells.")
    if not columns.counted and abs(total - 1) > _TOLERANCE:
        raise row.wrong(
            f"{quoted(names)} sum to {total:.6g}, expected 1 (up to {_TOLERANCE:g}). Correct these probabilities, or "
            f"give numbers of votes in columns {COUNTS}<emotion>, which may have any sum."
        )
    return tuple(vote / total for vote in votes)


def in_class_order(
    manifest: Manifest, emotions: tuple[str, ...], renamed: Mapping[str, str], source: str, *, chosen: bool
) -> Manifest:
    """The manifest with each utterance's votes by class, shares of 1.

    Votes for emotions that are merged are added; those for dropped ones and for classes that are not used are left out.
    An utterance without a vote for any class is as one without votes. Both are noted, and so are utterances whose
    emotion is not the one with the most votes.

    Args:
        manifest: with votes in the order of `emotions`.
        renamed: of --corpus.emotion-map: new names by old ones; '' drops.
        source: the table, for messages.
        chosen: whether the user named the classes (--corpus.classes), so that others are left out on purpose.

    Raises:
        CorpusError: a class without a column, or a column of an emotion that is no class.
    """
    target = {name: renamed.get(name, name) for name in emotions}
    _check_names(manifest.classes, target, source, chosen=chosen)
    place = {name: index for index, name in enumerate(manifest.classes)}

    def by_class(votes: tuple[float, ...]) -> tuple[float, ...] | None:
        shares = [0.0] * len(place)
        for name, share in zip(emotions, votes, strict=True):
            if target[name] in place:
                shares[place[target[name]]] += share
        total = sum(shares)
        return tuple(share / total for share in shares) if total else None

    utterances = tuple(
        u if u.votes is None else dataclasses.replace(u, votes=by_class(u.votes)) for u in manifest.utterances
    )
    voted = sum(u.votes is not None for u in utterances)
    lost = sum(u.votes is not None for u in manifest.utterances) - voted
    odd = sum(u.votes is not None and u.votes[place[u.emotion]] < max(u.votes) for u in utterances)
    notes = []
    if lost:
        notes.append(f"{lost} utterances have votes for left-out emotions alone; they count as without votes")
    if odd:
        notes.append(f"{odd} of {voted} utterances with votes have an emotion that is not the one with the most votes")
    return dataclasses.replace(manifest, utterances=utterances, notes=(*manifest.notes, *notes))


def _by_emotion(path: Path, columns: Iterable[str], prefix: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in columns:
        if name.casefold().startswith(prefix):
            emotion = composed(name[len(prefix) :].strip())
            if emotion in found:
                raise CorpusError(f"{path}: columns {found[emotion]!r} and {name!r} are of one emotion. Keep one.")
            found[emotion] = name
    return found


def _vote(row: Row, name: str, *, counted: bool) -> float:
    vote = row.number(name)
    if counted and not (vote.is_integer() and vote <= _MOST):
        raise row.error(
            name,
            f"holds {row.cells[name]!r}, expected a whole number of votes, 0 or more. Fix the cell; shares of the "
            f"votes belong in columns {SHARES}<emotion>.",
        )
    if not counted and not vote <= 1 + _TOLERANCE:
        raise row.error(name, f"holds {row.cells[name]!r}, expected a probability from 0 to 1. Fix the cell.")
    return vote


def _check_names(classes: tuple[str, ...], target: Mapping[str, str], source: str, *, chosen: bool) -> None:
    unknown = [name for name, new in target.items() if new and new not in classes]
    if unknown and not chosen:
        raise CorpusError(
            f"{source}: there are votes for {quoted(unknown)}, but no utterance has such an emotion; the classes are "
            f"{quoted(classes)}. Correct the column's name, or leave these votes out with --corpus.emotion-map "
            f"'{unknown[0]}='."
        )
    if missing := [name for name in classes if name not in target.values()]:
        raise CorpusError(
            f"{source}: there are columns of votes, but none for {quoted(missing)}. Add one, with 0 where nobody chose "
            f"the emotion, or rename the columns of votes if they are about something else."
        )
