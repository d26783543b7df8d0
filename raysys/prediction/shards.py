"""Cut the recordings into shards, some dozens of files each, and keep account of those that are done.

The folder of parts, beside the output, has
    plan-00000.parquet ...            the recordings of 64 shards
    plan.json                         how many each shard has; written last
    shard-000000-00000.parquet ...    the predictions of a shard, in blocks; the last one ends in -end
so that the names alone say what is done. Shards are cut by the list alone, and their blocks by what is in them: done
again, they are the same.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from raysys.prediction.inputs import Input
from raysys.storage import Folder

FILES = 48
SECONDS = 900.0
"""A shard with more is closed; a longer recording has one of its own."""
_SHARDS_PER_LIST = 64
_PLAN = "plan.json"
_BLOCK = re.compile(r"shard-(\d{6,})-(\d{5,})(-end)?\.parquet")
_SCHEMA = pa.schema(
    [
        ("shard", pa.int64()),
        ("path", pa.string()),
        # Not every name of a file is text.
        ("location", pa.binary()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("transcript", pa.string()),
        ("problem", pa.string()),
    ]
)
T = TypeVar("T")


def make_plan(parts: Folder, inputs: Iterable[Input]) -> list[int]:
    """List the recordings, of which only those of 64 shards are in memory. Returns: the number in each shard."""
    sizes: list[int] = []
    shards = cut_into_shards(inputs)
    while some := list(islice(shards, _SHARDS_PER_LIST)):
        first = len(sizes)
        rows = [_row(first + i, item) for i, shard in enumerate(some) for item in shard]
        parts.write_table(_list_of(first), pa.Table.from_pylist(rows, schema=_SCHEMA))
        sizes += map(len, some)
    parts.write_json(_PLAN, {"files": sizes})
    return sizes


def read_plan(parts: Folder) -> list[int] | None:
    """What `make_plan` returned; None if it did not come to its end."""
    if not parts.exists(_PLAN):
        return None
    sizes: list[int] = parts.read_json(_PLAN)["files"]
    return sizes


def cut_into_shards(inputs: Iterable[Input]) -> Iterator[list[Input]]:
    shard: list[Input] = []
    seconds = 0.0
    for item in inputs:
        if shard and (len(shard) == FILES or seconds + item.guessed_s > SECONDS):
            yield shard
            shard, seconds = [], 0.0
        shard.append(item)
        seconds += item.guessed_s
    if shard:
        yield shard


def read_shard(parts: Folder, shard: int) -> list[Input]:
    """A shard's recordings, in order."""
    table = parts.read_table(_list_of(shard))
    rows = table.filter(pc.equal(table["shard"], shard)).drop_columns("shard").to_pylist()
    return [Input(**row | {"location": os.fsdecode(row["location"])}) for row in rows]


def block_name(shard: int, block: int, *, last: bool) -> str:
    return f"shard-{shard:06d}-{block:05d}{'-end' if last else ''}.parquet"


def finished(names: Iterable[str]) -> dict[int, list[str]]:
    """Names of the blocks of each shard that is done, in order: its last one is there, and all before it."""
    found: dict[int, dict[int, str]] = defaultdict(dict)
    ends: dict[int, int] = {}
    for name in names:
        if match := _BLOCK.fullmatch(name):
            shard, block = int(match[1]), int(match[2])
            found[shard][block] = name
            if match[3]:
                ends[shard] = block
    return {
        shard: [found[shard][block] for block in range(end + 1)]
        for shard, end in ends.items()
        if all(block in found[shard] for block in range(end + 1))
    }


def missing(sizes: Sequence[int], names: Iterable[str]) -> list[int]:
    done = finished(names)
    return [shard for shard in range(len(sizes)) if shard not in done]


def _list_of(shard: int) -> str:
    return f"plan-{shard // _SHARDS_PER_LIST:05d}.parquet"


def _row(shard: int, item: Input) -> dict[str, object]:
    return {
        "shard": shard,
        "path": item.path,
        "location": os.fsencode(item.location),
        "start_s": item.start_s,
        "end_s": item.end_s,
        "transcript": item.transcript,
        "problem": item.problem,
    }
