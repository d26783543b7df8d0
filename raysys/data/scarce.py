"""Parts of folds with few utterances of a class, or none: what they score, or choose, says little about that class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from raysys.data.folds import Fold
from raysys.data.manifest import Manifest

FEW = 5
_SHOWN = 6


def scarce_classes(manifest: Manifest, fold: Fold) -> dict[str, dict[str, int]]:
    """Classes with fewer than `FEW` utterances, with their number, by part: train, validation, test.

    Parts that have enough of every class are left out, and so are empty parts.
    """
    emotion_of = {u.utterance_id: u.emotion for u in manifest.utterances}
    found = {}
    for part, members in (("train", fold.train), ("validation", fold.validation), ("test", fold.test)):
        counts = Counter(emotion_of[utterance_id] for utterance_id in members)
        if members and (few := {name: counts[name] for name in manifest.classes if counts[name] < FEW}):
            found[part] = few
    return found


def scarce_notes(manifest: Manifest, folds: Sequence[Fold]) -> tuple[str, ...]:
    """What a user should know of it before training, in at most two lines."""
    absent, few = [], []
    for fold in folds:
        for part, classes in scarce_classes(manifest, fold).items():
            if none := [name for name, n in classes.items() if not n]:
                absent.append(f"{part} of {fold.name} ({', '.join(none)})")
            if some := [f"{name} {n}" for name, n in classes.items() if n]:
                few.append(f"{part} of {fold.name} ({', '.join(some)})")
    notes = []
    if absent:
        notes.append(f"no utterance of a class, which does not count there: {_listed(absent)}")
    if few:
        notes.append(f"fewer than {FEW} utterances of a class: {_listed(few)}")
    return tuple(notes)


def _listed(parts: Sequence[str]) -> str:
    more = f"; and {len(parts) - _SHOWN} more parts, see results.json" if len(parts) > _SHOWN else ""
    return "; ".join(parts[:_SHOWN]) + more
