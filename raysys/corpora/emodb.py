"""The Berlin Database of Emotional Speech, EMO-DB (Burkhardt et al. 2005): wav/03a01Fa.wav -> utterances.

Seven classes, ten speakers, ten German sentences. The file name encodes speaker, sentence, emotion (the first letter of
its German name) and version.
"""

from __future__ import annotations

import re
from pathlib import Path

from raysys.config import CORPORA
from raysys.corpora.folders import audio_below, corpus_folder
from raysys.data.manifest import Utterance
from raysys.errors import CorpusError

CLASSES = CORPORA["emodb"].classes
_CLASS_OF_LETTER = dict(zip(("W", "L", "E", "A", "F", "N", "T"), CLASSES, strict=True))
# Wut, Langeweile, Ekel, Angst, Freude, neutral and Trauer.
_SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
_MEN, _WOMEN = ("03", "10", "11", "12", "15"), ("08", "09", "13", "14", "16")
_NAME = re.compile(r"(?P<speaker>\d\d)(?P<sentence>[ab]\d\d)(?P<letter>[WLEAFNT])[a-z]")
_EXPECTED = "Expected EMO-DB as published: wav with files such as 03a01Fa.wav."


def read_emodb(root: Path) -> list[Utterance]:
    """Read the audio files.

    Args:
        root: the folder that contains wav, or that folder itself.

    Raises:
        CorpusError: the folder does not exist or has no audio, or a file's name does not parse.
        OSError: a folder cannot be read.
    """
    root = corpus_folder(root, _EXPECTED)
    files = audio_below(root, _EXPECTED, "wav")
    return [_utterance(path) for path in files]


def _utterance(path: Path) -> Utterance:
    match = _NAME.fullmatch(path.stem)
    if match is None or match["speaker"] not in (*_MEN, *_WOMEN) or match["sentence"] not in _SENTENCES:
        raise CorpusError(
            f"{path}: the file name does not parse, expected speaker ({', '.join(sorted((*_MEN, *_WOMEN)))}), sentence "
            f"({', '.join(_SENTENCES)}), emotion ({', '.join(_CLASS_OF_LETTER)}) and version, such as 03a01Fa. Rename "
            f"or remove the file."
        )
    return Utterance(
        utterance_id=path.stem,
        audio_path=str(path),
        speaker=match["speaker"],
        emotion=_CLASS_OF_LETTER[match["letter"]],
        transcript=_SENTENCES[match["sentence"]],
        sex="M" if match["speaker"] in _MEN else "F",
    )
