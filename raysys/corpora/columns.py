"""The columns of a table: which are read, under which other names, and which were probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

from raysys.errors import CorpusError

REQUIRED = ("audio_path", "speaker", "emotion")
OPTIONAL_STRINGS = ("utterance_id", "transcript", "session", "sex", "fold")
OPTIONAL_SECONDS = ("start_s", "end_s")
OPTIONAL_NUMBERS = ("valence", "arousal", "dominance")
"""Attributes, on any scale."""
COUNTS, SHARES = "votes_", "p_"
"""How the names of columns with annotators' votes begin; the rest is an emotion. See `votes`."""
SPLIT = "split"
"""Read where a published partition is asked for, and required there."""
COLUMNS = (*REQUIRED, *OPTIONAL_STRINGS, *OPTIONAL_SECONDS, *OPTIONAL_NUMBERS)
ALIASES = {
    **dict.fromkeys(("path", "file", "filename", "filepath"), "audio_path"),
    "speakerid": "speaker",
    "label": "emotion",
    "gender": "sex",
}
"""Other names that are read, in lower case, without spaces and punctuation."""
UNSURE = {
    **dict.fromkeys(("start", "starttime", "startseconds", "begin", "begintime", "offset", "onset"), "start_s"),
    **dict.fromkeys(("end", "endtime", "endseconds"), "end_s"),
    **dict.fromkeys(("text", "sentence", "utterance", "utterancetext", "transcription"), "transcript"),
}
"""Names that other corpora use, written alike, for these columns or for something else, such as samples."""


def match_columns(
    where: str, header: Sequence[str], note: Callable[[str], None], required: Sequence[str] = REQUIRED
) -> dict[str, str]:
    """Find the columns of a table.

    Names match in any case; `ALIASES` stand in for a column that is absent. Both are noted, and columns that are not
    read too. Columns that may be votes keep their own names.

    Args:
        where: the table, for messages.
        header: its names.
        note: takes a message for the user.
        required: columns that must be there.

    Returns: the header's name by column, for the columns that there are.

    Raises:
        CorpusError: a required column is missing, one occurs twice, or an optional one seems to be misnamed.
    """
    found: dict[str, str] = {}
    for match in (_same, _alias):
        absent = [column for column in dict.fromkeys((*COLUMNS, *required)) if column not in found]
        for column in absent:
            names = [name for name in header if match(name) == column]
            if len(names) > 1:
                spelt = f", as {quoted(names)}" if len({*names}) > 1 else ""
                raise CorpusError(f"{where}: column {column!r} occurs twice{spelt}. Remove one of them.")
            if names:
                found[column] = names[0]
    if missing := [column for column in required if column not in found]:
        hint = " Cells are separated by commas." if len(header) == 1 else ""
        raise CorpusError(
            f"{where}: column {quoted(missing)} is missing, found {quoted(header)}. "
            f"Rename or add it; {quoted(required)} {'are' if len(required) > 1 else 'is'} required.{hint}"
        )
    votes = {name: name for name in header if name not in found.values() and may_be_votes(name)}
    if twice := [name for name in votes if header.count(name) > 1]:
        raise CorpusError(f"{where}: column {twice[0]!r} occurs twice. Remove one of them.")
    unread = [name for name in header if name not in found.values() and name not in votes]
    if "speaker" in required and (splits := [name for name in unread if _same(name) == SPLIT]):
        note(f"{where}: column {splits[0]!r} is not used; --corpus.folds given trains, validates and tests as it says")
        unread = [name for name in unread if name not in splits]
    for name in unread:
        if (meant := _meant(name, found)) is not None:
            unit = " (seconds from the start of the file)" if meant in OPTIONAL_SECONDS else ""
            raise CorpusError(f"{where}: unknown column {name!r}, expected {meant!r}{unit}. Rename or remove it.")
    column_of = {name: column for column, name in found.items()}
    renamed = [f"{name!r} as {column_of[name]!r}" for name in header if column_of.get(name, name) != name]
    if renamed:
        note(f"{where}: columns read under another name: {', '.join(renamed)}")
    if unread:
        note(f"{where}: ignored columns: {quoted(unread)}")
    return found | votes


def may_be_votes(name: str) -> bool:
    return any(name.casefold().startswith(prefix) and name[len(prefix) :].strip() for prefix in (COUNTS, SHARES))


def quoted(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)


def _same(name: str) -> str:
    return name.casefold()


def _alias(name: str) -> str | None:
    return ALIASES.get(_plain(name))


def _plain(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())


def _meant(name: str, found: dict[str, str]) -> str | None:
    """The optional column that was probably meant; ignoring start_s, say, would give whole files each turn's label."""
    absent = [column for column in (*OPTIONAL_STRINGS, *OPTIONAL_SECONDS) if column not in found]
    plain = _plain(name)
    if plain == "duration" and "start_s" in found and "end_s" in absent:
        return "end_s"
    if plain in UNSURE:
        return UNSURE[plain] if UNSURE[plain] in absent else None
    return next(iter(difflib.get_close_matches(name.lower(), absent, n=1, cutoff=0.85)), None)
