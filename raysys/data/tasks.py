"""Work that is spread over the cluster once, before any trial: plain Ray tasks, and the cache that they fill.

Each task leaves its work on storage and returns a few lines. Ray Data, which streams much through bounded memory (see
`stream`), would cost each task's process, and the driver, three seconds of imports.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import ray
from ray.exceptions import RayTaskError

from raysys.data.audio import AudioError
from raysys.data.cache import INDEX, INDEX_SCHEMA, is_whole, write_part
from raysys.errors import UserError
from raysys.storage import Folder

Item = TypeVar("Item")
Result = TypeVar("Result")
Member = Mapping[str, Any]
"""What an array of the cache is made from; it has an `id` and, where known, its length in `seconds`."""
Make = Callable[[Sequence[Member]], Iterable[np.ndarray | AudioError]]

UTTERANCES_PER_PART = 128
_SECONDS_PER_PART = 1800.0
"""Or fewer utterances: a task holds all waveforms of a part, 64 kB per second, until the part is written."""


def run_tasks(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    at_once: int,
    num_cpus: float = 1,
    num_gpus: float = 0,
) -> Iterator[Result]:
    """Call a function on each item, in tasks spread over the nodes; a task whose process is lost is retried.

    Args:
        at_once: number of tasks that run at the same time.

    Yields: the results, small ones, in the items' order.

    Raises:
        UserError: raised by a task, without the traceback of its process.
    """

    def call(item: Item) -> Result:
        return function(item)

    remote = ray.remote(call).options(
        name=getattr(function, "func", function).__name__,
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        max_retries=-1,
        scheduling_strategy="SPREAD",
        runtime_env={"env_vars": trial_environment()},
    )
    coming = iter(items)
    asked: deque[ray.ObjectRef] = deque()
    running: list[ray.ObjectRef] = []
    found: dict[ray.ObjectRef, Result] = {}
    try:
        while True:
            for item in itertools.islice(coming, max(1, at_once) - len(running)):
                asked.append(remote.remote(item))
                running.append(asked[-1])
            if not asked:
                return
            done, running = ray.wait(running)
            found.update(zip(done, ray.get(done), strict=True))
            while asked and asked[0] in found:
                yield found.pop(asked.popleft())
    except RayTaskError as error:
        raise cause_of(error) from None
    finally:
        # After an error nobody will read what the others are still writing.
        for task in running:
            ray.cancel(task)


def trial_environment() -> dict[str, str]:
    """The variables that Tune gives its trials, and so the tasks that they start.

    Ray lets no process run tasks of two environments. With this one, processes that decode go on to load data for the
    trials; otherwise new ones start, each some 8 CPU seconds of imports.
    """
    interval = "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"
    return {"PL_DISABLE_FORK": "1"} | ({interval: os.environ[interval]} if interval in os.environ else {})


def cause_of(error: RayTaskError) -> Exception:
    """What the user must fix, if the task failed because of that; otherwise the error with the task's traceback."""
    return error.cause if isinstance(error.cause, UserError) else error


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An entry of the cache: arrays by id, under a name that is a hash of everything they depend on.

    Attributes:
        make: the arrays of some members, in their order; an `AudioError` in place of one that cannot be made.
    """

    location: str
    members: Sequence[Member]
    make: Make


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one task makes: some members of an entry."""

    location: str
    number: int
    members: Sequence[Member]
    make: Make


def fill(
    entries: Sequence[Entry],
    *,
    at_once: int,
    num_cpus: float = 1,
    num_gpus: float = 0,
    cut: Callable[[Sequence[Member]], Sequence[Sequence[Member]]] | None = None,
) -> None:
    """Make the entries that are not complete in the cache. The index is written last: without one there is no entry.

    Args:
        at_once: number of tasks that run at the same time.
        cut: members into the parts of a task each; by default `cut_into_parts`.
    """
    missing = [entry for entry in entries if not is_whole(Folder.at(entry.location))]
    cuts = [(cut or cut_into_parts)(entry.members) for entry in missing]
    parts = [
        Part(location=entry.location, number=number, members=members, make=entry.make)
        for entry, members_of_parts in zip(missing, cuts, strict=True)
        for number, members in enumerate(members_of_parts)
    ]
    tables = run_tasks(make_part, parts, at_once=at_once, num_cpus=num_cpus, num_gpus=num_gpus)
    for entry, members_of_parts in zip(missing, cuts, strict=True):
        index = pa.concat_tables(itertools.islice(tables, len(members_of_parts)))
        Folder.at(entry.location).write_table(INDEX, index.sort_by("utterance_id"))


def cut_into_parts(members: Sequence[Member]) -> list[list[Member]]:
    """Members in order, up to 128 utterances or 30 minutes of speech per part."""
    parts: list[list[Member]] = []
    seconds = 0.0
    for member in members:
        seconds += member["seconds"] or 0.0
        if not parts or len(parts[-1]) == UTTERANCES_PER_PART or seconds > _SECONDS_PER_PART:
            parts.append([])
            seconds = member["seconds"] or 0.0
        parts[-1].append(member)
    return parts


def make_part(part: Part) -> pa.Table:
    """Make a part and write it. Returns: its rows of the index."""
    waveforms: dict[str, np.ndarray] = {}
    rows: list[dict[str, Any]] = []
    for member, made in zip(part.members, part.make(part.members), strict=True):
        if isinstance(made, AudioError):
            rows.append({"utterance_id": member["id"], "error": str(made)})
        else:
            waveforms[member["id"]] = made
    places = write_part(Folder.at(part.location), f"part-{part.number:05d}.arrow", list(waveforms.values()))
    rows += [{"utterance_id": key, **place} for key, place in zip(waveforms, places, strict=True)]
    return pa.Table.from_pylist(rows, schema=INDEX_SCHEMA)
