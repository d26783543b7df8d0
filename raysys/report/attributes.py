"""Valence, arousal and dominance of a corpus, as annotators gave them, by class."""

from __future__ import annotations

from statistics import fmean

from raysys.data.manifest import ATTRIBUTES, Manifest


def attribute_rows(manifest: Manifest) -> list[tuple[str, int, float | None, float | None, float | None]]:
    """For each class: its utterances with any attribute, and the mean of each in the order of `ATTRIBUTES`.

    Means are None where no utterance has the attribute. Empty if no utterance of the corpus has any.
    """
    rows = []
    for name in manifest.classes:
        own = [u.attributes for u in manifest.utterances if u.emotion == name]
        columns = [[value for value in column if value is not None] for column in zip(*own, strict=True)]
        valence, arousal, dominance = (fmean(c) if c else None for c in columns or [[]] * len(ATTRIBUTES))
        rated = sum(any(value is not None for value in attributes) for attributes in own)
        rows.append((name, rated, valence, arousal, dominance))
    return rows if any(rated for _, rated, *_ in rows) else []
