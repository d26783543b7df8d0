"""A worker's utterances: in the plan's order, the same whether files are mapped or tasks fetch them."""

from __future__ import annotations

import dataclasses
import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raysys.config import AugmentConfig
from raysys.data import stream as streaming
from raysys.data.cache import WaveformStore
from raysys.data.mixing import Mixing
from raysys.data.plan import Step
from raysys.data.stream import Fetched, stream
from raysys.data.views import Source
from raysys.storage import Folder
from tests.data.test_views import with_kept_views, write_store

WAVEFORMS = {f"u{i}": np.random.default_rng(i).normal(0, 0.1, 9_000 + 700 * i).astype(np.float32) for i in range(7)}
PLAN = [
    Step(part="train", epoch=0, index=0, utterance_ids=("u3", "u0", "u6")),
    Step(part="train", epoch=0, index=1, utterance_ids=("u1",)),
    Step(part="train", epoch=1, index=0, utterance_ids=("u5", "u2", "u4")),
    Step(part="validation", epoch=1, index=0, utterance_ids=("u6", "u1")),
]


@pytest.fixture
def source(tmp_path: Path) -> Source:
    folder = Folder.at(str(tmp_path))
    store = write_store(folder / "store", WAVEFORMS)
    return with_kept_views(
        Source(store=store, augment=AugmentConfig(variants=2), crop_s=0.7, seed=0), folder, WAVEFORMS
    )


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Fetching tasks run here instead of on a cluster; the list records the segments that were run."""
    ran: list[int] = []

    def fetch(chunks: Sequence[list[dict[str, Any]]], source: Source, data_cpus: int) -> list[pa.Table]:
        ran.append(len(chunks))
        return [streaming._fetch(pa.Table.from_pylist([{"steps": chunk}]), source) for chunk in chunks]

    monkeypatch.setattr(streaming, "_fetch_segment", fetch)
    return ran


def take(source: Source, *, rank: int = 0, workers: int = 1) -> list[Fetched]:
    return list(stream(PLAN, source, rank=rank, workers=workers, data_cpus=1))


def assert_same(mine: Sequence[Fetched], theirs: Sequence[Fetched]) -> None:
    assert [item.utterance_ids for item in mine] == [item.utterance_ids for item in theirs]
    for one, other in zip(mine, theirs, strict=True):
        for a, b in ((one.clean, other.clean), (one.augmented, other.augmented)):
            assert (a is None) == (b is None)
            for x, y in zip(a or [], b or [], strict=True):
                np.testing.assert_array_equal(x, y)


def test_mapped_views_are_the_fetched_ones(source: Source, tasks: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    mapped = take(source)
    assert not tasks, "a task was started with nothing to compute"
    monkeypatch.setattr(streaming, "_TASK_S", 1.5)
    monkeypatch.setattr(streaming, "_SEGMENT_S", 3.0)
    monkeypatch.setattr(WaveformStore, "is_local", property(lambda _: False))
    fetched = take(source)
    assert len(tasks) > 1, "expected several segments"
    assert_same(mapped, fetched)
    assert [item.step for item in mapped] == PLAN
    assert mapped[-1].augmented is None, "evaluation has no second view"


def test_views_computed_on_the_fly_are_the_same(source: Source, tasks: list[int]) -> None:
    made = take(source)
    assert_same(take(dataclasses.replace(source, views=())), made)
    assert tasks


def test_an_empty_augmentation_starts_no_task(source: Source, tasks: list[int]) -> None:
    """The ablation's "no augmentation": the second view equals the clean crop."""
    nothing = AugmentConfig(lsa=False, speed=False, noise=False)
    taken = take(dataclasses.replace(source, augment=nothing, views=()))
    assert not tasks
    for item in taken[:3]:
        assert item.clean is not None
        assert item.augmented is not None
        for clean_S, second_S in zip(item.clean, item.augmented, strict=True):
            np.testing.assert_array_equal(clean_S, second_S)


def test_workers_share_a_step_between_them(source: Source, tasks: list[int]) -> None:
    whole = take(source)
    shares = [take(source, rank=rank, workers=2) for rank in range(2)]
    for one, first, second in zip(whole, *shares, strict=True):
        assert one.utterance_ids == first.utterance_ids + second.utterance_ids
    assert shares[0][1].utterance_ids == ()
    assert shares[0][1].clean == []


def test_stopping_early_does_not_wait_for_prefetching(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tune gives a stopped trial's process two seconds, then fails the next trial in it."""
    fetched, go_on = threading.Event(), threading.Event()

    def fetch(chunks: Sequence[list[dict[str, Any]]], source: Source, data_cpus: int) -> list[pa.Table]:
        if fetched.is_set():
            go_on.wait(30)
        fetched.set()
        return [streaming._fetch(pa.Table.from_pylist([{"steps": chunk}]), source) for chunk in chunks]

    monkeypatch.setattr(streaming, "_fetch_segment", fetch)
    monkeypatch.setattr(streaming, "_TASK_S", 1.5)
    monkeypatch.setattr(streaming, "_SEGMENT_S", 1.5)
    taken = stream(PLAN, dataclasses.replace(source, views=()), rank=0, workers=1, data_cpus=1)
    next(taken)
    began = time.monotonic()
    taken.close()
    assert time.monotonic() - began < 10
    go_on.set()


def test_partners_are_fetched_from_other_workers_shares_too(source: Source) -> None:
    """So that w workers together mix what one would."""
    mixing = Mixing(alpha=0.3, seed=0)
    (one,) = (list(stream(PLAN, source, rank=0, workers=1, data_cpus=1, mixing=mixing)),)
    several = [list(stream(PLAN, source, rank=r, workers=3, data_cpus=1, mixing=mixing)) for r in range(3)]
    plain = take(source)
    for number, whole in enumerate(one):
        shares = [items[number] for items in several]
        assert sum((share.mixes for share in shares), ()) == whole.mixes
        for mine, theirs in (
            ([partner_S for s in shares for partner_S in s.partners], whole.partners),
            (whole.clean, plain[number].clean),
        ):
            for a, b in zip(mine or [], theirs or [], strict=True):
                np.testing.assert_array_equal(a, b)
        clean = dict(zip(whole.utterance_ids, whole.clean or [], strict=True))
        for mix, partner_S in zip(whole.mixes, whole.partners, strict=True):
            np.testing.assert_array_equal(partner_S, clean[mix.partner])
    assert one[0].mixes and not one[-1].mixes, "evaluation is not mixed"


def test_a_plan_is_read_only_as_far_as_it_is_fetched(
    source: Source, tasks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of epochs of a large corpus would take gigabytes."""
    read: list[Step] = []

    def planned() -> Iterator[Step]:
        for step in PLAN:
            read.append(step)
            yield step

    next(stream(planned(), source, rank=0, workers=1, data_cpus=1))
    assert len(read) == 1
    read.clear()
    monkeypatch.setattr(streaming, "_TASK_S", 0.1)
    monkeypatch.setattr(streaming, "_SEGMENT_S", 0.1)
    next(stream(planned(), dataclasses.replace(source, views=()), rank=0, workers=1, data_cpus=1))
    assert len(read) == 2, "one segment more than is in use"
    assert len(tasks) <= 2


def test_from_an_object_store_several_utterances_are_read_at_once(
    source: Source, tasks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after the other, each waits for the store's answer: 30 ms and more."""
    mapped = take(source)
    monkeypatch.setattr(WaveformStore, "is_local", property(lambda _: False))
    together, get, reads = threading.Barrier(3), WaveformStore.get, itertools.count()

    def together_at_first(store: WaveformStore, name: str) -> np.ndarray:
        if next(reads) < 3:
            together.wait(timeout=30)
        return get(store, name)

    monkeypatch.setattr(WaveformStore, "get", together_at_first)
    assert_same(mapped, take(source))
