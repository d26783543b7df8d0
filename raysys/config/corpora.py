"""What is known of each corpus that has a reader: one record each, which all others read.

Classes have the same names in all corpora but IEMOCAP, whose own are in use everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CorpusName = Literal[
    "demo",
    "iemocap",
    "ravdess",
    "table",
    "emobox",
    "cremad",
    "meld",
    "msp_podcast",
    "emodb",
    "savee",
    "tess",
    "esd",
    "msp_improv",
    "multi",
]
Folds = Literal["session", "speaker", "groups", "emobox", "given"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Scores in per cent; None if not reported."""

    source: str
    wa: float | None
    ua: float | None
    protocol: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """A corpus as published.

    Attributes:
        title: its name for people.
        classes: in index order; empty where they depend on what is read.
        n_speakers, n_sessions: 0 where they depend on what is read, or there are none.
        folds: what --corpus.folds auto stands for; None where it depends on what is read.
        paper_folds: what --corpus.folds paper stands for, if it is another.
        has_parts: whether it may come with a published partition (--corpus.folds given).
        words_tell: whether transcripts may help: there are some, and they differ between emotions.
        language: its code, if it is one.
        terms: licence, and where to get it.
        references: published scores.
    """

    title: str
    classes: tuple[str, ...] = ()
    n_speakers: int = 0
    n_sessions: int = 0
    folds: Folds | None = None
    paper_folds: Folds | None = None
    has_parts: bool = False
    words_tell: bool = False
    language: str | None = None
    terms: str = ""
    references: tuple[Reference, ...] = ()


_SIX = ("angry", "disgust", "fearful", "happy", "neutral", "sad")
_SEVEN = (*_SIX, "surprised")
_CHOSEN_ON_TEST = "epoch and weights chosen on the reported folds: optimistic"
_FROZEN = "encoder frozen, audio only"

_IEMOCAP_SCORES = (
    Reference(source="the paper", wa=82.3, ua=83.0, protocol=_CHOSEN_ON_TEST),
    Reference(source="the paper, without both tasks", wa=70.6, ua=70.1, protocol=_CHOSEN_ON_TEST),
    Reference(source="the paper, without CCB1", wa=77.0, ua=77.4, protocol=_CHOSEN_ON_TEST),
    Reference(source="Padi 2022", wa=75.9, ua=75.0, protocol="as cited in the paper"),
    Reference(source="EmoBox, wav2vec2-base", wa=57.7, ua=58.3, protocol=f"EmoBox's folds; {_FROZEN}"),
    Reference(source="EmoBox, Whisper-large-v3", wa=72.9, ua=73.5, protocol=f"EmoBox's folds; {_FROZEN}"),
    Reference(source="wav2vec2 or HuBERT, fine-tuned", wa=73.0, ua=None, protocol="speaker-independent; approx."),
    Reference(source="majority class", wa=30.9, ua=None, protocol="always the most frequent class"),
)
_RAVDESS_SCORES = (
    Reference(source="the paper", wa=83.5, ua=82.4, protocol=_CHOSEN_ON_TEST),
    Reference(source="EmoBox, wav2vec2-base", wa=55.4, ua=54.3, protocol=f"EmoBox's six folds; {_FROZEN}"),
    Reference(source="EmoBox, Whisper-large-v3", wa=75.9, ua=75.3, protocol=f"EmoBox's six folds; {_FROZEN}"),
    Reference(source="small model from scratch (2026)", wa=None, ua=65.2, protocol="speaker-independent; best known"),
    Reference(source="majority class", wa=13.3, ua=None, protocol="always the most frequent class"),
)

CORPORA: dict[CorpusName, Corpus] = {
    "demo": Corpus(
        title="the demo corpus",
        classes=("ang", "hap", "neu", "sad"),
        n_speakers=10,
        n_sessions=5,
        folds="session",
        words_tell=True,
        language="en",
    ),
    "iemocap": Corpus(
        title="IEMOCAP",
        classes=("ang", "hap", "neu", "sad"),
        n_speakers=10,
        n_sessions=5,
        folds="session",
        words_tell=True,
        language="en",
        terms="research, on request (sail.usc.edu/iemocap)",
        references=_IEMOCAP_SCORES,
    ),
    "ravdess": Corpus(
        title="RAVDESS",
        classes=("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"),
        n_speakers=24,
        folds="emobox",
        paper_folds="groups",
        language="en",
        terms="CC BY-NC-SA 4.0 (zenodo.org/records/1188976)",
        references=_RAVDESS_SCORES,
    ),
    "table": Corpus(title="a table", has_parts=True, words_tell=True),
    "emobox": Corpus(title="a corpus with EmoBox's metadata"),
    "cremad": Corpus(
        title="CREMA-D",
        classes=_SIX,
        n_speakers=91,
        folds="groups",
        language="en",
        terms="ODbL 1.0 (github.com/CheyneyComputerScience/CREMA-D)",
    ),
    "meld": Corpus(
        title="MELD",
        classes=_SEVEN,
        folds="given",
        has_parts=True,
        words_tell=True,
        language="en",
        terms="GPL-3 for the annotations; clips of a television series (affective-meld.github.io)",
    ),
    "msp_podcast": Corpus(
        title="MSP-Podcast",
        classes=("angry", "contempt", "disgust", "fearful", "happy", "neutral", "sad", "surprised"),
        folds="given",
        has_parts=True,
        words_tell=True,
        language="en",
        terms="research, on request (University of Texas at Dallas, MSP lab)",
    ),
    "emodb": Corpus(
        title="EMO-DB",
        classes=("angry", "bored", "disgust", "fearful", "happy", "neutral", "sad"),
        n_speakers=10,
        folds="speaker",
        language="de",
        terms="free of charge (emodb.bilderbar.info)",
    ),
    "savee": Corpus(
        title="SAVEE",
        classes=_SEVEN,
        n_speakers=4,
        folds="speaker",
        language="en",
        terms="research, after registration (kahlan.eps.surrey.ac.uk/savee)",
    ),
    "tess": Corpus(
        title="TESS",
        classes=_SEVEN,
        n_speakers=2,
        folds="speaker",
        language="en",
        terms="CC BY-NC-ND 4.0 (doi.org/10.5683/SP2/E8H2MF)",
    ),
    "esd": Corpus(
        title="ESD",
        classes=("angry", "happy", "neutral", "sad", "surprised"),
        n_speakers=20,
        folds="groups",
        has_parts=True,
        terms="research (github.com/HLTSingapore/Emotional-Speech-Data)",
    ),
    "msp_improv": Corpus(
        title="MSP-IMPROV",
        classes=("angry", "happy", "neutral", "sad"),
        n_speakers=12,
        n_sessions=6,
        folds="session",
        words_tell=True,
        language="en",
        terms="research, on request (University of Texas at Dallas, MSP lab)",
    ),
    # Words would tell the corpora apart before they tell emotions apart.
    "multi": Corpus(title="several corpora"),
}
