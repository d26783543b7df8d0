"""RAVDESS (Livingstone and Russo 2018): Actor_NN/MM-VC-EE-II-SS-RR-AA.wav -> utterances.

The file name encodes everything: modality, vocal channel, emotion, intensity, statement, repetition
and actor.
"""

from __future__ import annotations

import re
from pathlib import Path

from raysys.config import CORPORA
from raysys.corpora.folders import refuse_other_than_folders
from raysys.data.manifest import Utterance
from raysys.errors import CorpusError

CLASSES = CORPORA["ravdess"].classes
"""The eight emotions in the order of their codes, 01 to 08."""

EMOBOX_FOLDS = (
    (1, 11, 20, 21),
    (4, 10, 12, 14),
    (8, 9, 19, 23),
    (3, 5, 7, 24),
    (2, 15, 16, 18),
    (6, 13, 17, 22),
)
"""Actors of the six test folds published by EmoBox (Ma et al. 2024)."""

_STATEMENTS = ("Kids are talking by the door", "Dogs are sitting by the door")
_FOLD_OF_ACTOR = {actor: f"emobox-{number}" for number, actors in enumerate(EMOBOX_FOLDS, 1) for actor in actors}
# Meaning of each part of a file name, and its largest code; all start at 1.
_FIELDS = (
    ("modality", 3),
    ("vocal channel", 2),
    ("emotion", 8),
    ("intensity", 2),
    ("statement", 2),
    ("repetition", 2),
    ("actor", 24),
)
_AUDIO_ONLY, _SPEECH, _SONG = 3, 1, 2
_NAME = "MM-VC-EE-II-SS-RR-AA, two digits each, such as 03-01-06-01-02-01-12"
_EXPECTED = f"Expected RAVDESS as published: Actor_01 ... Actor_24, each with audio files {_NAME}.wav (or .flac)."


def read_ravdess(root: Path, *, include_songs: bool) -> list[Utterance]:
    """Read the audio-only files; `fold` is EmoBox's published fold.

    Args:
        root: the folder that contains Actor_01 ... Actor_24; any of them may be missing.
        include_songs: also read the song files (vocal channel 02).

    Raises:
        CorpusError: the folder does not exist or contains no actor, an actor is not a folder, is misnamed or has no
            audio, an audio file's name does not parse, or songs are requested and there are none.
        OSError: a folder cannot be read.
    """
    root = root.expanduser().absolute()
    if not root.is_dir():
        raise CorpusError(f"{root}: no such folder. {_EXPECTED} Set --corpus.root.")
    actors = sorted(p for p in root.iterdir() if re.fullmatch(r"Actor_\d\d", p.name))
    _refuse_other_names(root)
    refuse_other_than_folders(actors)
    if not actors:
        raise CorpusError(f"{root}: contains no Actor folder. {_EXPECTED} Set --corpus.root to the parent folder.")
    channels = (_SPEECH, _SONG) if include_songs else (_SPEECH,)
    utterances: list[Utterance] = []
    songs = 0
    for actor in actors:
        read = len(utterances)
        for path in sorted(actor.iterdir()):
            if path.suffix.lower() not in (".wav", ".flac") or path.name.startswith("._"):
                continue
            modality, channel, emotion, _, statement, _, actor_number = _parse(path)
            if modality == _AUDIO_ONLY and channel in channels:
                utterances.append(_utterance(path, emotion, statement, actor_number))
                songs += channel == _SONG
        if len(utterances) == read:
            raise _nothing_to_read(actor)
    if include_songs and not songs:
        raise CorpusError(
            f"{root}: --corpus.include-songs requests song files (vocal channel 02), but there are "
            "none. Unpack RAVDESS's song archive into the same Actor folders, or drop the flag."
        )
    return utterances


def _refuse_other_names(root: Path) -> None:
    for path in sorted(root.iterdir()):
        if re.fullmatch(r"(?i)actor[ _-]?[0-9]+", path.name) and not re.fullmatch(r"Actor_[0-9]{2}", path.name):
            raise CorpusError(
                f"{path}: expected an actor's folder to be named Actor_01 ... Actor_24; this one would be skipped. "
                "Rename it, or move it elsewhere."
            )


def _nothing_to_read(actor: Path) -> CorpusError:
    found = sorted(p.name for p in actor.iterdir())
    listed = f"other files or folders, such as {found[0]!r}" if found else "nothing"
    return CorpusError(
        f"{actor}: contains no audio-only speech file, expected {_NAME}.wav (or .flac, starting with 03-01) directly "
        f"in this folder, found {listed}. Move or convert the files, or remove the folder to leave the actor out."
    )


def _parse(path: Path) -> tuple[int, ...]:
    """The seven codes of a file name, validated."""
    if not re.fullmatch(r"\d\d(-\d\d){6}", path.stem, flags=re.ASCII):
        raise CorpusError(f"{path}: the file name does not parse, expected {_NAME}. Rename or remove the file.")
    codes = tuple(int(code) for code in path.stem.split("-"))
    for code, (field, largest) in zip(codes, _FIELDS, strict=True):
        if not 1 <= code <= largest:
            raise CorpusError(
                f"{path}: {field} {code:02d} in the file name, expected 01 to {largest:02d} "
                f"({_NAME}). Rename or remove the file."
            )
    if path.parent.name != f"Actor_{codes[-1]:02d}":
        raise CorpusError(
            f"{path}: the file name says actor {codes[-1]:02d}, but the folder is {path.parent.name}. "
            f"Move the file to Actor_{codes[-1]:02d}, or rename it."
        )
    return codes


def _utterance(path: Path, emotion: int, statement: int, actor: int) -> Utterance:
    return Utterance(
        utterance_id=path.stem,
        audio_path=str(path),
        speaker=f"Actor_{actor:02d}",
        emotion=CLASSES[emotion - 1],
        transcript=_STATEMENTS[statement - 1],
        sex="M" if actor % 2 else "F",
        fold=_FOLD_OF_ACTOR[actor],
    )
