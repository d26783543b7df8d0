"""Shared inputs are computed once: how much a task holds at a time, and what is recorded about unreadable files."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from ray.data._internal.util import _annotate_exception_with_retry_context
from ray.exceptions import RayTaskError

from raysys.data import precompute
from raysys.data.cache import WaveformStore, write_index
from raysys.data.tasks import Part, cause_of, cut_into_parts, make_part
from raysys.errors import StorageError
from raysys.storage import Folder


def members(*seconds: float | None) -> list[dict[str, Any]]:
    return [{"id": f"u{i:04d}", "seconds": s} for i, s in enumerate(seconds)]


def test_a_task_has_at_most_128_utterances_or_half_an_hour() -> None:
    """128 utterances of the maximum length, 600 s, would be 5 GB, and as much again while they are written."""
    assert [len(part) for part in cut_into_parts(members(*[2.0] * 300))] == [128, 128, 44]
    assert [len(part) for part in cut_into_parts(members(*[600.0] * 7))] == [3, 3, 1]
    assert [len(part) for part in cut_into_parts(members(5_000.0, 1.0, 1_799.0, 1.0))] == [1, 2, 1]
    assert [len(part) for part in cut_into_parts(members(*[None] * 129))] == [128, 1]


def test_parts_contain_every_member_in_order() -> None:
    all_of_them = members(*np.random.default_rng(0).uniform(0.1, 600, 500))
    parts = cut_into_parts(all_of_them)
    assert [member for part in parts for member in part] == all_of_them
    assert all(sum(member["seconds"] for member in part) <= 1_800 for part in parts)


def test_a_file_that_a_node_cannot_read_is_not_recorded_in_the_index(tmp_path: Path) -> None:
    """If they were recorded, a stale mount would exclude the file from every later run."""
    soundfile.write(tmp_path / "a.wav", np.zeros(800), 16_000)
    (tmp_path / "text.wav").write_text("no audio")

    def made(*names: str) -> list[dict[str, Any]]:
        rows = [
            {"id": name, "seconds": 0.05, "path": str(tmp_path / f"{name}.wav"), "start_s": None, "end_s": None}
            for name in names
        ]
        make = partial(precompute._decoded, trim_db=None)
        part = Part(location=str(tmp_path / "cache"), number=0, members=rows, make=make)
        return make_part(part).to_pylist()

    assert [row["utterance_id"] for row in made("a", "text") if row["error"]] == ["text"]
    with pytest.raises(StorageError) as error:
        made("a", "gone", "text")
    said = f"{tmp_path}/gone.wav (gone): cannot be read ([Errno 2] No such file or directory"
    assert str(error.value).startswith(said) and f"on node {socket.gethostname()}, " in str(error.value)


def test_a_long_part_is_written_file_by_file_and_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    """Features of a frozen encoder: one task encodes thousands of utterances, a megabyte each."""
    folder = tmp_path / "cache"
    written: list[int] = []

    def make(members: Sequence[Any]) -> Iterator[np.ndarray]:
        for number, _ in enumerate(members):
            written.append(len(list(folder.glob("part-*"))))
            yield np.full(3, 2 + number, np.float32)

    ids = [{"id": f"u{i:04d}", "seconds": None} for i in range(300)]
    index = make_part(Part(location=str(folder), number=7, members=ids, make=make))
    assert written == [0] * 128 + [1] * 128 + [2] * 44
    assert index["utterance_id"].to_pylist() == [member["id"] for member in ids]
    write_index(Folder.at(str(folder)), index)
    store = WaveformStore(str(folder))
    assert [store.get(member["id"])[0] for member in ids] == list(range(2, 302))


def test_what_comes_through_ray_data_is_the_message_alone() -> None:
    said = "/cache/part-00000.arrow: utterance a does not match its checksum."
    error = StorageError(said)
    # Ray's own function: the text that it appends may change.
    told = _annotate_exception_with_retry_context(
        error, description="apply UDF transform", attempts=1, max_attempts=1, total_backoff_s=0.0, exception_str=said
    )
    assert isinstance(told, StorageError) and "Failed to apply UDF transform" in str(told)
    cause = cause_of(RayTaskError("_fetch", "Traceback ...", told))
    assert isinstance(cause, StorageError) and str(cause) == said
