"""IEMOCAP as published (Busso et al. 2008), four classes: Session1 ... Session5 -> utterances.

Labels come from dialog/EmoEvaluation/<dialog>.txt, transcripts from dialog/transcriptions/<dialog>.txt,
and audio from sentences/wav/<dialog>/<utterance>.wav (or .flac). The times on the label lines are not
needed: the sentences are already cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from raysys.config import CORPORA
from raysys.corpora.folders import refuse_other_than_folders
from raysys.data.manifest import Utterance
from raysys.errors import CorpusError

CLASSES = CORPORA["iemocap"].classes
"""The four classes used in the literature, in index order."""

_CLASS_OF_LABEL = {"ang": "ang", "hap": "hap", "exc": "hap", "neu": "neu", "sad": "sad"}
_LEFT_OUT = ("fru", "sur", "fea", "dis", "oth", "xxx")

_EXPECTED = (
    "Expected IEMOCAP as published: Session1 ... Session5, each with dialog/EmoEvaluation, "
    "dialog/transcriptions and sentences/wav."
)
_SESSION = re.compile(r"Session(\d+)")
_LABEL_LINE = re.compile(r"\[[\d.]+ - [\d.]+\]\t(\S+)\t(\S+)\t\[[^\]]*\]\s*")
_TRANSCRIPT_LINE = re.compile(r"(\S+)\s+\[[^\]]*\]:(.*)")
# Dialog names may end in letters (impro05a, script01_1b): parse by fields, not by character positions.
_UTTERANCE_ID = re.compile(r"(?P<dialog>Ses(?P<session>\d+)[FM]_\w+)_(?P<sex>[FM])(?P<turn>[^\W_]+)")


def read_iemocap(root: Path) -> list[Utterance]:
    """Read the utterances labelled angry, happy or excited (merged), neutral or sad.

    Utterances with other known labels are left out. The speaker follows from the letter that starts the id's last
    field: Ses01F_impro01_M000 is spoken by 'Ses01_M'; the F after Ses01 only says who wore the markers.

    Args:
        root: the folder that contains Session1 ... Session5; any of the five may be missing.

    Raises:
        CorpusError: the folder does not exist or contains no session, a session is not a folder, a label is damaged or
            unknown or has no audio, a dialog has audio but no labels, a transcript file is malformed or contradictory.
        OSError: a folder or text file cannot be read.
    """
    root = root.expanduser().absolute()
    if not root.is_dir():
        raise CorpusError(f"{root}: no such folder. {_EXPECTED} Set --corpus.root.")
    sessions = sorted(p for p in root.iterdir() if _SESSION.fullmatch(p.name))
    refuse_other_than_folders(sessions)
    if not sessions:
        folder = "the folder above" if _SESSION.fullmatch(root.name) else "the folder that contains them"
        raise CorpusError(f"{root}: contains no Session folder. {_EXPECTED} Set --corpus.root to {folder}.")
    return [utterance for session in sessions for utterance in _read_session(session)]


def _read_session(session: Path) -> Iterator[Utterance]:
    evaluations = session / "dialog" / "EmoEvaluation"
    # Top level only: the subfolders hold the individual annotators' files under the same names.
    label_files = sorted(p for p in evaluations.glob("*.txt") if not p.name.startswith("._"))
    if not label_files:
        raise CorpusError(
            f"{evaluations}: no label file <dialog>.txt. {_EXPECTED} Restore this session, or remove its folder."
        )
    audio = _audio_files(session / "sentences" / "wav")
    _refuse_audio_without_labels(session, {dialog for dialog, _ in audio} - {p.stem for p in label_files})
    for label_file in label_files:
        transcripts = _read_transcripts(session / "dialog" / "transcriptions" / label_file.name)
        for line, match, emotion in _read_labels(label_file):
            utterance_id = match[0]
            if int(match["session"]) != int(session.name.removeprefix("Session")):
                raise CorpusError(
                    f"{label_file}, line {line}: {utterance_id} does not belong to {session.name}. "
                    f"Restore the file from the published corpus."
                )
            path = audio.get((match["dialog"], utterance_id))
            if path is None:
                wanted = session / "sentences" / "wav" / match["dialog"] / f"{utterance_id}.wav"
                raise CorpusError(
                    f"{label_file}, line {line}: {utterance_id} is labelled {emotion!r}, but the "
                    f"audio file {wanted} (or .flac) does not exist. Restore it from the published corpus, "
                    "or remove the line."
                )
            yield Utterance(
                utterance_id=utterance_id,
                audio_path=str(path),
                speaker=f"Ses{match['session']}_{match['sex']}",
                emotion=emotion,
                transcript=transcripts.get(utterance_id),
                session=session.name,
                sex=match["sex"],
            )


def _refuse_audio_without_labels(session: Path, dialogs: set[str]) -> None:
    for dialog in sorted(dialogs):
        raise CorpusError(
            f"{session / 'sentences' / 'wav' / dialog}: this dialog has audio but no label file "
            f"{session / 'dialog' / 'EmoEvaluation' / f'{dialog}.txt'} (lower-case name). Restore the file "
            "from the published corpus, or remove the dialog's audio."
        )


def _read_labels(label_file: Path) -> Iterator[tuple[int, re.Match[str], str]]:
    """Line number, parsed id and class of every utterance in one of the four classes."""
    found = False
    for number, line in enumerate(_read_lines(label_file), start=1):
        if not line.startswith("[") and not any(map(_UTTERANCE_ID.fullmatch, line.split())):
            continue  # the header, or a single annotator's line
        found = True
        fields = _LABEL_LINE.fullmatch(line)
        utterance_id = _UTTERANCE_ID.fullmatch(fields[1]) if fields else None
        if fields is None or utterance_id is None:
            raise CorpusError(
                f"{label_file}, line {number}: {line!r} is not a label line, expected "
                "'[6.2901 - 8.2357]<TAB>Ses01F_impro01_F000<TAB>neu<TAB>[2.5000, 2.5000, 2.5000]'. "
                "Restore the file from the published corpus."
            )
        if utterance_id["turn"].startswith("XX"):
            continue
        label = fields[2]
        if label in _CLASS_OF_LABEL:
            yield number, utterance_id, _CLASS_OF_LABEL[label]
        elif label not in _LEFT_OUT:
            raise CorpusError(
                f"{label_file}, line {number}: unknown label {label!r} of {fields[1]}; expected "
                f"one of {', '.join((*_CLASS_OF_LABEL, *_LEFT_OUT))}. Restore the file from the "
                "published corpus."
            )
    if not found:
        raise CorpusError(
            f"{label_file}: contains no label line "
            "'[start - end]<TAB>utterance<TAB>label<TAB>[v, a, d]'. "
            "Restore the file from the published corpus."
        )


def _read_transcripts(path: Path) -> dict[str, str]:
    """Words by utterance id; utterances without words are absent, as are all if there is no file."""
    if not (path.exists() or path.is_symlink()):
        return {}
    transcripts: dict[str, str] = {}
    lines = _read_lines(path)
    matches = [(number, match) for number, line in enumerate(lines, 1) if (match := _TRANSCRIPT_LINE.fullmatch(line))]
    if not matches and any(line.strip() for line in lines):
        raise CorpusError(
            f"{path}: contains no line '<utterance> [start-end]: words'. Is it UTF-8 or ISO-8859-1, as published? "
            "Restore the file from the published corpus."
        )
    _note_lost_words(path, lines)
    for number, match in matches:
        utterance_id, words = match[1], match[2].strip()
        if re.search(r"_[FM]XX\d+$", utterance_id) or not words:
            continue
        first = transcripts.setdefault(utterance_id, words)
        if first != words:
            raise CorpusError(
                f"{path}, line {number}: {utterance_id} is {words!r} here and {first!r} above. Keep one of the two, or "
                "restore the file from the published corpus."
            )
    return transcripts


def _note_lost_words(path: Path, lines: list[str]) -> None:
    for number, line in enumerate(lines, 1):
        if not _TRANSCRIPT_LINE.fullmatch(line) and _UTTERANCE_ID.match(line):
            print(f"corpus    {path}, line {number}: ignored: {line!r}, expected '<utterance> [start-end]: words'")


def _audio_files(folder: Path) -> dict[tuple[str, str], Path]:
    """Audio files by dialog and utterance id; .wav takes precedence if both exist."""
    files = sorted(p for p in folder.glob("*/*") if p.suffix in (".flac", ".wav"))
    return {(p.parent.name, p.stem): p for p in files if not p.name.startswith("._") and p.parent.name[0] != "."}


def _read_lines(path: Path) -> list[str]:
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("iso-8859-1")
    # Not splitlines: it also splits at 0x85, which is a letter in some of the ISO-8859-1 files.
    return re.split(r"\r\n|\r|\n", text)
