"""Published scores for the same corpora, each with its evaluation protocol."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Scores in per cent; None if not reported."""

    source: str
    wa: float | None
    ua: float | None
    protocol: str


_CHOSEN_ON_TEST = "epoch and weights chosen on the reported folds: optimistic"

REFERENCES: dict[str, tuple[Reference, ...]] = {
    "iemocap": (
        Reference(source="the paper", wa=82.3, ua=83.0, protocol=_CHOSEN_ON_TEST),
        Reference(source="the paper, without both tasks", wa=70.6, ua=70.1, protocol=_CHOSEN_ON_TEST),
        Reference(source="the paper, without CCB1", wa=77.0, ua=77.4, protocol=_CHOSEN_ON_TEST),
        Reference(source="Padi 2022", wa=75.9, ua=75.0, protocol="as cited in the paper"),
        Reference(
            source="EmoBox, wav2vec2-base", wa=57.7, ua=58.3, protocol="EmoBox's folds; encoder frozen, audio only"
        ),
        Reference(
            source="EmoBox, Whisper-large-v3", wa=72.9, ua=73.5, protocol="EmoBox's folds; encoder frozen, audio only"
        ),
        Reference(source="wav2vec2 or HuBERT, fine-tuned", wa=73.0, ua=None, protocol="speaker-independent; approx."),
        Reference(source="majority class", wa=30.9, ua=None, protocol="always the most frequent class"),
    ),
    "ravdess": (
        Reference(source="the paper", wa=83.5, ua=82.4, protocol=_CHOSEN_ON_TEST),
        Reference(
            source="EmoBox, wav2vec2-base", wa=55.4, ua=54.3, protocol="EmoBox's six folds; encoder frozen, audio only"
        ),
        Reference(
            source="EmoBox, Whisper-large-v3",
            wa=75.9,
            ua=75.3,
            protocol="EmoBox's six folds; encoder frozen, audio only",
        ),
        Reference(
            source="small model from scratch (2026)", wa=None, ua=65.2, protocol="speaker-independent; best known"
        ),
        Reference(source="majority class", wa=13.3, ua=None, protocol="always the most frequent class"),
    ),
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
