"""Published scores to stand beside, each with the protocol that it was made by (METHOD, section 10)."""

from __future__ import annotations

from dataclasses import dataclass

_PAPER = "epoch and weights chosen on the reported folds"
_EMOBOX = "EmoBox, frozen encoder, audio only"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Percent; None where the source gives none."""

    who: str
    protocol: str
    wa: float | None
    ua: float | None


_REFERENCES: dict[str, tuple[Reference, ...]] = {
    "iemocap": (
        Reference(who="the paper", protocol=_PAPER, wa=82.3, ua=83.0),
        Reference(who="the paper without both tasks", protocol=_PAPER, wa=70.6, ua=70.1),
        Reference(who="the paper without CCB1", protocol=_PAPER, wa=77.0, ua=77.4),
        Reference(who="Padi 2022", protocol="as the paper compares", wa=75.9, ua=75.0),
        Reference(who="wav2vec2-base", protocol=_EMOBOX, wa=57.7, ua=58.3),
        Reference(who="Whisper-large-v3", protocol=_EMOBOX, wa=72.9, ua=73.5),
        Reference(who="wav2vec2 or HuBERT fine-tuned", protocol="speaker-independent", wa=73.0, ua=None),
        Reference(who="majority class", protocol="", wa=30.9, ua=25.0),
    ),
    "ravdess": (
        Reference(who="the paper", protocol=_PAPER, wa=83.5, ua=82.4),
        Reference(who="wav2vec2-base", protocol=f"{_EMOBOX}, six folds", wa=55.4, ua=54.3),
        Reference(who="Whisper-large-v3", protocol=f"{_EMOBOX}, six folds", wa=75.9, ua=75.3),
        Reference(who="small model from scratch", protocol="speaker-independent, at best", wa=None, ua=65.2),
        Reference(who="majority class", protocol="", wa=13.3, ua=12.5),
    ),
}


def references(corpus: str) -> tuple[Reference, ...]:
    """Those of a corpus; none for one that nobody has published on."""
    return _REFERENCES.get(corpus, ())
