"""Shards are cut by the list alone, and the names of what is written say which are done."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from raysys.prediction import shards
from raysys.prediction.inputs import Input
from raysys.prediction.shards import (
    block_name,
    cut_into_shards,
    finished,
    make_plan,
    missing,
    read_plan,
    read_shard,
)
from raysys.storage import Folder


def inputs(*seconds: float) -> list[Input]:
    return [Input(path=f"{i}.wav", location=f"/x/{i}.wav", guessed_s=s) for i, s in enumerate(seconds)]


def test_a_shard_has_48_files_or_15_minutes() -> None:
    assert [len(shard) for shard in cut_into_shards(inputs(*[1.0] * 100))] == [48, 48, 4]
    assert [len(shard) for shard in cut_into_shards(inputs(400.0, 500.0, 1.0, 3600.0, 1.0))] == [2, 1, 1, 1]
    assert list(cut_into_shards([])) == []


def test_a_plan_is_read_as_it_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "_SHARDS_PER_LIST", 2)
    parts = Folder.at(str(tmp_path))
    given = inputs(*[10.0] * 240)
    given[100] = Input(
        path="\\xff é.wav",
        location=os.fsdecode(b"/x/\xff.wav"),
        start_s=0.1,
        end_s=2.0,
        transcript="ha",
        problem="gone",
    )
    assert make_plan(parts, given) == [48] * 5
    assert read_plan(parts) == [48] * 5
    assert [name for name in parts.names() if name.startswith("plan-")] == [f"plan-0000{k}.parquet" for k in range(3)]
    read = [item for shard in range(5) for item in read_shard(parts, shard)]
    for item, expected in zip(read, given, strict=True):
        for name in ("path", "location", "start_s", "end_s", "transcript", "problem"):
            assert getattr(item, name) == getattr(expected, name)


def test_a_listing_that_broke_off_is_no_plan(tmp_path: Path) -> None:
    def breaks() -> object:
        yield from inputs(*[10.0] * 4000)
        raise KeyboardInterrupt

    parts = Folder.at(str(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        make_plan(parts, breaks())  # type: ignore[arg-type]
    assert parts.names() and read_plan(parts) is None


def test_a_shard_is_done_when_its_last_block_and_all_before_it_are_there() -> None:
    whole = [block_name(0, 0, last=False), block_name(0, 1, last=True)]
    no_end = [block_name(1, 0, last=False)]
    gap = [block_name(2, 0, last=False), block_name(2, 2, last=True)]
    alone = [block_name(3, 0, last=True)]
    names = [*alone, *gap, *no_end, *whole[::-1], "plan.json", f".{alone[0]}.a1b2c3d4"]
    assert finished(names) == {0: whole, 3: alone}
    assert missing([1, 1, 1, 1, 1], names) == [1, 2, 4]
