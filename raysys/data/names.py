"""Names of speakers, classes, sessions and folds: one form of each, and spellings that are probably one name."""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?(e[+-]?\d{1,3})?")
_LEADING_ZEROS = re.compile(r"(?<!\d)0+(?=\d)")
# Unicode's default-ignorable characters that are not of category Cf, and the blank Braille pattern.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)

_ONE = {
    "speaker": "one person would be both trained on and tested, as two speakers",
    "emotion": "one class would be two",
    "session": "one session would be two",
    "fold": "one fold would be two",
}


def composed(name: str) -> str:
    """The name in Unicode's composed form (NFC).

    Otherwise a speaker whose 'Zoë' two programs encode differently could be both trained on and tested.
    """
    return unicodedata.normalize("NFC", name)


def spellings(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Names that are equal but for their spelling, each group in the order given.

    Equal are names that differ in case, in invisible characters, in spaces, in Unicode's form (NFKC), in zeros before a
    number ('spk1', 'spk01'), and numbers of the same value ('1', '01', '1.0').
    """
    groups: dict[str | Decimal, list[str]] = {}
    for name in dict.fromkeys(names):
        groups.setdefault(_key(name), []).append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def _key(name: str) -> str | Decimal:
    """Equal for names that are probably one; a number for a number, since Decimals are equal whatever their digits."""
    visible = "".join(c for c in _INVISIBLE.sub("", name) if unicodedata.category(c) != "Cf")
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", visible).casefold())
    plain = " ".join(plain.split())
    return Decimal(plain) if _NUMBER.fullmatch(plain) else _LEADING_ZEROS.sub("", plain)


def spelt_twice(column: str, places: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """A column's names that occur in several spellings.

    Args:
        places: where each name occurs, in order.

    Returns: for each name, what was found and how to fix it.
    """
    found = []
    for group in spellings(places):
        # Where more than case differs, names may look the same: show the code of what is not ASCII.
        show = repr if len({name.casefold() for name in group}) == 1 else ascii
        shown = " and ".join(f"{show(name)} ({_first(places[name])})" for name in group)
        usual = max(group, key=lambda name: len(places[name]))
        pairs = " ".join(shlex.quote(f"{name}={usual}") for name in group if name != usual)
        flag = f" (--corpus.emotion-map {pairs})" if column == "emotion" and pairs.isprintable() else ""
        found.append((f"column {column!r} holds {shown}", f"{_ONE[column]}. Spell the name one way{flag}."))
    return found


def _first(places: Sequence[str]) -> str:
    return places[0] if len(places) == 1 else f"{places[0]} and {len(places) - 1} more"
