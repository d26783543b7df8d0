"""A run's folds in a file: the group of each utterance once, and which groups are in which part of each fold.

With all ids of every fold, leave-one-speaker-out of 1,470 speakers took 9 GB.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

from raysys.data.folds import Fold
from raysys.data.manifest import Manifest

_PARTS = ("validation", "test", "left_out")
"""Groups in none of them are trained on."""


def packed(manifest: Manifest, folds: Sequence[Fold]) -> dict[str, Any]:
    """The folds as JSON values; a group are the utterances that are in the same parts of all folds.

    Args:
        manifest: whose utterances have their groups in its order.
        folds: their parts are in the manifest's order.
    """
    marks: dict[str, list[tuple[int, str]]] = {u.utterance_id: [] for u in manifest.utterances}
    for number, fold in enumerate(folds):
        for part, names in zip(_PARTS, (fold.validation, fold.test, _left_out(fold, marks.keys())), strict=True):
            for name in names:
                marks[name].append((number, part))
    groups: dict[tuple[tuple[int, str], ...], int] = {}
    group_of = [groups.setdefault(tuple(found), len(groups)) for found in marks.values()]
    listed: list[dict[str, Any]] = [
        {"index": fold.index, "name": fold.name} | {part: [] for part in _PARTS} for fold in folds
    ]
    for found, group in groups.items():
        for number, part in found:
            listed[number][part].append(group)
    return {"folds": listed, "group_of": group_of}


def unpacked(values: Any, manifest: Manifest, number: int) -> Fold:
    """One of the folds that `packed` packed, or that an early version wrote with all their ids."""
    if isinstance(values, list):
        whole = {part: tuple(values[number][part]) for part in ("train", "validation", "test")}
        return Fold(index=values[number]["index"], name=values[number]["name"], **whole)
    fold = values["folds"][number]
    part_of = {group: part for part in _PARTS for group in fold[part]}
    names: dict[str, list[str]] = {part: [] for part in ("train", *_PARTS)}
    for utterance, group in zip(manifest.utterances, values["group_of"], strict=True):
        names[part_of.get(group, "train")].append(utterance.utterance_id)
    parts = {part: tuple(names[part]) for part in ("train", "validation", "test")}
    return Fold(index=fold["index"], name=fold["name"], **parts)


def count_of(values: Any) -> int:
    """How many folds there are."""
    return len(values if isinstance(values, list) else values["folds"])


def _left_out(fold: Fold, everything: Set[str]) -> Set[str]:
    if len(fold.train) + len(fold.validation) + len(fold.test) == len(everything):
        return frozenset()
    return everything - {*fold.train, *fold.validation, *fold.test}
