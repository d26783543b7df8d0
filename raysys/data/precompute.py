"""Tasks on the cluster make once what every trial reads: decoded waveforms, and the views of a run with variants.

An entry of the cache is named by all that its content depends on, and its index is written last: an entry without
one does not exist.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
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
    _fill(folder, members, partial(_decode, trim_db=trim_db), cpus)
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
    locations: list[str] = []
    for variant in range(source.variants):
        folder = Folder.at(cache) / views_name(decoded, source, variant)
        _fill(folder, members, partial(_view, source=source, variant=variant), cpus)
        locations.append(folder.location)
    return tuple(locations)


def _fill(folder: Folder, members: Sequence[Member], make: Make, cpus: int) -> None:
    """Make an entry of the cache where there is no whole one."""
    if is_whole(folder):
        return
    make_part = partial(_make_part, location=folder.location, make=make)
    parts = list(enumerate(cut_into_parts(members)))
    index = pa.concat_tables(run_tasks(make_part, parts, at_once=cpus, environment=trial_environment()))
    folder.write_table(INDEX, index.sort_by("utterance_id"))


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


def _make_part(numbered: tuple[int, list[Member]], location: str, make: Make) -> pa.Table:
    number, members = numbered
    part = f"part-{number:05d}.arrow"
    waveforms: dict[str, np.ndarray] = {}
    rows: list[dict[str, Any]] = []
    for member in members:
        try:
            waveforms[member["id"]] = make(member)
        except AudioError as error:
            rows.append({"utterance_id": member["id"], "error": str(error)})
    places = write_part(Folder.at(location), part, list(waveforms.values()))
    rows += [{"utterance_id": name, **place} for name, place in zip(waveforms, places, strict=True)]
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
            f"Does that node see the corpus at this path, has it memory and open files left? The same command goes on."
        ) from error
    return waveform_S if trim_db is None else trim(waveform_S, trim_db)


def _view(member: Member, source: Source, variant: int) -> np.ndarray:
    waveform_S = WaveformStore.opened(source.store).get(member["id"])
    return augmented(waveform_S, source, variant, member["id"])
