"""Stream a fold's plan: the waveforms of each step, or their features, in the plan's order.

Ray Data runs it if there is work to do: a plan's steps are rows, and tasks fetch and augment their utterances. Ray does
not split anything among workers: each worker streams its own share of the plan. If all views are precomputed and on a
disk, the worker memory-maps them, without tasks.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from ray.exceptions import RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raysys.config import SAMPLE_RATE_HZ
from raysys.data.cache import WaveformStore
from raysys.data.mixing import Mix, Mixing
from raysys.data.plan import Step
from raysys.data.tasks import cause_of
from raysys.data.views import Source, training_views, whole_utterance

T = TypeVar("T")
_Row = tuple[int, str, np.ndarray, np.ndarray | None]
"""Step number, utterance id, clean and augmented waveform."""

_TASK_S = 240.0
"""Seconds of speech per task."""
_SEGMENT_S = 1500.0
"""Seconds of speech per segment. It has a start-up cost: with a third of this, an epoch of the demo took 7.0 s instead
of 6.0. Two segments, in two views, are in memory: 0.4 GB."""
_READS_AT_ONCE = 16
"""From an object store, in a task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A worker's share of a step before collation: B waveforms of each view, or features (read-only).

    Attributes:
        mixes: with mixup, what each utterance is mixed with in training, and partners: their clean waveforms.
    """

    step: Step
    utterance_ids: tuple[str, ...]
    clean: list[np.ndarray] | None
    augmented: list[np.ndarray] | None
    mixes: tuple[Mix, ...] = ()
    partners: list[np.ndarray] = field(default_factory=list)


def stream(
    plan: Iterable[Step], source: Source, *, rank: int, workers: int, data_cpus: int, mixing: Mixing | None = None
) -> Iterator[Fetched]:
    """Fetch and augment a worker's share of each step of a plan, in the plan's order.

    If views have to be computed, tasks run one segment of the plan ahead of the consumer.

    Args:
        plan: steps of all workers; read only as far as they are fetched.
        source: the decoded corpus and the augmentation.
        rank, workers: whose share.
        data_cpus: number of tasks at the same time; the worker has reserved a CPU for each.
        mixing: which utterances are mixed with which; partners in the shares of other workers are fetched too.
    """
    # Two readers of one plan: what is fetched, and what it is given out as.
    wanted, planned = itertools.tee(_planned(plan, source, rank, workers, mixing))
    rows = (item.row for item in wanted if item.row["ids"])
    fetched = _mapped(rows, source) if _maps(source) else _run(rows, source, data_cpus)
    for item in planned:
        clean: dict[str, np.ndarray] = {}
        augmented: dict[str, np.ndarray] = {}
        for name in item.row["ids"]:
            row = next(fetched)
            assert (row[0], row[1]) == (item.row["number"], name), "the stream left the plan's order"
            clean[name] = row[2]
            if row[3] is not None:
                augmented[name] = row[3]
        names = item.utterance_ids
        yield Fetched(
            step=item.step,
            utterance_ids=names,
            clean=[clean[name] for name in names],
            augmented=[augmented[name] for name in names] if augmented or not names else None,
            mixes=item.mixes,
            partners=[clean[mix.partner] for mix in item.mixes],
        )


@dataclass(frozen=True, slots=True)
class _Planned:
    """A worker's share of a step; `row`: what tasks are told of it."""

    step: Step
    utterance_ids: tuple[str, ...]
    mixes: tuple[Mix, ...]
    row: dict[str, Any]


def _planned(
    plan: Iterable[Step], source: Source, rank: int, workers: int, mixing: Mixing | None
) -> Iterator[_Planned]:
    store = WaveformStore.opened(source.store)
    for number, step in enumerate(plan):
        names = step.share(rank, workers)
        mixes = () if mixing is None else mixing.of(step, names)
        row = _row(number, _with_partners(names, mixes), step, store)
        yield _Planned(step, names, mixes, row)


def _with_partners(names: Sequence[str], mixes: Sequence[Mix]) -> list[str]:
    """Each utterance once: its copies, if it has any, are equal."""
    return [*dict.fromkeys((*names, *(mix.partner for mix in mixes)))]


def _row(number: int, names: Sequence[str], step: Step, store: WaveformStore) -> dict[str, Any]:
    return {
        "seconds": sum(map(store.samples, names)) / SAMPLE_RATE_HZ,
        "number": number,
        "epoch": step.epoch,
        "train": step.part == "train",
        "ids": list(names),
    }


def _maps(source: Source) -> bool:
    """Whether there is nothing to compute, so that the files only need to be memory-mapped."""
    return source.is_made and _are_local(source)


def _are_local(source: Source) -> bool:
    return all(WaveformStore.opened(location).is_local for location in source.locations)


def _mapped(rows: Iterable[dict[str, Any]], source: Source) -> Iterator[_Row]:
    for row in rows:
        for name in row["ids"]:
            yield _views(row, name, source)


def _views(row: Mapping[str, Any], name: str, source: Source) -> _Row:
    if row["train"]:
        return row["number"], name, *training_views(source, name, row["epoch"])
    return row["number"], name, whole_utterance(source, name), None


def _run(rows: Iterable[dict[str, Any]], source: Source, data_cpus: int) -> Iterator[_Row]:
    """Fetched utterances in the plan's order, prefetching one segment of the plan.

    Each segment is a separate execution that runs to its end. A single execution over the whole plan would be
    throttled by its consumer nearly all the time, during which Ray Data's scheduling thread busy-waits and competes
    with training, as a profile showed.
    """
    tasks = _cut(rows, _TASK_S, lambda row: row["seconds"])
    segments = _cut(tasks, _SEGMENT_S, lambda task: sum(row["seconds"] for row in task))
    ahead = ThreadPoolExecutor(max_workers=1, thread_name_prefix="stream")

    def fetch_next() -> Future[list[pa.Table]] | None:
        segment = next(segments, None)
        return None if segment is None else ahead.submit(_fetch_segment, segment, source, data_cpus)

    try:
        coming = fetch_next()
        while coming is not None:
            segment = coming.result()
            coming = fetch_next()
            for block in segment:
                clean = _waveforms(block["clean"])
                augmented = _waveforms(block["augmented"])
                numbers, names = block["number"].to_pylist(), block["utterance_id"].to_pylist()
                yield from zip(numbers, names, clean, augmented, strict=True)
    finally:
        # If a trial is stopped early, nobody needs the next segment, and Tune waits only 2 s for its process.
        ahead.shutdown(wait=False, cancel_futures=True)


def _cut(items: Iterable[T], size: float, weigh: Callable[[T], float]) -> Iterator[list[T]]:
    """Consecutive groups of items that weigh at least `size`, except the last."""
    group: list[T] = []
    weight = 0.0
    for item in items:
        group.append(item)
        weight += weigh(item)
        if weight >= size:
            yield group
            group, weight = [], 0.0
    if group:
        yield group


def _fetch_segment(chunks: Sequence[list[dict[str, Any]]], source: Source, data_cpus: int) -> list[pa.Table]:
    # Imported here: a trial whose views are all precomputed does not need it, and it takes three seconds.
    import ray.data

    dataset = ray.data.from_items([{"steps": chunk} for chunk in chunks], override_num_blocks=len(chunks)).map_batches(
        _fetch,
        batch_size=1,
        fn_kwargs={"source": source},
        batch_format="pyarrow",
        # They use the CPUs that the worker has reserved on its node. Tasks that requested CPUs would wait forever if
        # trials hold them all, as they do once a node is lost.
        num_cpus=0,
        compute=ray.data.TaskPoolStrategy(size=data_cpus),
        scheduling_strategy=NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True),
    )
    dataset.context.execution_options = ray.data.ExecutionOptions(preserve_order=True)
    dataset.context.enable_progress_bars = False
    # Otherwise only the text of the traceback would remain of a task's error.
    dataset.context.raise_original_map_exception = True
    try:
        return list(dataset.iter_batches(batch_size=None, batch_format="pyarrow"))
    except RayTaskError as error:
        raise cause_of(error) from None


_STREAM_SCHEMA = pa.schema(
    [
        ("number", pa.int64()),
        ("utterance_id", pa.string()),
        ("clean", pa.large_list(pa.float32())),
        ("augmented", pa.large_list(pa.float32())),
    ]
)


def _fetch(batch: pa.Table, source: Source) -> pa.Table:
    wanted = [(row, name) for row in batch["steps"][0].as_py() for name in row["ids"]]
    # An object store answers each request after a while, and many at once. From a disk, threads would gain nothing.
    with ThreadPoolExecutor(max_workers=1 if _are_local(source) else _READS_AT_ONCE) as readers:
        rows = [*readers.map(lambda item: _views(item[0], item[1], source), wanted)]
    numbers, names, clean, augmented = zip(*rows, strict=True)
    columns = [pa.array(numbers), pa.array(names), _column(clean), _column(augmented)]
    return pa.Table.from_arrays(columns, schema=_STREAM_SCHEMA)


def _column(waveforms: Sequence[np.ndarray | None]) -> pa.Array:
    offsets = np.cumsum([0] + [0 if w is None else len(w) for w in waveforms])
    present = [w for w in waveforms if w is not None]
    values = np.concatenate(present) if present else np.zeros(0, np.float32)
    missing = pa.array([w is None for w in waveforms])
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), pa.array(values, pa.float32()), mask=missing)


def _waveforms(column: pa.ChunkedArray) -> Iterator[np.ndarray | None]:
    for chunk in column.chunks:
        values = chunk.values.to_numpy(zero_copy_only=True)
        offsets = chunk.offsets.to_numpy()
        for i, present in enumerate(chunk.is_valid()):
            yield values[offsets[i] : offsets[i + 1]] if present.as_py() else None
