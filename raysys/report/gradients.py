"""How hard each term of the loss pulls at the parameters that the tasks share, from the epochs' records."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raysys.results import FoldRow

Histories = Mapping[int, Sequence[Mapping[str, Any]]]
"""By fold (from 1), the epochs of its trial, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """Gradient norms of one term, of weight 1: means over the folds.

    Attributes:
        term: its name in the records.
        first, chosen: at the beginning of the first epoch, and of the epoch that is used.
        first_share, chosen_share: the same as a multiple of cross-entropy's.
    """

    term: str
    first: float
    chosen: float
    first_share: float | None
    chosen_share: float | None


def pulls(folds: Sequence[FoldRow], histories: Histories) -> list[Pull]:
    """One row per term that every fold measured; none of runs with cross-entropy alone, and of early versions."""
    first, chosen = [], []
    for fold in folds:
        measured = {epoch["epoch"]: epoch.get("gradients") or {} for epoch in histories.get(fold.fold, ())}
        first.append(measured.get(0, {}))
        chosen.append(measured.get(fold.epoch - 1, {}))
    every = [*first, *chosen]
    terms = [term for term in (every[0] if every else ()) if all(term in norms for norms in every)]
    if "ce" not in terms:
        return []
    means = {term: [statistics.fmean(norms[term] for norms in when) for when in (first, chosen)] for term in terms}
    whole = means["ce"]
    return [
        Pull(
            term=term,
            first=at[0],
            chosen=at[1],
            first_share=at[0] / whole[0] if whole[0] else None,
            chosen_share=at[1] / whole[1] if whole[1] else None,
        )
        for term, at in means.items()
    ]
