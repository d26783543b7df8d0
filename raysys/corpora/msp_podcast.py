"""MSP-Podcast (Lotfian and Busso 2019; releases 1.8 to 2.0): tables of labels and cut utterances, eight classes.

`labels_consensus.csv` holds label, attributes on scales of 1 to 7, speaker, gender and part of each utterance;
`labels_detailed.csv` a row for each annotator; both at the top or in Labels. The audio is in Audios, the words in
Transcripts, a file each. Assumed of releases that differ: parts may be named Validation or Development, and columns of
the detailed table that are not there mean that there are no votes.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

from raysys.config import CORPORA
from raysys.corpora.folders import corpus_folder, refuse_pointer
from raysys.corpora.sheets import SheetRow, read_sheet, read_text
from raysys.corpora.table import SEXES
from raysys.data.manifest import UNKNOWN, Utterance
from raysys.data.partition import part_named
from raysys.errors import CorpusError

CLASSES = CORPORA["msp_podcast"].classes
_CLASS_OF_LETTER = dict(zip(("A", "C", "D", "F", "H", "N", "S", "U"), CLASSES, strict=True))
_CLASS_OF_WORD = {
    "angry": "angry",
    "contempt": "contempt",
    "disgust": "disgust",
    "fear": "fearful",
    "happy": "happy",
    "neutral": "neutral",
    "sad": "sad",
    "surprise": "surprised",
}
"""Of annotators, who may also write another word."""
_LEFT_OUT = {"X": "without agreement", "O": "of another emotion", "": "without a published label"}
_COLUMNS = ("FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom", "SpkrID", "Gender", "Split_Set")
_EXPECTED = (
    "Expected MSP-Podcast as published: Labels/labels_consensus.csv, Audios with the files it names, and Transcripts."
)


def read_msp_podcast(root: Path, *, given: bool, note: Callable[[str], None] = print) -> list[Utterance]:
    """Read the utterances whose annotators agree on one of the eight classes.

    `votes` are the annotators' first choices among the classes, in the order of `CLASSES`; an utterance without
    agreement has no class that it could be tested on, and is left out with its votes. Many speakers are unknown.

    Args:
        root: the folder that contains Labels, Audios and Transcripts.
        given: fill `split` with the published parts.
        note: takes what a user should know.

    Raises:
        CorpusError: the folder, its consensus table or its audio's folder does not exist, or a row is damaged.
        OSError: a folder or file cannot be read.
    """
    root = corpus_folder(root, _EXPECTED)
    table = _first(root, "Labels/labels_consensus.csv", "labels_consensus.csv")
    audio = _first(root, "Audios", "Audio")
    votes = _votes(_first(root, "Labels/labels_detailed.csv", "labels_detailed.csv"), note)
    if table is None or audio is None:
        missing = "labels_consensus.csv" if table is None else "folder Audios"
        raise CorpusError(f"{root}: contains no {missing}. {_EXPECTED} Set --corpus.root to the folder above them.")
    transcripts = root / "Transcripts"
    if not transcripts.is_dir():
        note(f"{transcripts}: is missing; utterances have no transcripts")
    utterances, left_out = [], Counter[str]()
    for row in read_sheet(table, _COLUMNS):
        letter = row["EmoClass"]
        if letter in _LEFT_OUT:
            left_out[letter] += 1
        elif letter not in _CLASS_OF_LETTER:
            raise row.wrong(f"unknown label {letter!r}, expected {', '.join((*_CLASS_OF_LETTER, 'X', 'O'))}.")
        else:
            utterances.append(_utterance(row, audio, transcripts, votes, given))
    for letter, n in left_out.items():
        note(f"{n} utterances {_LEFT_OUT[letter]} are left out")
    if utterances and Path(utterances[0].audio_path).is_file():
        with open(utterances[0].audio_path, "rb") as file:
            refuse_pointer(Path(utterances[0].audio_path), file.read(64))
    return utterances


def _first(root: Path, *names: str) -> Path | None:
    return next((root / name for name in names if (root / name).exists()), None)


def _utterance(
    row: SheetRow, audio: Path, transcripts: Path, votes: dict[str, tuple[float, ...]], given: bool
) -> Utterance:
    name = row["FileName"]
    gender = row["Gender"].casefold()
    if (split := part_named(row["Split_Set"])) is None:
        raise row.wrong(f"unknown part {row['Split_Set']!r}, expected Train, Development, Test1, Test2 or Test3.")
    unknown = row["SpkrID"].casefold() in ("", UNKNOWN)
    return Utterance(
        utterance_id=Path(name).stem,
        audio_path=str(audio / name),
        speaker=UNKNOWN if unknown else row["SpkrID"],
        emotion=_CLASS_OF_LETTER[row["EmoClass"]],
        transcript=_words(transcripts / f"{Path(name).stem}.txt"),
        sex=SEXES.get(gender),
        split=split if given else None,
        votes=votes.get(name),
        valence=_attribute(row, "EmoVal"),
        arousal=_attribute(row, "EmoAct"),
        dominance=_attribute(row, "EmoDom"),
        where=row.where,
    )


def _words(path: Path) -> str | None:
    return (" ".join(read_text(path).split()) or None) if path.is_file() else None


def _attribute(row: SheetRow, column: str) -> float | None:
    if not row[column]:
        return None
    try:
        value = float(row[column])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise row.wrong(f"column {column!r} holds {row[column]!r}, expected a number.")
    return value


def _votes(path: Path | None, note: Callable[[str], None]) -> dict[str, tuple[float, ...]]:
    """Shares of the annotators who chose one of the classes, by file; without those where nobody did."""
    if path is None:
        note("labels_detailed.csv is missing; utterances have no votes")
        return {}
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    try:
        for row in read_sheet(path, ("FileName", "EmoClass_Major")):
            if (emotion := _CLASS_OF_WORD.get(row["EmoClass_Major"].casefold())) is not None:
                counts[row["FileName"]][emotion] += 1
    except CorpusError as error:
        note(f"{error} Utterances have no votes")
        return {}
    return {name: tuple(own[emotion] / own.total() for emotion in CLASSES) for name, own in counts.items()}
