"""Several corpora in one training: a YAML file lists them, with what their labels are called in common.

corpora:
  - name: ravdess
    root: RAVDESS
    labels: {neutral: neutral, calm: , happy: happy, sad: sad, angry: angry, fearful: , disgust: , surprised: }
  - name: table
    as: calls
    root: calls.csv
    labels: {n: neutral, joy: happy, grief: sad, anger: angry}
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from raysys.config import CorpusConfig
from raysys.config.corpora import CORPORA
from raysys.corpora.columns import quoted
from raysys.data.manifest import UNKNOWN, Utterance
from raysys.data.names import composed
from raysys.errors import ConfigError, CorpusError

NAMES = tuple(name for name in CORPORA if name not in ("demo", "multi"))
_REQUIRED = ("name", "root", "labels")
_OPTIONAL = ("as", "audio_root")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A corpus of the list.

    Attributes:
        where: its place in the file, for messages.
        name: its own among those of the list.
        config: what its reader is told.
        labels: common class by the corpus's own label; None leaves its utterances out.
    """

    where: str
    name: str
    config: CorpusConfig
    labels: dict[str, str | None]


def read_multi(path: Path, read_one: Callable[[CorpusConfig], list[Utterance]]) -> list[Utterance]:
    """The utterances of all listed corpora, with common classes.

    Ids, speakers and sessions get their corpus's name in front, and `fold` is that name. Votes and attributes are left
    out, since each corpus asked for other emotions, on another scale.

    Args:
        path: the list. Relative paths in it are relative to its folder.
        read_one: reads a corpus.

    Raises:
        CorpusError: the list is not as described above, names a corpus twice, or its labels are not the corpus's.
        OSError: a file cannot be read.
    """
    return [utterance for listed in read_list(path) for utterance in _in_common(listed, read_one(listed.config))]


def read_list(path: Path) -> list[Listed]:
    """The corpora that a file lists, none of which is opened.

    Raises:
        CorpusError: see `read_multi`.
    """
    if not path.is_file():
        raise CorpusError(f"{path}: no such file. Set --corpus.root to a YAML file that lists corpora.")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    # ValueError: not UTF-8. RecursionError: nested too deeply.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise CorpusError(f"{path}: cannot be read ({error}); expected YAML in UTF-8.") from error
    entries = values.get("corpora") if isinstance(values, dict) and len(values) == 1 else None
    if not isinstance(entries, list) or len(entries) < 2:
        raise CorpusError(f"{path}: expected 'corpora:' alone, and below it a list of two corpora or more.")
    corpora = [_listed(path, number, entry) for number, entry in enumerate(entries, start=1)]
    names = Counter(listed.name for listed in corpora)
    if twice := [name for name, n in names.items() if n > 1]:
        raise CorpusError(
            f"{path}: {names[twice[0]]} corpora are called {twice[0]!r}. Tell them apart with 'as: NAME'."
        )
    return corpora


def _listed(path: Path, number: int, entry: Any) -> Listed:
    where = f"{path}, corpus {number}"
    if not isinstance(entry, dict):
        raise CorpusError(f"{where}: expected {quoted(_REQUIRED)}, each with a value, found {entry!r}.")
    if missing := [key for key in _REQUIRED if entry.get(key) is None]:
        raise CorpusError(f"{where}: {quoted(missing)} is missing; {quoted(_REQUIRED)} are needed.")
    if unknown := [str(key) for key in entry if key not in (*_REQUIRED, *_OPTIONAL)]:
        raise CorpusError(
            f"{where}: unknown key {quoted(unknown)}, expected {quoted((*_REQUIRED, *_OPTIONAL))}. Correct "
            f"or remove it."
        )
    if entry["name"] not in NAMES:
        raise CorpusError(f"{where}: name {entry['name']!r}, expected one of {', '.join(NAMES)}. Correct it.")
    name = entry.get("as", entry["name"])
    if not (isinstance(name, str) and name.strip() and name.isprintable() and "/" not in name):
        raise CorpusError(f"{where}: as {name!r}, expected a name on one line, without '/'. Correct it.")
    root, audio_root = (
        str(path.parent / Path(str(entry[key])).expanduser()) if key in entry else None
        for key in ("root", "audio_root")
    )
    try:
        config = CorpusConfig(name=entry["name"], root=root, audio_root=audio_root)
    except ConfigError as error:
        raise CorpusError(f"{where}: {error}") from error
    return Listed(where=where, name=name, config=config, labels=dict(_labels(where, entry["labels"])))


def _labels(where: str, labels: Any) -> Iterator[tuple[str, str | None]]:
    if not isinstance(labels, Mapping):
        raise CorpusError(f"{where}: labels {labels!r}, expected 'label: class' for each label of the corpus.")
    for label, common in labels.items():
        if not (isinstance(label, str) and (common is None or isinstance(common, str))):
            raise CorpusError(
                f"{where}: labels hold {label!r}: {common!r}, expected text on both sides. Put it between quotes: YAML "
                f"reads no, off and numbers as other values."
            )
        yield composed(label), composed(common) if common else None


def _in_common(listed: Listed, utterances: list[Utterance]) -> Iterator[Utterance]:
    counts = Counter(composed(u.emotion) for u in utterances)
    if left_out := [f"{label!r} ({n} utterances)" for label, n in sorted(counts.items()) if label not in listed.labels]:
        raise CorpusError(
            f"{listed.where}: labels leave out {', '.join(left_out)} of {listed.name}. Add a common class for each, or "
            f"nothing after its colon to leave its utterances out."
        )
    if unknown := [label for label in listed.labels if label not in counts]:
        raise CorpusError(
            f"{listed.where}: no utterance of {listed.name} has the label {quoted(unknown)}; there are "
            f"{quoted(sorted(counts)) or 'none'}. Correct or remove it."
        )
    for utterance in utterances:
        if (common := listed.labels[composed(utterance.emotion)]) is not None:
            yield dataclasses.replace(
                utterance,
                utterance_id=f"{listed.name}/{utterance.utterance_id}",
                speaker=UNKNOWN if utterance.speaker == UNKNOWN else f"{listed.name}/{utterance.speaker}",
                emotion=common,
                session=None if utterance.session is None else f"{listed.name}/{utterance.session}",
                fold=listed.name,
                split=None,
                votes=None,
                valence=None,
                arousal=None,
                dominance=None,
            )
