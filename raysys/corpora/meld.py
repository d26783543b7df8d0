"""MELD (Poria et al. 2019), MELD.Raw: a CSV table and a folder of MP4 clips for each part -> utterances, seven classes.

The tables are `{train,dev,test}_sent_emo.csv`, at the top or in `train`, `dev` and `test`; the clips are
`dia0_utt0.mp4` and the like in `train_splits`, `dev_splits_complete` and `output_repeated_splits_test`, at the same
places. Clips that were converted to WAV or FLAC under the same names are read too. The words have quotes of
Windows-1252.

Speakers are names within the series: those of the six friends are in all parts, and one such as 'Waiter' may be several
people. Two clips are not usable as published. A clip of the test part is 305 s long, others 0.06 s.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from raysys.config import CORPORA
from raysys.corpora.folders import corpus_folder
from raysys.corpora.sheets import read_sheet
from raysys.data.manifest import Utterance
from raysys.data.names import spellings
from raysys.errors import CorpusError

CLASSES = CORPORA["meld"].classes
_CLASS_OF_LABEL = dict(zip(("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise"), CLASSES, strict=True))
_PARTS = {
    "train": ("train", "train_splits"),
    "dev": ("validation", "dev_splits_complete"),
    "test": ("test", "output_repeated_splits_test"),
}
"""Part of the partition and folder of clips by the name in the tables' names."""
_UNUSABLE = {"train-dia125_utt3": "is damaged", "dev-dia110_utt7": "does not exist"}
_ENDINGS = (".mp4", ".wav", ".flac")
_COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
_EXPECTED = (
    "Expected MELD.Raw as published: train_sent_emo.csv, dev_sent_emo.csv and test_sent_emo.csv, and the clips "
    "unpacked into train_splits, dev_splits_complete and output_repeated_splits_test."
)


def read_meld(root: Path, *, given: bool, note: Callable[[str], None] = print) -> list[Utterance]:
    """Read the three tables; ids are such as 'train-dia0_utt0', since each part counts its dialogues from 0.

    Args:
        root: the folder of MELD.Raw.
        given: fill `split` with the published parts.
        note: takes what a user should know.

    Raises:
        CorpusError: the folder does not exist, a table or a part's folder of clips is missing or empty, a table is
            damaged, or a label is unknown.
        OSError: a folder or table cannot be read.
    """
    root = corpus_folder(root, _EXPECTED)
    utterances: list[Utterance] = []
    for part, (split, folder) in _PARTS.items():
        table = _first([root / f"{part}_sent_emo.csv", root / part / f"{part}_sent_emo.csv"])
        clips = _first([root / part / folder, root / folder])
        if table is None or clips is None:
            missing = f"{part}_sent_emo.csv" if table is None else f"folder {folder}"
            raise CorpusError(f"{root}: contains no {missing}. {_EXPECTED} Set --corpus.root to the folder above them.")
        found = {path.name: path for path in clips.iterdir() if path.suffix.lower() in _ENDINGS}
        if not found:
            raise CorpusError(f"{clips}: contains no clip such as dia0_utt0.mp4. {_EXPECTED}")
        own = _read_part(table, part, clips, found, note)
        utterances += [dataclasses.replace(u, split=split) for u in own] if given else own
    return _with_one_spelling(utterances)


def _first(paths: Sequence[Path]) -> Path | None:
    return next((path for path in paths if path.exists()), None)


def _read_part(
    table: Path, part: str, clips: Path, found: dict[str, Path], note: Callable[[str], None]
) -> Iterator[Utterance]:
    for row in read_sheet(table, _COLUMNS):
        if not (row["Dialogue_ID"].isdecimal() and row["Utterance_ID"].isdecimal() and row["Speaker"]):
            raise row.wrong(f"columns {', '.join(_COLUMNS[1:])} need a name, a label and two numbers.")
        name = f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}"
        emotion = _CLASS_OF_LABEL.get(row["Emotion"].casefold())
        if emotion is None:
            raise row.wrong(f"unknown label {row['Emotion']!r}, expected one of {', '.join(_CLASS_OF_LABEL)}.")
        # One that should be there and is not is found by the inspection of all audio, which may skip it.
        path = next((found[name + ending] for ending in _ENDINGS if name + ending in found), clips / f"{name}.mp4")
        if (unusable := _UNUSABLE.get(f"{part}-{name}")) is not None:
            note(f"{path} is left out: it {unusable}, as published")
            continue
        yield Utterance(
            utterance_id=f"{part}-{name}",
            audio_path=str(path),
            speaker=row["Speaker"],
            emotion=emotion,
            transcript=row["Utterance"] or None,
            where=row.where,
        )


def _with_one_spelling(utterances: list[Utterance]) -> list[Utterance]:
    """Each speaker in the first of its spellings, such as of upper and lower case."""
    one = {name: group[0] for group in spellings(u.speaker for u in utterances) for name in group[1:]}
    return [dataclasses.replace(u, speaker=one[u.speaker]) if u.speaker in one else u for u in utterances]
