"""Work done once on the whole cluster, before any trial: plain Ray tasks, and the cache they fill.

Each task writes its output to storage and returns a few rows. Ray Data, for streaming much data through bounded memory
(see `stream`), would add three seconds of imports to each task's process and to the driver.
"""

from __future__ import annotations

import itertools
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import ray
from ray.exceptions import RayTaskError

from raysys.data.cache import INDEX_SCHEMA, is_whole, write_index, write_part
from raysys.data.progress import Progress
from raysys.data.remarks import Remarked
from raysys.errors import AudioError, UserError
from raysys.storage import Folder

Item = TypeVar("Item")
Result = TypeVar("Result")
Member = Mapping[str, Any]
"""What a cached array is computed from; it has an `id` and, if known, its length in `seconds`."""
Make = Callable[[Sequence[Member]], Iterable[np.ndarray | Remarked | AudioError]]

UTTERANCES_PER_PART = 128
_SECONDS_PER_PART = 1800.0
"""Parts may have fewer utterances: a task holds a part's waveforms, 64 kB per second, in memory until it is written."""
_ADVICE = re.compile(r"\s*Failed to [^\n]* after \d+/\d+ attempts \(total backoff .*", re.DOTALL)


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

    Yields: the results, which should be small, in the items' order.

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
        # After an error, nobody will read what the other tasks are still writing.
        for task in running:
            ray.cancel(task)


def trial_environment() -> dict[str, str]:
    """The environment variables that Tune sets for its trials, and thus for the tasks they start.

    A Ray process only runs tasks of one environment. With the same one, the processes that decode go on to load data
    for the trials; otherwise new ones start, each with about 8 CPU seconds of imports.
    """
    interval = "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"
    return {"PL_DISABLE_FORK": "1"} | ({interval: os.environ[interval]} if interval in os.environ else {})


def cause_of(error: RayTaskError) -> Exception:
    """The user error that made the task fail, if there is one; otherwise the error with the task's traceback."""
    if not isinstance(error.cause, UserError):
        return error
    error.cause.args = (without_advice(str(error.cause)),)
    return error.cause


def without_advice(text: str) -> str:
    """An error's text without what Ray Data appends to it: on retries, and on settings of its own."""
    return _ADVICE.sub("", text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A cache entry: arrays by id, under a name that is a hash of everything they depend on.

    Attributes:
        make: computes the arrays of some members, in order; yields an `AudioError` for one that cannot be computed.
    """

    location: str
    members: Sequence[Member]
    make: Make


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The output of one task: some members of an entry."""

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
    title: str,
    what: str,
) -> None:
    """Compute the entries that are not complete in the cache. The index is written last: without it, no entry exists.

    Args:
        at_once: number of tasks that run at the same time.
        cut: splits members into parts, one task each; by default `cut_into_parts`.
        title, what: for `Progress`; '{n}' in it stands for the number of arrays to be computed.
    """
    missing = [entry for entry in entries if not is_whole(Folder.at(entry.location))]
    cuts = [(cut or cut_into_parts)(entry.members) for entry in missing]
    parts = [
        Part(location=entry.location, number=number, members=members, make=entry.make)
        for entry, members_of_parts in zip(missing, cuts, strict=True)
        for number, members in enumerate(members_of_parts)
    ]
    total = sum(len(entry.members) for entry in missing)
    progress = Progress(title, what.format(n=total), total)
    tables = _counted(run_tasks(make_part, parts, at_once=at_once, num_cpus=num_cpus, num_gpus=num_gpus), progress)
    for entry, members_of_parts in zip(missing, cuts, strict=True):
        index = pa.concat_tables(itertools.islice(tables, len(members_of_parts)))
        write_index(Folder.at(entry.location), index)


def _counted(tables: Iterator[pa.Table], progress: Progress) -> Iterator[pa.Table]:
    for table in tables:
        progress.add(len(table))
        yield table


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
    """Compute a part and write it, 128 arrays per file: those in memory at a time. Returns: its rows of the index."""
    folder = Folder.at(part.location)
    rows: list[dict[str, Any]] = []
    computed = zip(part.members, part.make(part.members), strict=True)
    for file in itertools.count():
        chunk = list(itertools.islice(computed, UTTERANCES_PER_PART))
        if not chunk and file:
            break
        told = {
            member["id"]: {"remarks": made.remarks, "digest": made.digest}
            for member, made in chunk
            if isinstance(made, Remarked)
        }
        arrays = {
            member["id"]: made.array if isinstance(made, Remarked) else made
            for member, made in chunk
            if not isinstance(made, AudioError)
        }
        name = f"part-{part.number:05d}{f'-{file}' if file else ''}.arrow"
        places = write_part(folder, name, list(arrays.values()))
        rows += [{"utterance_id": key, **place, **told.get(key, {})} for key, place in zip(arrays, places, strict=True)]
        rows += [
            {"utterance_id": member["id"], "error": str(made)} for member, made in chunk if isinstance(made, AudioError)
        ]
    return pa.Table.from_pylist(rows, schema=INDEX_SCHEMA)
