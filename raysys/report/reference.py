"""Published scores for the same corpora, each with its evaluation protocol."""

from __future__ import annotations

from pathlib import PurePath

from raysys.config import CORPORA, Reference

REFERENCES: dict[str, tuple[Reference, ...]] = {
    name: corpus.references for name, corpus in CORPORA.items() if corpus.references
}


def references_of(corpus: str, root: str | None) -> tuple[Reference, ...]:
    """Published scores of a corpus; of one with EmoBox's metadata those of EmoBox, whose folders have its names.

    Args:
        corpus: name of its reader.
        root: --corpus.root.
    """
    if corpus != "emobox":
        return REFERENCES.get(corpus, ())
    known = REFERENCES.get(PurePath(root or "").name, ())
    return tuple(reference for reference in known if reference.source.startswith("EmoBox"))


PAPER_RECALLS: dict[str, dict[str, float]] = {
    "iemocap": {"hap": 87.5, "sad": 84.8},
    "ravdess": {"happy": 89.5, "sad": 90.0, "surprised": 76.0},
}
"""The paper's best class recalls, in per cent, selected like its scores."""

PAPER_VARIANTS: dict[str, tuple[float, float]] = {
    "full": (82.3, 83.0),
    "no CPC, no ECL": (70.6, 70.1),
    "no augmentation": (70.6, 70.1),
    "no CCB1": (77.0, 77.4),
}
"""WA and UA of the paper's figure 7, in per cent, where its text has them."""
