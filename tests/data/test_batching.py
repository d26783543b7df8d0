"""Batches: every utterance once, of similar length, with partners for the contrastive terms."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysys.data.batching import _Waiting, make_batches

IEMOCAP = {"ang": 1103, "hap": 1636, "neu": 1708, "sad": 1084}


def corpus(counts: dict[str, int]) -> tuple[dict[str, float], dict[str, str]]:
    """Durations like IEMOCAP's: lognormal, median 3.6 s, mean 4.6 s, the longest 34 s."""
    draw, sigma = random.Random(0), math.sqrt(2 * math.log(4.6 / 3.6))
    labels = {f"{name}{i:04d}": name for name, count in counts.items() for i in range(count)}
    durations_s = {u: min(34.0, max(0.6, draw.lognormvariate(math.log(3.6), sigma))) for u in labels}
    durations_s[next(iter(labels))] = 34.0
    return durations_s, labels


def batches_of(counts: dict[str, int], batch_size: int, per_class: int, seed: int = 0) -> list[list[str]]:
    durations_s, labels = corpus(counts)
    return make_batches(
        sorted(labels), durations_s, labels, batch_size=batch_size, per_class=per_class, generator=random.Random(seed)
    )


@given(
    counts=st.lists(st.integers(0, 40), min_size=1, max_size=5),
    batch_size=st.integers(1, 17),
    per_class=st.integers(1, 5),
)
@settings(max_examples=150, deadline=None)
def test_every_utterance_once_in_as_few_batches_as_there_can_be(
    counts: list[int], batch_size: int, per_class: int
) -> None:
    named = {chr(97 + i): count for i, count in enumerate([*counts, 1])}
    batches = batches_of(named, batch_size, per_class)
    _, labels = corpus(named)
    assert sorted(name for batch in batches for name in batch) == sorted(labels)
    # The schedule relies on it.
    assert len(batches) == -(-len(labels) // batch_size)
    assert sum(len(batch) < batch_size for batch in batches) <= 1


@pytest.mark.parametrize("share", [0.6, 1.0])
@pytest.mark.parametrize("batch_size", [8, 16])
def test_nearly_every_anchor_has_a_positive_and_a_negative(batch_size: int, share: float) -> None:
    """In random batches of 8, about 13 % of them lack a positive."""
    counts = {name: round(count * share) for name, count in IEMOCAP.items()}
    _, labels = corpus(counts)
    without = Counter[str]()
    for batch in batches_of(counts, batch_size, 2):
        classes = Counter(labels[name] for name in batch)
        without["positive"] += sum(classes[labels[name]] == 1 for name in batch)
        without["negative"] += len(batch) if len(classes) == 1 else 0
    assert without["positive"] < 0.02 * len(labels)
    assert without["negative"] < 0.01 * len(labels)


@pytest.mark.parametrize("per_class", [1, 2])
@pytest.mark.parametrize("share", [0.6, 1.0])
def test_batches_pad_little(per_class: int, share: float) -> None:
    """Random batches of 16 pad these durations to 2.9 times their length."""
    counts = {name: round(count * share) for name, count in IEMOCAP.items()}
    durations_s, _ = corpus(counts)
    batches = batches_of(counts, 16, per_class)
    padded_s = sum(len(batch) * max(durations_s[name] for name in batch) for batch in batches)
    assert padded_s < 1.1 * sum(durations_s.values())


def test_classes_that_differ_in_length_still_share_batches() -> None:
    """By length alone, every batch would be of one class, and the contrastive terms would lack negatives."""
    labels = {f"{name}{i:03d}": name for name in "ab" for i in range(80)}
    durations_s = {u: (1.0 if u[0] == "a" else 9.0) + int(u[1:]) / 100 for u in labels}
    batches = make_batches(sorted(labels), durations_s, labels, batch_size=8, per_class=2, generator=random.Random(0))
    single = [batch for batch in batches if len({labels[name] for name in batch}) == 1]
    # Once one class is used up, there is nothing left to mix.
    assert len(single) <= len(batches) / 3


def test_long_and_short_batches_come_in_random_order() -> None:
    durations_s, _ = corpus(IEMOCAP)
    longest = [max(durations_s[name] for name in batch) for batch in batches_of(IEMOCAP, 16, 2)]
    rises = sum(a < b for a, b in pairwise(longest))
    assert 0.4 * len(longest) < rises < 0.6 * len(longest)


@pytest.mark.parametrize("counts", [{"a": 90, "b": 90, "c": 90, "d": 90}, IEMOCAP])
def test_the_composition_of_batches_changes_between_epochs(counts: dict[str, int]) -> None:
    def pairs(seed: int) -> set[tuple[str, str]]:
        batches = batches_of(counts, 16, 2, seed)
        return {(a, b) for batch in batches for a in batch for b in batch if a < b}

    assert len(pairs(0) & pairs(1)) < 0.25 * len(pairs(0))


def test_equal_generators_give_equal_batches() -> None:
    assert batches_of(IEMOCAP, 16, 2, 3) == batches_of(IEMOCAP, 16, 2, 3) != batches_of(IEMOCAP, 16, 2, 4)


@pytest.mark.parametrize(
    ("counts", "batch_size", "per_class", "balanced", "expected"),
    [
        ([3], 4, 2, False, "d10d0ad70aade57e"),
        ([30, 20, 7, 1], 4, 2, False, "aed32bc6f599d01a"),
        ([400, 20, 3], 16, 2, False, "16e6d32fc0352bba"),
        ([9000, 500, 400, 100], 16, 2, False, "7f4bdaa0e29ec7ae"),
        ([1103, 1636, 1708, 1084], 8, 4, False, "885b8484a48b18a4"),
        ([90, 60, 2], 5, 7, False, "3989b8be7ac85808"),
        ([1103, 1636, 1708, 1084], 16, 1, False, "a0b61c9c414c1acf"),
        ([800, 90, 10], 16, 2, True, "d50bb37521ad3039"),
        ([800, 90, 10], 6, 4, True, "e5b41aab5d60457d"),
    ],
)
def test_batches_are_those_that_all_results_so_far_were_trained_on(
    counts: list[int], batch_size: int, per_class: int, balanced: bool, expected: str
) -> None:
    """Hashes of what a list of groups gave, of which each batch took and put back the first."""
    draw = random.Random(sum(counts))
    labels = {f"u{c}{i:05d}": c for c, count in enumerate(counts) for i in range(count)}
    durations_s = {name: round(draw.uniform(0.5, 20), 1) for name in labels}
    batches = make_batches(
        sorted(labels),
        durations_s,
        labels,
        batch_size=batch_size,
        per_class=per_class,
        generator=random.Random(7),
        balanced=balanced,
    )
    assert hashlib.sha256(json.dumps(batches).encode()).hexdigest()[:16] == expected


class CountedGroups(list[list[str]]):
    """Counts how often a group is looked at, and refuses what takes as long as it is."""

    looked_at = 0

    def __getitem__(self, at: Any) -> Any:
        self.looked_at += 1
        return super().__getitem__(at)

    def pop(self, at: Any = -1) -> Any:
        raise AssertionError("moves all groups after it")

    insert = pop  # type: ignore[assignment]


@pytest.mark.parametrize("rare", [10, 300])
def test_the_work_for_a_batch_does_not_grow_with_the_corpus(rare: int) -> None:
    """From each batch of one class, every group was looked at for another class: 6.9 s an epoch of 400,000."""

    def looked_at(n_groups: int) -> int:
        groups = CountedGroups([f"{i}a", f"{i}b"] for i in range(n_groups))
        # The rare class comes last, where every batch of the other looks for it.
        labels = {name: i >= n_groups - rare for i, group in enumerate(groups) for name in group}
        groups.looked_at = 0
        waiting = _Waiting(groups, labels)
        while waiting:
            waiting.take(16, mixed=True)
        return groups.looked_at

    assert looked_at(8_000) <= 4.1 * looked_at(2_000)
