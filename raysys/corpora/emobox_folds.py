"""EmoBox's folds of a corpus: which fold tests an utterance, or its part where there is a single one."""

from __future__ import annotations

import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from raysys.errors import CorpusError

_VALIDATION_SHARE = 5
"""One of so many utterances of each class of a training part, where EmoBox has no validation part."""


def fold_of_each(root: Path, keys: Collection[str]) -> dict[str, str]:
    """Which fold tests an utterance, by id: 'emobox-1', ...; empty if the corpus has a single fold, or none.

    Raises:
        CorpusError: the folds do not test each utterance once.
    """
    folders = _folders(root)
    if len(folders) < 2:
        return {}
    tested = [(name, key) for name, folder in folders.items() for key in _members(folder, root.name, name, "test")]
    counts = Counter(key for _, key in tested)
    wrong = [key for key in {*keys, *counts} if counts[key] != (key in keys)]
    if wrong:
        raise CorpusError(
            f"{root}: the test parts of its {len(folders)} folds do not hold each utterance of {root.name}.jsonl once: "
            f"{len(wrong)} differ, such as {min(wrong)!r} ({counts[min(wrong)]} times). Is a fold_<k> folder missing? "
            f"Copy EmoBox's folder again."
        )
    return {key: f"emobox-{name}" for name, key in tested}


def part_of_each(root: Path, emotions: Mapping[str, str], note: Callable[[str], None]) -> dict[str, str]:
    """The part of each utterance in the corpus's only fold, by id: 'train', 'validation' or 'test'.

    Without a validation part in EmoBox, a fifth of the training utterances of each class is drawn for it; EmoBox
    draws a fifth of all. The draw is the same in every run.

    Args:
        emotions: by id, of all utterances; those that no part has are left out, with a note.

    Raises:
        CorpusError: there is no fold, a list of it is missing, or one has an utterance of another, or an unknown one.
    """
    folders = _folders(root)
    if not folders:
        raise CorpusError(
            f"{root}: there is no fold_1 folder with EmoBox's folds, which --corpus.folds emobox asks for. Copy "
            f"EmoBox's folder again, or use another --corpus.folds."
        )
    ((name, folder),) = folders.items()
    lists = {part: _members(folder, root.name, name, part) for part in ("train", "test")}
    given = (folder / f"{root.name}_valid_fold_{name}.jsonl").is_file()
    if given:
        lists["validation"] = _members(folder, root.name, name, "valid")
    parts = {key: part for part, keys in lists.items() for key in keys}
    counts = Counter(key for keys in lists.values() for key in keys)
    if odd := [key for key in counts if counts[key] > 1 or key not in emotions]:
        raise CorpusError(
            f"{folder}: {len(odd)} utterances are in two of its parts, or not in {root.name}.jsonl, such as "
            f"{odd[0]!r}. Copy EmoBox's folder again."
        )
    if left := emotions.keys() - parts.keys():
        note(f"{len(left)} utterances are in no part of EmoBox's fold of {root.name} and left out")
    if not given:
        drawn = _drawn(lists["train"], emotions)
        parts |= dict.fromkeys(drawn, "validation")
        note(
            f"EmoBox's fold of {root.name} has no validation part: {len(drawn)} of its {len(lists['train'])} training "
            f"utterances, a fifth of each class, are drawn for it"
        )
    return parts


def _drawn(keys: Collection[str], emotions: Mapping[str, str]) -> list[str]:
    by_class: dict[str, list[str]] = defaultdict(list)
    for key in sorted(keys):
        by_class[emotions.get(key, "")].append(key)
    generator = random.Random(0)
    return [key for own in by_class.values() for key in generator.sample(own, -(-len(own) // _VALIDATION_SHARE))]


def _folders(root: Path) -> dict[str, Path]:
    """Folders of folds, by number."""
    found = {match[1]: path for path in root.iterdir() if (match := re.fullmatch(r"fold_(\d+)", path.name))}
    return dict(sorted(found.items(), key=lambda item: int(item[0])))


def _members(folder: Path, corpus: str, name: str, part: str) -> list[str]:
    """The ids of a list."""
    path = folder / f"{corpus}_{part}_fold_{name}.jsonl"
    if not path.is_file():
        raise CorpusError(f"{path}: is missing, which lists a part of fold {name}. Copy EmoBox's folder again.")
    try:
        return [str(json.loads(line)["key"]) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (ValueError, KeyError, TypeError) as error:
        raise CorpusError(f"{path}: cannot be read ({error!r}). Copy EmoBox's file again.") from error
