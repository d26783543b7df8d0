"""MSP-IMPROV (Busso et al. 2017): acted dialogs of six sessions -> utterances, four classes, twelve speakers.

`Evalution.txt` (or Evaluation.txt) holds a block for each utterance: its name with label and mean attributes on scales
of 1 to 5, then a line for each annotator. The audio, MSP-IMPROV-S01A-F01-P-FM01.wav, is looked for at any depth. The
third part of a name says who speaks, and thereby the session. Words are in text files named after utterances in
`All_human_transcriptions`, at any depth, in releases that have them.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from raysys.config import CORPORA
from raysys.corpora.folders import corpus_folder, sound_files
from raysys.corpora.sheets import read_text
from raysys.data.manifest import Utterance
from raysys.errors import CorpusError

CLASSES = CORPORA["msp_improv"].classes
_CLASS_OF_LETTER = dict(zip(("A", "H", "N", "S"), CLASSES, strict=True))
_LEFT_OUT = {"X": "without agreement", "O": "of another emotion"}
_LABELLED = re.compile(
    r"UTD-IMPROV-(?P<name>S\d\d[A-Z]-(?P<sex>[FM])(?P<session>\d\d)-[A-Z]-[FM]{2}\d\d)\.avi;\s*(?P<label>\w)\s*;"
    r"\s*A:(?P<arousal>[^;]*);\s*V:(?P<valence>[^;]*);\s*D:(?P<dominance>[^;]*);.*"
)
_RATED = re.compile(r"[^;]+;\s*(?P<word>\w+)\s*;[^;]*;.*")
_TABLES = ("Evalution.txt", "Evaluation.txt")
_EXPECTED = "Expected MSP-IMPROV as published: Evalution.txt, and audio such as MSP-IMPROV-S01A-F01-P-FM01.wav below."


def read_msp_improv(root: Path, *, note: Callable[[str], None] = print) -> list[Utterance]:
    """Read the utterances labelled angry, happy, neutral or sad.

    `votes` are the annotators' first choices among the classes, in the order of `CLASSES`.

    Args:
        root: the folder with the table of labels.
        note: takes what a user should know.

    Raises:
        CorpusError: the folder or its table does not exist, a line of a label is damaged, or there is no audio.
        OSError: a folder or file cannot be read.
    """
    root = corpus_folder(root, _EXPECTED)
    table = next((root / name for name in _TABLES if (root / name).is_file()), None)
    audio = {path.stem: path for path in sound_files(root)}
    if table is None or not audio:
        missing = _TABLES[0] if table is None else "audio"
        raise CorpusError(f"{root}: contains no {missing}. {_EXPECTED} Set --corpus.root.")
    texts = {p.stem: p for p in root.rglob("*.txt") if any("transcription" in part.lower() for part in p.parts[:-1])}
    if not texts:
        note(f"{root}: contains no folder All_human_transcriptions; utterances have no transcripts")
    utterances, left_out = [], Counter[str]()
    for where, match, votes in _blocks(table):
        if match["label"] in _LEFT_OUT:
            left_out[match["label"]] += 1
            continue
        if match["label"] not in _CLASS_OF_LETTER:
            raise _damaged(where, f"unknown label {match['label']!r}")
        name = f"MSP-IMPROV-{match['name']}"
        # One that should be there and is not is found by the inspection of all audio, which may skip it.
        path = audio.get(name, root / f"{name}.wav")
        words = " ".join(read_text(texts[name]).split()) if name in texts else ""
        utterances.append(
            Utterance(
                utterance_id=name,
                audio_path=str(path),
                speaker=match["sex"] + match["session"],
                emotion=_CLASS_OF_LETTER[match["label"]],
                transcript=words or None,
                session=f"session{int(match['session'])}",
                sex=match["sex"],
                votes=votes,
                valence=_mean(where, match["valence"]),
                arousal=_mean(where, match["arousal"]),
                dominance=_mean(where, match["dominance"]),
                where=where,
            )
        )
    for letter, n in left_out.items():
        note(f"{n} utterances {_LEFT_OUT[letter]} are left out")
    return utterances


def _blocks(table: Path) -> Iterator[tuple[str, re.Match[str], tuple[float, ...] | None]]:
    """Place, line of the label and shares of votes of each utterance."""
    words: defaultdict[int, Counter[str]] = defaultdict(Counter)
    found: list[tuple[str, re.Match[str]]] = []
    for number, line in enumerate(read_text(table).splitlines(), start=1):
        if line.startswith("UTD-IMPROV-"):
            where = f"{table}, line {number}"
            if (match := _LABELLED.fullmatch(line.strip())) is None:
                raise _damaged(where, f"{line!r} is no line of a label")
            found.append((where, match))
        elif (rated := _RATED.fullmatch(line.strip())) is not None:
            words[len(found)][rated["word"].casefold()] += 1
    for number, (where, match) in enumerate(found, start=1):
        counts = [words[number][name] for name in CLASSES]
        votes = tuple(count / sum(counts) for count in counts) if any(counts) else None
        yield where, match, votes


def _mean(where: str, written: str) -> float | None:
    """An attribute's mean; None where nobody rated it."""
    try:
        value = float(written)
    except ValueError:
        raise _damaged(where, f"{written.strip()!r} is no number") from None
    return value if math.isfinite(value) else None


def _damaged(where: str, problem: str) -> CorpusError:
    return CorpusError(
        f"{where}: {problem}, expected such as 'UTD-IMPROV-S01A-F01-P-FM01.avi; A; A:2.4; V:1.8; D:2.6 ; N:2.8;'. "
        f"Restore the file from the published corpus."
    )
