"""Batches that a thread makes one step ahead are those that the loop would make, in their order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from raysys.training.ahead import made_ahead, one_ahead
from tests.training.little_fold import little_config, little_fold


def test_the_order_stays_and_one_more_is_being_made() -> None:
    made: list[int] = []
    second = threading.Event()

    def items() -> Iterator[int]:
        for number in range(4):
            made.append(number)
            if number == 1:
                second.set()
            yield number

    with ThreadPoolExecutor(max_workers=1) as thread:
        coming = one_ahead(items(), thread)
        assert next(coming) == 0
        # Nobody has asked for the second.
        assert second.wait(timeout=60)
        assert [0, *coming] == [0, 1, 2, 3]
    assert made == [0, 1, 2, 3]


def test_an_exception_arrives_after_the_batches_before_it() -> None:
    def items() -> Iterator[int]:
        yield 0
        raise OSError("the disk is gone")

    with ThreadPoolExecutor(max_workers=1) as thread:
        coming = one_ahead(items(), thread)
        assert next(coming) == 0
        with pytest.raises(OSError, match="the disk is gone"):
            next(coming)


@pytest.mark.parametrize("leave", [KeyError, KeyboardInterrupt, SystemExit])
def test_the_thread_ends_with_a_loop_that_ends_early(leave: type[BaseException]) -> None:
    """Whatever ends it: a pause, SIGTERM's exception, an error of the loop."""
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1_000):
            made.append(number)
            yield number

    def use_one() -> None:
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="ends early") as thread:
            for _ in one_ahead(items(), thread):
                raise leave

    with pytest.raises(leave):
        use_one()
    assert not [t for t in threading.enumerate() if t.name.startswith("ends early")]
    assert made == [0, 1]


def test_a_cpu_gets_the_batches_as_they_are() -> None:
    little, config = little_fold(), little_config(epochs=1)
    before = threading.active_count()
    with made_ahead(little.batches(config), torch.device("cpu")) as coming:
        found = [(step.part, step.index, batch.utterance_ids) for step, batch in coming]
        assert threading.active_count() == before
    assert found == [(step.part, step.index, batch.utterance_ids) for step, batch in little.batches(config)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gets_equal_batches_in_pinned_memory() -> None:
    little, config = little_fold(), little_config(epochs=1)
    with made_ahead(little.batches(config), torch.device("cuda")) as coming:
        for (step, batch), (other, expected) in zip(coming, little.batches(config), strict=True):
            assert step == other and torch.equal(batch.labels_B, expected.labels_B)
            waveforms_BS = batch.clean.waveforms_BS
            assert waveforms_BS is not None and waveforms_BS.is_pinned()
