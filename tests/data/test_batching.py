"""Batches: every utterance once, of similar length, with partners for the contrastive terms."""

from __future__ import annotations

import math
import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysys.data.plan import make_batches

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
