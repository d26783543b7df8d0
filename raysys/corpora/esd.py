"""ESD (Zhou et al. 2022): 0011/Angry/0011_000351.wav -> utterances, five classes, 20 speakers.

Speakers 0001 to 0010 speak Chinese, 0011 to 0020 English: 350 sentences with each emotion. An older archive has the
parts `train`, `evaluation` and `test` as folders within each emotion's. `0011/0011.txt` holds the words, in UTF-8,
UTF-16, GBK or Windows-1252, in columns separated by tabs or, in some lines, by spaces.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from raysys.config import CORPORA
from raysys.corpora.folders import corpus_folder, sound_files
from raysys.corpora.sheets import read_text
from raysys.data.manifest import Utterance
from raysys.errors import CorpusError

CLASSES = CORPORA["esd"].classes
_CLASS_OF_FOLDER = dict(zip(("Angry", "Happy", "Neutral", "Sad", "Surprise"), CLASSES, strict=True))
_LAST_CHINESE = 10
_MEN = (4, 5, 6, 8, 10, 11, 12, 13, 14, 20)
_PARTS = {"train": "train", "evaluation": "validation", "test": "test"}
_SPEAKER = re.compile(r"00(0[1-9]|1\d|20)")
_LINE = re.compile(r"(\d{4}_\d{6})\s+(.*?)(\s+\S+)?\s*")
_EXPECTED = "Expected ESD as published: 0001 ... 0020, each with Angry, Happy, Neutral, Sad and Surprise."


def read_esd(root: Path, *, given: bool, note: Callable[[str], None] = print) -> list[Utterance]:
    """Read the speakers that are there.

    Args:
        root: the folder that contains 0001 ... 0020; any of them may be missing.
        given: fill `split` from the folders of the parts, which must be there.
        note: takes what a user should know.

    Raises:
        CorpusError: the folder does not exist or contains no speaker, a speaker has no audio, a file is in another
            folder than its name and place say, or parts are asked for and there are none.
        OSError: a folder or file cannot be read.
    """
    root = corpus_folder(root, _EXPECTED)
    speakers = sorted(p for p in root.iterdir() if _SPEAKER.fullmatch(p.name) and p.is_dir())
    if not speakers:
        raise CorpusError(f"{root}: contains no speaker's folder. {_EXPECTED} Set --corpus.root to the parent folder.")
    return [utterance for speaker in speakers for utterance in _read_speaker(speaker, given, note)]


def _read_speaker(speaker: Path, given: bool, note: Callable[[str], None]) -> list[Utterance]:
    files = sound_files(speaker)
    if not files:
        raise CorpusError(f"{speaker}: contains no audio. {_EXPECTED} Unpack it again, or remove the folder.")
    words = _words(speaker / f"{speaker.name}.txt", note)
    return [_utterance(path, speaker, words, given) for path in files]


def _utterance(path: Path, speaker: Path, words: dict[str, str], given: bool) -> Utterance:
    emotion, *rest = path.relative_to(speaker).parts[:-1] or ("",)
    part = rest[0] if rest else None
    named = re.fullmatch(rf"{speaker.name}_\d{{6}}", path.stem) is not None
    if not named or emotion not in _CLASS_OF_FOLDER or len(rest) > 1 or (part is not None and part not in _PARTS):
        raise CorpusError(
            f"{path}: expected {speaker.name}/<emotion>/{speaker.name}_<six digits>.wav, or with a folder "
            f"({', '.join(_PARTS)}) below the emotion's ({', '.join(_CLASS_OF_FOLDER)}). Move or remove the file."
        )
    if given and part is None:
        raise CorpusError(
            f"{path}: is in no folder {', '.join(_PARTS)}, which --corpus.folds given takes the parts from. Use the "
            f"archive that has them, or another --corpus.folds."
        )
    return Utterance(
        utterance_id=path.stem,
        audio_path=str(path),
        speaker=speaker.name,
        emotion=_CLASS_OF_FOLDER[emotion],
        transcript=words.get(path.stem),
        sex="M" if int(speaker.name) in _MEN else "F",
        split=_PARTS[part] if given and part is not None else None,
    )


def _words(path: Path, note: Callable[[str], None]) -> dict[str, str]:
    """Words by utterance; the label at the line's end may be in another language, and the folders have it."""
    if not path.is_file():
        note(f"{path}: is missing; the utterances of this speaker have no transcripts")
        return {}
    words: dict[str, str] = {}
    chinese = int(path.stem) <= _LAST_CHINESE
    for line in read_text(path, "gb18030" if chinese else "cp1252").splitlines():
        cells = [cell.strip() for cell in line.split("\t") if cell.strip()]
        if len(cells) >= 2 and re.fullmatch(r"\d{4}_\d{6}", cells[0]):
            words[cells[0]] = cells[1] if len(cells) > 2 else _without_label(cells[1])
        elif (match := _LINE.fullmatch(line.strip())) is not None and match[2]:
            words[match[1]] = match[2]
    return words


def _without_label(words: str) -> str:
    """Without the label, which follows the words after spaces in some lines."""
    before, _, label = words.rpartition(" ")
    return before.strip() if label.capitalize() in _CLASS_OF_FOLDER and before else words
