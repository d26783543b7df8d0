"""SAVEE (Haq and Jackson 2009): DC/a01.wav or DC_a01.wav -> utterances, seven classes, four English men.

Speaker, emotion and number are in the name of the file, or the speaker in its folder's. There are no transcripts.
"""

from __future__ import annotations

import re
from pathlib import Path

from raysys.config import CORPORA
from raysys.corpora.folders import audio_below, corpus_folder
from raysys.data.manifest import Utterance
from raysys.errors import CorpusError

CLASSES = CORPORA["savee"].classes
_CLASS_OF_CODE = dict(zip(("a", "d", "f", "h", "n", "sa", "su"), CLASSES, strict=True))
SPEAKERS = ("DC", "JE", "JK", "KL")
_NAME = re.compile(r"((?P<speaker>[A-Z]{2})_)?(?P<code>a|d|f|h|n|sa|su)\d\d")
_EXPECTED = "Expected SAVEE as published: DC, JE, JK and KL with files such as a01.wav, or files such as DC_a01.wav."


def read_savee(root: Path) -> list[Utterance]:
    """Read the audio files, at any depth.

    Args:
        root: a folder above the speakers', or above files named after them.

    Raises:
        CorpusError: the folder does not exist or has no audio, or a file's name does not parse.
        OSError: a folder cannot be read.
    """
    root = corpus_folder(root, _EXPECTED)
    files = audio_below(root, _EXPECTED)
    return [_utterance(path) for path in files]


def _utterance(path: Path) -> Utterance:
    match = _NAME.fullmatch(path.stem)
    speaker = (match["speaker"] or path.parent.name) if match is not None else ""
    if match is None or speaker not in SPEAKERS:
        raise CorpusError(
            f"{path}: expected a speaker ({', '.join(SPEAKERS)}, in the file's or the folder's name), an emotion "
            f"({', '.join(_CLASS_OF_CODE)}) and a number, such as DC_a01.wav or DC/a01.wav. Rename or remove the file."
        )
    code = match["code"]
    return Utterance(
        utterance_id=f"{speaker}_{path.stem.removeprefix(f'{speaker}_')}",
        audio_path=str(path),
        speaker=speaker,
        emotion=_CLASS_OF_CODE[code],
        sex="M",
    )
