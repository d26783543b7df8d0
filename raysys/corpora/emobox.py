"""EmoBox's metadata (Ma et al. 2024) of one of its 32 corpora -> utterances: labels, speakers, parts of files, folds.

A corpus's folder holds `<corpus>.jsonl` (a line per utterance), a map of labels, `data.seg.wrd.stm` (speakers) and
`fold_<k>/<corpus>_{train,valid,test}_fold_<k>.jsonl`. Other files of a fold are of an earlier format and not read:
EMO-DB has each list a second time under `..._fold1.jsonl`, the same utterances with other names of fields; MER2023 has
test1 to test3 like that. The audio is not part of it.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from raysys.corpora.emobox_folds import fold_of_each, part_of_each
from raysys.data.manifest import UNKNOWN, Utterance
from raysys.errors import CorpusError

Note = Callable[[str], None]
LABEL_MAPS = ("label_map.json", "label_dict.json")
"""EMOVO's has the second name."""
_SHOWN = 5
_SPEAKER = re.compile(r"<id=(.+?),lang=[^,]*,spk=(.*),emotion=")
_IEMOCAP = re.compile(r"(Ses\d\d)[FM]_.*_([FM])\d+")


def read_emobox(
    root: Path, audio_root: Path, *, own_folds: bool, note: Note
) -> tuple[list[Utterance], tuple[str, ...]]:
    """Read the metadata of a corpus, and find its audio.

    Ids are EmoBox's without the corpus's name in front. `fold` is EmoBox's, where it has several.

    Args:
        root: its folder in EmoBox's `data`, named as the corpus.
        audio_root: what follows `downloads/<corpus>/` in the metadata is looked for below it.
        own_folds: of a corpus with a single fold, read its parts as `split`.
        note: takes what a user should know.

    Returns: the utterances, and the classes in the order of the map.

    Raises:
        CorpusError: a file is not there or not what EmoBox writes, a label is not in the map, a fold is missing or does
            not fit the corpus, or none of the audio is there.
        OSError: a file cannot be read.
    """
    root, audio_root = root.expanduser().absolute(), audio_root.expanduser().absolute()
    corpus = root.name
    if not (root / f"{corpus}.jsonl").is_file():
        raise CorpusError(
            f"{root}: there is no {corpus}.jsonl. Set --corpus.root to a corpus's folder in EmoBox's data, such as "
            f"EmoBox/data/ravdess; its name is the corpus's."
        )
    rows = list(_rows(root / f"{corpus}.jsonl"))
    names = _class_names(root, rows)
    speakers = _speakers(root / "data.seg.wrd.stm", corpus)
    paths = _located(root, audio_root, [row["wav"] for row in rows])
    keys = [row["key"] for row in rows]
    emotions = dict(zip(keys, (names[row["emo"]] for row in rows), strict=True))
    folds = fold_of_each(root, keys)
    splits: dict[str, str] = {}
    if own_folds and not folds:
        splits = part_of_each(root, emotions, note)
        rows = [row for row in rows if row["key"] in splits]
    utterances = [
        Utterance(
            utterance_id=row["key"].removeprefix(f"{corpus}-"),
            audio_path=paths[row["wav"]],
            speaker=speakers.get(row["key"], UNKNOWN),
            emotion=emotions[row["key"]],
            fold=folds.get(row["key"]),
            split=splits.get(row["key"]),
            start_s=row.get("start_time"),
            end_s=row.get("end_time"),
        )
        for row in rows
    ]
    return utterances, tuple(dict.fromkeys(names[label] for label in names if names[label] in set(emotions.values())))


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """The utterances of a list."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise CorpusError(f"{path}, line {number}: not JSON ({error}). Copy EmoBox's file again.") from error
        for field, kind in (("key", str), ("wav", str), ("emo", str)):
            if not isinstance(row, dict) or not isinstance(row.get(field), kind):
                raise CorpusError(f"{path}, line {number}: no text under {field!r}. Copy EmoBox's file again.")
        for field in ("start_time", "end_time"):
            if not isinstance(row.get(field, 0.0), int | float):
                raise CorpusError(f"{path}, line {number}: {field!r} is no number. Copy EmoBox's file again.")
        yield row


def _class_names(root: Path, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Class by label, in the map's order; a label that is not in the map is looked for in another case.

    EMO-DB's map has 'Neutral' where its lines have 'neutral'.
    """
    found = next((root / name for name in LABEL_MAPS if (root / name).is_file()), None)
    if found is None:
        raise CorpusError(f"{root}: there is no {LABEL_MAPS[0]}, which names its classes. Copy EmoBox's folder again.")
    try:
        mapped = {str(label): str(name) for label, name in json.loads(found.read_text(encoding="utf-8")).items()}
    except (ValueError, AttributeError) as error:
        raise CorpusError(f"{found}: expected a class for each label ({error}). Copy EmoBox's file again.") from error
    folded = {label.casefold(): name for label, name in mapped.items()}
    counts = Counter(row["emo"] for row in rows)
    if missing := [label for label in counts if label.casefold() not in folded]:
        first = next(row["key"] for row in rows if row["emo"] == missing[0])
        raise CorpusError(
            f"{found}: no class for the label {', '.join(map(repr, missing))} of {sum(counts[m] for m in missing)} "
            f"utterances, such as {first!r}; it has {', '.join(mapped)}. Add the label, or copy EmoBox's file again."
        )
    order = {label.casefold(): i for i, label in enumerate(mapped)}
    labels = sorted(counts, key=lambda label: order[label.casefold()])
    return {label: mapped.get(label, folded[label.casefold()]) for label in labels}


def _speakers(path: Path, corpus: str) -> dict[str, str]:
    """Speaker by id, of those that are known; all are unknown without the file."""
    if not path.is_file():
        return {}
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if (match := _SPEAKER.search(line)) is not None and (speaker := _speaker(corpus, match[1], match[2].strip())):
            found[match[1]] = speaker
    return found


def _speaker(corpus: str, key: str, stated: str) -> str | None:
    """Who speaks; None if that is not known.

    IEMOCAP's `spk` is who wore the markers of the recording; who speaks is the letter before the turn's number.
    MER2023's is the name of the file.
    """
    if corpus == "iemocap" and (match := _IEMOCAP.search(key)) is not None:
        return match[1] + match[2]
    own = stated in (key, key.removeprefix(f"{corpus}-"))
    return None if own or stated.casefold() in ("", UNKNOWN) else stated


def _located(root: Path, audio_root: Path, wavs: Sequence[str]) -> dict[str, str]:
    """Where each file is, by its name in the metadata; where it should be if it is not there.

    Names with accents are looked for in both of Unicode's forms: archives made on a Mac have the decomposed one.
    """
    found, missing = {}, []
    for wav in dict.fromkeys(wavs):
        below = wav.removeprefix(f"downloads/{root.name}/")
        forms = dict.fromkeys((below, *(unicodedata.normalize(form, below) for form in ("NFC", "NFD"))))
        there = next((path for form in forms if (path := audio_root / form).exists()), None)
        found[wav] = str(there or audio_root / below)
        if there is None:
            missing.append(found[wav])
    if len(missing) == len(found):
        shown = "".join(f"\n  {path}" for path in missing[:_SHOWN])
        raise CorpusError(
            f"{audio_root}: has none of the {len(missing)} audio files of {root.name}, expected such as:{shown}\n"
            f"Set --corpus.audio-root to the folder that EmoBox calls downloads/{root.name}."
        )
    return found
