"""The next batch, made while a GPU computes the last one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TypeVar

import torch

from raysys.data.batch import Batch
from raysys.data.plan import Step

T = TypeVar("T")


@contextlib.contextmanager
def made_ahead(batches: Iterable[tuple[Step, Batch]], device: torch.device) -> Iterator[Iterator[tuple[Step, Batch]]]:
    """Batches in their order. For a GPU, a thread makes each one step ahead, in pinned memory, from which copies return
    at once. A CPU has its cores in use, and gets them as they are.

    The thread ends with the block; a batch that it is making is finished before.
    """
    if device.type != "cuda":
        yield iter(batches)
        return
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches") as thread:
        yield one_ahead(((step, batch.pinned()) for step, batch in batches), thread)


def one_ahead(items: Iterator[T], thread: Executor) -> Iterator[T]:
    """The items in their order, the next of which the thread makes while one is used.

    What making one raises arrives when its turn comes.
    """
    coming = thread.submit(next, items, None)
    while (item := coming.result()) is not None:
        coming = thread.submit(next, items, None)
        yield item
