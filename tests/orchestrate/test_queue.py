"""The order of trials, and how many of them run."""

from __future__ import annotations

from typing import Any

import pytest
from ray.tune.search import Searcher

from raysys.orchestrate.queue import Queue


def asked(queue: Queue, *names: str) -> list[Any]:
    return [queue.suggest(name) for name in names]


def test_trials_come_in_their_order_and_as_many_as_there_is_room_for() -> None:
    queue = Queue(4, at_once=2, at_first=2)
    assert asked(queue, "a", "b", "c") == [{"task": 0}, {"task": 1}, None]
    queue.on_trial_complete("b")
    assert asked(queue, "c", "d") == [{"task": 2}, None]
    queue.on_trial_complete("a", error=True)
    queue.on_trial_complete("c")
    assert asked(queue, "d", "e") == [{"task": 3}, Searcher.FINISHED]


@pytest.mark.parametrize("event", ["epoch", "end", "minute"])
def test_those_beyond_the_cores_wait_for_the_first_epoch_an_end_or_a_minute(
    event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    queue = Queue(5, at_once=3, at_first=2)
    assert asked(queue, "a", "b", "c") == [{"task": 0}, {"task": 1}, None]
    clock[0] += 59
    assert asked(queue, "c") == [None]
    if event == "epoch":
        queue.on_trial_result("a", {})
        expected: list[Any] = [{"task": 2}, None]
    elif event == "end":
        queue.on_trial_complete("a")
        expected = [{"task": 2}, {"task": 3}]
    else:
        clock[0] += 2
        expected = [{"task": 2}, None]
    assert asked(queue, "c", "d") == expected
