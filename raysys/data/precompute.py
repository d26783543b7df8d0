"""Tasks on the cluster make once what every trial reads: decoded waveforms, and the views of a run with variants.

An entry of the cache is named by all that its content depends on, and its index is written last: an entry without
one does not exist.
"""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from raysys.data.audio import AudioError, UnreadableError, decode, trim
from raysys.data.execution import run_tasks
from raysys.data.manifest import Manifest, Utterance
from raysys.data.views import Source, augmented, views_name
from raysys.data.waveforms import INDEX, INDEX_SCHEMA, WaveformStore, cache_name, is_whole, write_part
from raysys.errors import StorageError
from raysys.storage import Folder

_UTTERANCES_PER_TASK = 128
_SECONDS_PER_TASK = 1800.0
"""Or fewer utterances: a task holds all of its waveforms, 64 kB a second, until its part is written."""

Member = dict[str, Any]
Make = Callable[[Member], np.ndarray]


def decode_corpus(manifest: Manifest, cache: str, *, trim_db: float | None, cpus: int) -> tuple[str, dict[str, str]]:
    """Decode and resample a corpus, once: what is in the cache already is not made again.

    Args:
        manifest: its digests name the cache entry.
        cache: location of the cache.
        trim_db: silence that is cut off both ends, see `trim`; None: nothing is.
        cpus: tasks at once.

    Returns:
        The decoded corpus's location, and the reasons of those that do not decode, by utterance id.

    Raises:
        StorageError: a node cannot read a file; nothing is kept of that, and the next run tries again.
    """
    folder = Folder.at(cache) / cache_name(manifest, trim_db=trim_db)
    members = [
        {
            "id": u.utterance_id,
            "seconds": u.duration_s,
            "path": u.audio_path,
            "start_s": u.start_s,
            "end_s": u.end_s,
        }
        for u in manifest.utterances
    ]
    _fill({folder.location: partial(_decode, trim_db=trim_db)}, members, cpus)
    index = folder.read_table(INDEX).to_pydict()
    errors = zip(index["utterance_id"], index["error"], strict=True)
    return folder.location, {name: error for name, error in errors if error is not None}


def make_views(manifest: Manifest, source: Source, cache: str, *, cpus: int) -> tuple[str, ...]:
    """Make the augmented views of all utterances, one entry of the cache a variant.

    Args:
        manifest: utterances that decode.
        source: the decoded corpus, the effects, the crop, the seed and the number of variants.
        cache: location of the cache.
        cpus: tasks at once.

    Returns: the location of each variant's views, by variant.
    """
    members = [{"id": u.utterance_id, "seconds": u.duration_s} for u in manifest.utterances]
    decoded = source.store.rsplit("/", 1)[-1]
    makes = {
        (Folder.at(cache) / views_name(decoded, source, variant)).location: partial(
            _view, source=source, variant=variant
        )
        for variant in range(source.variants)
    }
    _fill(makes, members, cpus)
    return tuple(makes)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """What one task makes: the waveforms of some members of an entry of the cache."""

    location: str
    number: int
    members: list[Member]
    make: Make


def _fill(makes: Mapping[str, Make], members: Sequence[Member], cpus: int) -> None:
    """Make the entries of the cache that are not whole, `cpus` tasks at once, one entry after the other.

    Args:
        makes: what makes a member's waveform, by the entry's location.
    """
    missing = [location for location in makes if not is_whole(Folder.at(location))]
    cut = cut_into_parts(members)
    parts = [
        _Part(location=location, number=number, members=part, make=makes[location])
        for location in missing
        for number, part in enumerate(cut)
    ]
    tables = run_tasks(_make_part, parts, at_once=cpus, environment=trial_environment())
    for location in missing:
        index = pa.concat_tables(itertools.islice(tables, len(cut)))
        Folder.at(location).write_table(INDEX, index.sort_by("utterance_id"))


def cut_into_parts(members: Sequence[Member]) -> list[list[Member]]:
    """What one task makes each: members in their order, up to 128 of them or 30 minutes of speech."""
    parts: list[list[Member]] = []
    seconds = 0.0
    for member in members:
        seconds += member["seconds"] or 0.0
        if not parts or len(parts[-1]) == _UTTERANCES_PER_TASK or seconds > _SECONDS_PER_TASK:
            parts.append([])
            seconds = member["seconds"] or 0.0
        parts[-1].append(member)
    return parts


def trial_environment() -> dict[str, str]:
    """The variables that Tune gives its trials, and so the tasks that they start.

    Ray lets no process run tasks of two environments. With this one the processes that decode go on to fetch for the
    trials; else new ones start, each some 8 CPU seconds of imports.
    """
    interval = "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"
    return {"PL_DISABLE_FORK": "1"} | ({interval: os.environ[interval]} if interval in os.environ else {})


def _make_part(part: _Part) -> pa.Table:
    name = f"part-{part.number:05d}.arrow"
    waveforms: dict[str, np.ndarray] = {}
    rows: list[dict[str, Any]] = []
    for member in part.members:
        try:
            waveforms[member["id"]] = part.make(member)
        except AudioError as error:
            rows.append({"utterance_id": member["id"], "error": str(error)})
    places = write_part(Folder.at(part.location), name, list(waveforms.values()))
    rows += [{"utterance_id": key, **place} for key, place in zip(waveforms, places, strict=True)]
    return pa.Table.from_pylist(rows, schema=INDEX_SCHEMA)


def _decode(member: Member, trim_db: float | None) -> np.ndarray:
    utterance = Utterance(
        utterance_id=member["id"],
        audio_path=member["path"],
        speaker="",
        emotion="",
        start_s=member["start_s"],
        end_s=member["end_s"],
    )
    try:
        waveform_S = decode(utterance)
    except UnreadableError as error:
        # As the file's own fault it would stand in the index, and every later run would believe it.
        raise StorageError(
            f"{member['path']} ({member['id']}): {error} on node {socket.gethostname()}, though the driver read it. "
            f"Does that node see the corpus at this path, is it out of memory or open files? The same command resumes."
        ) from error
    return waveform_S if trim_db is None else trim(waveform_S, trim_db)


def _view(member: Member, source: Source, variant: int) -> np.ndarray:
    waveform_S = WaveformStore.opened(source.store).get(member["id"])
    return augmented(waveform_S, source, variant, member["id"])
