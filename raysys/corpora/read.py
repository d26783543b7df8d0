"""Read the configured corpus into a checked manifest."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from raysys.config import CorpusConfig
from raysys.corpora.cremad import read_cremad
from raysys.corpora.demo import ensure_demo
from raysys.corpora.emobox import read_emobox
from raysys.corpora.emodb import read_emodb
from raysys.corpora.esd import read_esd
from raysys.corpora.iemocap import read_iemocap
from raysys.corpora.meld import read_meld
from raysys.corpora.msp_improv import read_msp_improv
from raysys.corpora.msp_podcast import read_msp_podcast
from raysys.corpora.multi import read_multi
from raysys.corpora.ravdess import read_ravdess
from raysys.corpora.savee import read_savee
from raysys.corpora.table import read_table
from raysys.corpora.tess import read_tess
from raysys.corpora.votes import in_class_order
from raysys.data.folds import make_folds
from raysys.data.inspection import inspect_audio
from raysys.data.manifest import Manifest, Utterance, build_manifest
from raysys.data.names import composed
from raysys.errors import CorpusError


def read_corpus(config: CorpusConfig, *, cache: str | Path) -> Manifest:
    """Read, rename and check; the manifest has every duration and digest filled in.

    Classes are in the order of --corpus.classes; without it, in that of the corpus's record (after
    --corpus.emotion-map), and for a table in alphabetical order.

    Args:
        config: which corpus, and how to read it.
        cache: location where what is known of audio files is kept; for the demo corpus a folder, in which it is
            generated (as `demo`).

    Raises:
        CorpusError: the corpus does not contain what its reader needs; see the readers,
            `build_manifest` and `inspect_audio`.
    """
    manifest = read_manifest(config, cache=cache)
    return inspect_audio(manifest, max_duration_s=config.max_duration_s, on_error=config.on_error, cache=str(cache))


def read_manifest(config: CorpusConfig, *, cache: str | Path) -> Manifest:
    """`read_corpus`, without opening any audio: what it tells of a table takes well under a second."""
    root = _root(config, cache)
    if config.name == "demo":
        root = ensure_demo(root)
    notes: list[str] = []
    try:
        utterances, published, voted = _read(config, root, notes)
    except OSError as error:
        raise CorpusError(
            f"{error.filename or root}: cannot be read ({error.strerror or error}). Fix or replace the file, the "
            "link to it, or its permissions."
        ) from error
    utterances = [dataclasses.replace(u, emotion=composed(u.emotion)) for u in utterances]
    renamed = _renamed(config.emotion_map, {u.emotion for u in utterances} | {*voted}, str(root))
    mapped = [
        dataclasses.replace(u, emotion=emotion) for u in utterances if (emotion := renamed.get(u.emotion, u.emotion))
    ]
    if utterances and not mapped:
        raise CorpusError(
            f"{root}: --corpus.emotion-map {' '.join(config.emotion_map)} drops all "
            f"{len(utterances)} utterances. Drop fewer emotions."
        )
    classes = _classes(config, published, renamed)
    _check_classes_occur(classes or (), {u.emotion for u in mapped}, str(root), config)
    manifest = build_manifest(
        config.name,
        str(root),
        mapped,
        classes,
        title=config.resolved_title,
        same_names=config.same_names,
        notes=notes,
    )
    return in_class_order(manifest, voted, renamed, str(root), chosen=bool(config.classes)) if voted else manifest


def look(config: CorpusConfig) -> None:
    """Refuse a corpus that is not there, and a table or metadata for all that they tell without the audio.

    It takes a second, so that nobody waits for torch and Ray to be imported to read of a missing column.

    Raises:
        CorpusError: see `read_manifest` and `make_folds`.
    """
    if config.name in ("table", "emobox", "multi"):
        make_folds(read_manifest(config, cache=Path()), config)
    elif config.name != "demo" and not _root(config, Path()).is_dir():
        # Every reader starts with its folder, and says what it expects there.
        read_manifest(config, cache=Path())


def _read(
    config: CorpusConfig, root: Path, notes: list[str]
) -> tuple[list[Utterance], tuple[str, ...] | None, tuple[str, ...]]:
    """The utterances, the classes in their published order, and the emotions that votes are for, in theirs."""
    published, note, given = config.known.classes, notes.append, config.resolved_folds == "given"
    match config.name:
        case "demo" | "iemocap":
            return read_iemocap(root), published, ()
        case "ravdess":
            return read_ravdess(root, include_songs=config.include_songs), published, ()
        case "cremad":
            return read_cremad(root, labels=config.labels, note=note), published, published
        case "meld":
            return read_meld(root, given=given, note=note), published, ()
        case "msp_podcast":
            return read_msp_podcast(root, given=given, note=note), published, published
        case "emodb":
            return read_emodb(root), published, ()
        case "savee":
            return read_savee(root), published, ()
        case "tess":
            return read_tess(root, note=note), published, ()
        case "esd":
            return read_esd(root, given=given, note=note), published, ()
        case "msp_improv":
            return read_msp_improv(root, note=note), published, published
        case "emobox":
            own = config.folds == "emobox"
            utterances, classes = read_emobox(root, Path(str(config.audio_root)), own_folds=own, note=note)
            return utterances, classes, ()
        case "multi":
            return read_multi(root, lambda one: _read(one, _root(one, root), notes)[0]), None, ()
        case "table":
            table = read_table(root, note, given=given)
            return table.utterances, None, table.voted


def _root(config: CorpusConfig, cache: str | Path) -> Path:
    if config.name == "demo" or config.root is None:
        return Path(cache) / "demo"
    if "://" in config.root:
        raise CorpusError(
            f"{config.root}: a corpus must be on a file system, not at an address. Copy or mount it "
            "where every node sees it, and set --corpus.root to that path."
        )
    return Path(config.root).expanduser().absolute()


def _renamed(emotion_map: Sequence[str], present: set[str], source: str) -> dict[str, str]:
    """New name by old name; '' drops. Applied once: with a=b b=c, a becomes b, not c."""
    renamed: dict[str, str] = {}
    for pair in emotion_map:
        old, _, new = (composed(part.strip()) for part in pair.partition("="))
        if old not in present:
            raise CorpusError(
                f"{source}: --corpus.emotion-map {pair}: no utterance has the emotion {old!r}; the "
                f"corpus contains {', '.join(sorted(present)) or 'none'}. Correct the name, or remove "
                "the pair."
            )
        if renamed.setdefault(old, new) != new:
            raise CorpusError(
                f"{source}: --corpus.emotion-map gives {old!r} two new names, {renamed[old]!r} and {new!r}. Keep one."
            )
    return renamed


def _classes(
    config: CorpusConfig, published: tuple[str, ...] | None, renamed: dict[str, str]
) -> tuple[str, ...] | None:
    if config.classes:
        return tuple(dict.fromkeys(map(composed, config.classes)))
    if published is None:
        return None
    return tuple(dict.fromkeys(new for name in published if (new := renamed.get(name, name))))


def _check_classes_occur(classes: Sequence[str], present: set[str], source: str, config: CorpusConfig) -> None:
    absent = [name for name in classes if name not in present]
    if present and absent:
        remedy = (
            f"The corpus contains {', '.join(sorted(present))}. Correct the name, or remove it from --corpus.classes."
        )
        if not config.classes:
            left = " ".join(name for name in classes if name in present)
            remedy = f"Is the corpus complete? If so, set --corpus.classes {left}."
        raise CorpusError(
            f"{source}: no utterance has the emotion {', '.join(absent)}, so it cannot be learned. {remedy}"
        )
