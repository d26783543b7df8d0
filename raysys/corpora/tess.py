"""TESS (Pichora-Fuller and Dupuis 2020): OAF_angry/OAF_back_angry.wav -> utterances, seven classes, two women.

File names encode speaker (the older OAF, the younger YAF), word and emotion; `ps` is pleasant surprise. Each says "Say
the word ..." with 200 words. A widespread archive holds everything twice, in a folder within one of the same name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from raysys.config import CORPORA
from raysys.corpora.folders import audio_below, corpus_folder
from raysys.data.manifest import Utterance
from raysys.errors import CorpusError

CLASSES = CORPORA["tess"].classes
_CLASS_OF_WORD = dict(zip(("angry", "disgust", "fear", "happy", "neutral", "sad", "ps"), CLASSES, strict=True))
# OA_bite_neutral.wav is OAF's.
_NAME = re.compile(rf"(?P<speaker>OAF?|YAF)_(?P<word>[^_]+)_(?P<emotion>{'|'.join(_CLASS_OF_WORD)})")
_EXPECTED = "Expected TESS as published: folders such as OAF_angry with files such as OAF_back_angry.wav."


def read_tess(root: Path, *, note: Callable[[str], None] = print) -> list[Utterance]:
    """Read the audio files, at any depth; of several with one name the least deep one.

    Two speakers are too few for cross-validation; a model of another corpus can be evaluated on them.

    Args:
        root: a folder above the files.
        note: takes what a user should know.

    Raises:
        CorpusError: the folder does not exist or has no audio, or a file's name does not parse.
        OSError: a folder cannot be read.
    """
    root = corpus_folder(root, _EXPECTED)
    files = audio_below(root, _EXPECTED)
    utterances: dict[str, Utterance] = {}
    for path in files:
        utterance = _utterance(path)
        utterances.setdefault(utterance.utterance_id, utterance)
    if copies := len(files) - len(utterances):
        note(f"{copies} files that are there a second time, under the same name in another folder, are left out")
    return [*utterances.values()]


def _utterance(path: Path) -> Utterance:
    match = _NAME.fullmatch(path.stem)
    if match is None:
        raise CorpusError(
            f"{path}: the file name does not parse, expected speaker (OAF, YAF), word and emotion "
            f"({', '.join(_CLASS_OF_WORD)}), such as OAF_back_angry. Rename or remove the file."
        )
    speaker = "YAF" if match["speaker"] == "YAF" else "OAF"
    return Utterance(
        utterance_id=f"{speaker}_{match['word']}_{match['emotion']}",
        audio_path=str(path),
        speaker=speaker,
        emotion=_CLASS_OF_WORD[match["emotion"]],
        transcript=f"Say the word {match['word']}.",
        sex="F",
    )
