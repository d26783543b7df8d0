"""CREMA-D (Cao et al. 2014): AudioWAV/1001_DFA_ANG_XX.wav -> utterances, six classes, 91 actors, twelve sentences.

The file name encodes actor, sentence, acted emotion and intensity. Ratings are in processedResults/tabulatedVotes.csv,
a row for each clip as sound alone, video alone and both; those of the sound are read. VideoDemographics.csv says the
actors' sex.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from raysys.config import CORPORA
from raysys.corpora.folders import audio_below, corpus_folder
from raysys.corpora.sheets import read_sheet
from raysys.data.manifest import Utterance
from raysys.errors import CorpusError

CLASSES = CORPORA["cremad"].classes
_CLASS_OF_CODE = dict(zip(("ANG", "DIS", "FEA", "HAP", "NEU", "SAD"), CLASSES, strict=True))
"""In the order of the columns of votes: A, D, F, H, N, S."""

_SENTENCES = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}
_SILENT = "1076_MTI_SAD_XX"
"""Has no sound as published."""
_NAME = re.compile(r"(?P<actor>1\d{3})_(?P<sentence>[A-Z]{3})_(?P<emotion>[A-Z]{3})_(LO|MD|HI|XX|X)")
_VOICE = re.compile(r"1\d{5}")
"""Rows of the votes are numbered 100000 times the kind (1: voice alone) plus the clip's number."""
_EXPECTED = "Expected CREMA-D as published: AudioWAV with files such as 1001_DFA_ANG_XX.wav."


def read_cremad(
    root: Path, *, labels: Literal["acted", "voted"], note: Callable[[str], None] = print
) -> list[Utterance]:
    """Read the audio files; `votes` are the raters' of the sound alone, in the order of `CLASSES`.

    Args:
        root: the folder that contains AudioWAV, or that folder itself.
        labels: the emotion that was acted, or that most raters heard; ties are left out then, with a note.
        note: takes what a user should know.

    Raises:
        CorpusError: the folder does not exist or has no audio, a file's name does not parse, a table is damaged, or
            voted labels are asked for and the votes are not there.
        OSError: a folder or table cannot be read.
    """
    root = corpus_folder(root, _EXPECTED)
    files = audio_below(root, _EXPECTED, "AudioWAV")
    votes = _votes(root / "processedResults" / "tabulatedVotes.csv", labels, note)
    sexes = _sexes(root / "VideoDemographics.csv", note)
    utterances = []
    silent = tied = 0
    for path in files:
        match = _parsed(path)
        own = votes.get(_listed(path.stem))
        voted = None if own is None else _most(own)
        silent += path.stem == _SILENT
        tied += labels == "voted" and voted is None
        emotion = voted if labels == "voted" else _CLASS_OF_CODE[match["emotion"]]
        if path.stem != _SILENT and emotion is not None:
            utterances.append(
                Utterance(
                    utterance_id=path.stem,
                    audio_path=str(path),
                    speaker=match["actor"],
                    emotion=emotion,
                    transcript=_SENTENCES[match["sentence"]],
                    sex=sexes.get(match["actor"]),
                    votes=own,
                )
            )
    if silent:
        note(f"{_SILENT} is left out: it has no sound, as published")
    if tied:
        note(f"{tied} utterances whose raters are tied, or are none, are left out")
    return utterances


def _parsed(path: Path) -> re.Match[str]:
    match = _NAME.fullmatch(path.stem)
    if match is None or match["sentence"] not in _SENTENCES or match["emotion"] not in _CLASS_OF_CODE:
        raise CorpusError(
            f"{path}: the file name does not parse, expected actor, sentence ({', '.join(_SENTENCES)}), emotion "
            f"({', '.join(_CLASS_OF_CODE)}) and intensity, such as 1001_DFA_ANG_XX. Rename or remove the file."
        )
    return match


def _listed(name: str) -> str:
    """A clip's name in the tables: the audio of 1040_ITH_SAD_XX is named 1040_ITH_SAD_X."""
    return f"{name}X" if name.endswith("_X") else name


def _votes(path: Path, labels: str, note: Callable[[str], None]) -> dict[str, tuple[float, ...]]:
    """Shares of the raters of the sound alone, by clip; without those that nobody rated."""
    if not path.is_file():
        if labels == "voted":
            raise CorpusError(
                f"{path}: is missing, which holds the votes for --corpus.labels voted. Copy it from the published "
                f"corpus, or use the acted emotions."
            )
        note(f"{path}: is missing; utterances have no votes")
        return {}
    codes = [code[0] for code in _CLASS_OF_CODE]
    votes = {}
    for row in read_sheet(path, ("", *codes, "fileName")):
        if not _VOICE.fullmatch(row[""]):
            continue
        if not all(re.fullmatch(r"[0-9]{1,6}", row[code]) for code in codes):
            raise row.wrong(f"columns {', '.join(codes)} hold {[row[code] for code in codes]}, expected whole numbers.")
        counts = [int(row[code]) for code in codes]
        if total := sum(counts):
            votes[row["fileName"]] = tuple(count / total for count in counts)
    return votes


def _most(votes: tuple[float, ...]) -> str | None:
    """The emotion that most raters chose; None if several have most."""
    return CLASSES[votes.index(max(votes))] if votes.count(max(votes)) == 1 else None


def _sexes(path: Path, note: Callable[[str], None]) -> dict[str, str]:
    if not path.is_file():
        note(f"{path}: is missing; the actors' sex is unknown")
        return {}
    sexes = {"male": "M", "female": "F"}
    return {
        row["ActorID"]: sex
        for row in read_sheet(path, ("ActorID", "Sex"))
        if (sex := sexes.get(row["Sex"].casefold())) is not None
    }
