"""What is odd about recordings that can still be used: seen when decoding, kept in the cache, told in each run."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from raysys.config import SAMPLE_RATE_HZ
from raysys.data.audio import Decoded

FAR_OUTSIDE = 2.0
"""Float files and lossy codecs exceed 1 by some decibels; this is 6 dB."""
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Remarked:
    """An array for the cache, a hash of it, and remarks on its recording."""

    array: np.ndarray
    remarks: str
    digest: str


def remarks_on(decoded: Decoded) -> str:
    """Words separated by blanks, each a remark with its value if it has one."""
    words = []
    if decoded.silent:
        words.append("silent")
    if decoded.cancels:
        words.append("cancels")
    if decoded.peak > FAR_OUTSIDE:
        words.append(f"peak={decoded.peak:.6g}")
    if decoded.rate_hz < SAMPLE_RATE_HZ:
        words.append(f"rate={decoded.rate_hz}")
    if not decoded.verified:
        words.append("unverified")
    return " ".join(words)


def remark_notes(remarks: Mapping[str, str]) -> list[str]:
    """Notes for the user, one per kind, with the number of utterances and the ids of the first five.

    Args:
        remarks: by utterance id, as `remarks_on` writes them.
    """
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for name, words in sorted(remarks.items()):
        for word in words.split():
            kind, _, value = word.partition("=")
            found[kind][name] = value
    notes = []
    if silent := found["silent"]:
        notes.append(f"silent, every sample is zero: {_listed(silent)}")
    if cancels := found["cancels"]:
        notes.append(f"silent once their channels, in opposite phase, are averaged: {_listed(cancels)}")
    if loud := found["peak"]:
        largest = max(loud.values(), key=float)
        notes.append(f"samples far outside [-1, 1], up to {largest}: {_listed(loud)}; the file may not be scaled")
    if slow := found["rate"]:
        rates = ", ".join(f"{rate} Hz: {n}" for rate, n in sorted(Counter(slow.values()).items()))
        notes.append(f"recorded below {SAMPLE_RATE_HZ} Hz ({rates}), without the highest frequencies: {_listed(slow)}")
    if unverified := found["unverified"]:
        notes.append(
            f"from files that state no length, as if written to a pipe, so that a missing end would go unnoticed: "
            f"{_listed(unverified)}"
        )
    return notes


def _listed(names: Iterable[str]) -> str:
    some = sorted(names)
    more = f" and {len(some) - _SHOWN} more" if len(some) > _SHOWN else ""
    return f"{len(some)} utterance{'s' if len(some) > 1 else ''} ({', '.join(some[:_SHOWN])}{more})"
