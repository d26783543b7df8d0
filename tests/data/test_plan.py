"""The plan: the composition of every step, computed in advance and identical everywhere."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter, UserDict
from collections.abc import Iterable
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysys.config import TrainConfig
from raysys.data.folds import Fold
from raysys.data.plan import (
    Step,
    derive_seed,
    evaluation_steps,
    fold_plan,
    total_updates,
    training_epoch,
)

SEED_OF_ORDER_0_1 = 7021862330116196507


def durations(n: int, prefix: str = "u") -> dict[str, float]:
    draw = random.Random(n)
    return {f"{prefix}{i:03d}": round(draw.uniform(0.5, 30.0), 2) for i in range(n)}


def classes(names: Iterable[str]) -> dict[str, int]:
    """Four classes, unequal in size."""
    return {name: (0, 1, 1, 2, 3, 3)[derive_seed(name) % 6] for name in names}


def config(batch_size: int = 4, accumulate: int = 3, **values: int | None) -> TrainConfig:
    return TrainConfig(batch_size=batch_size, accumulate=accumulate, **values)  # type: ignore[arg-type]


def epoch_of(n: int, train: TrainConfig, epoch: int = 0) -> list[Step]:
    lengths = durations(n)
    return training_epoch(list(lengths), lengths, classes(lengths), train, epoch)


sizes = st.integers(1, 90)
small = st.integers(1, 7)


@given(n=sizes, batch_size=small, accumulate=small, epoch=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_every_training_utterance_occurs_once_per_epoch(n: int, batch_size: int, accumulate: int, epoch: int) -> None:
    steps = epoch_of(n, config(batch_size, accumulate), epoch)
    assert sorted(u for s in steps for u in s.utterance_ids) == sorted(durations(n))
    assert [s.index for s in steps] == list(range(len(steps)))
    assert all(s.part == "train" and s.epoch == epoch for s in steps)
    assert all(1 <= len(s.utterance_ids) <= batch_size for s in steps)


def drawn(counts: dict[int, int], epoch: int = 0, *, per_class: int = 2, batch_size: int = 8) -> list[Step]:
    """An epoch with balanced sampling of a corpus with these numbers of utterances by class."""
    labels = {f"c{label}u{i}": label for label, count in counts.items() for i in range(count)}
    lengths = {name: 1.0 + derive_seed(name) % 100 / 10 for name in labels}
    train = TrainConfig(batch_size=batch_size, accumulate=2, per_class=per_class, sampling="balanced")
    return training_epoch(list(labels), lengths, labels, train, epoch)


@pytest.mark.parametrize("per_class", [1, 2, 3])
@pytest.mark.parametrize("counts", [{0: 40, 1: 10, 2: 3}, {0: 5, 1: 5}, {0: 1, 1: 60}, {0: 7, 1: 8, 2: 9, 3: 11}])
def test_balanced_sampling_draws_each_class_equally_often_in_as_many_steps(
    counts: dict[int, int], per_class: int
) -> None:
    names = [name for step in drawn(counts, per_class=per_class) for name in step.utterance_ids]
    n = sum(counts.values())
    of_class = Counter(int(name[1]) for name in names)
    assert len(names) == n
    assert {*of_class} == {*counts} and max(of_class.values()) - min(of_class.values()) <= 1
    for label in counts:
        times = Counter(name for name in names if name[1] == str(label))
        assert len(times) == min(counts[label], of_class[label]), "drawn without replacement until all were"
        assert max(times.values()) - min(times.values()) <= 1
    assert len(drawn(counts, per_class=per_class)) == -(-n // 8)


def test_balanced_sampling_draws_others_of_a_large_class_in_another_epoch_and_the_same_again() -> None:
    first, again, second = ({*drawn({0: 40, 1: 4}, epoch)} for epoch in (0, 0, 1))
    assert first == again
    large = [{u for s in epoch for u in s.utterance_ids if u[1] == "0"} for epoch in (first, second)]
    assert len(large[0]) == len(large[1]) == 22 and large[0] != large[1]


def test_copies_of_an_utterance_are_rarely_in_one_batch() -> None:
    """As neighbours in length they would all be: pairs of a class without a positive."""
    steps = [step for epoch in range(10) for step in drawn({0: 200, 1: 30, 2: 30}, epoch)]
    twice = sum(len(step.utterance_ids) - len({*step.utterance_ids}) for step in steps)
    assert twice < 0.02 * sum(len(step.utterance_ids) for step in steps)


@given(n=sizes, batch_size=small, accumulate=small)
@settings(max_examples=60, deadline=None)
def test_update_sizes_are_the_sums_of_their_accumulated_steps(n: int, batch_size: int, accumulate: int) -> None:
    """Cross-entropy divides by it: an error would scale the gradient of the last update."""
    train = config(batch_size, accumulate, epochs=1)
    steps = epoch_of(n, train)
    assert steps[-1].ends_update
    assert sum(s.ends_update for s in steps) == total_updates(n, train)
    update: list[Step] = []
    for step in steps:
        update.append(step)
        if step.ends_update:
            assert len(update) <= accumulate
            assert {s.update_size for s in update} == {sum(len(s.utterance_ids) for s in update)}
            update = []


@given(n=st.integers(0, 40), workers=st.integers(1, 9))
@settings(deadline=None)
def test_shares_partition_a_step_in_its_order(n: int, workers: int) -> None:
    names = tuple(durations(n))
    step = Step(part="train", epoch=0, index=0, utterance_ids=names)
    shares = [step.share(rank, workers) for rank in range(workers)]
    assert tuple(name for share in shares for name in share) == names
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_shares_by_hand() -> None:
    step = Step(part="train", epoch=0, index=0, utterance_ids=("a", "b", "c"))
    assert [step.share(r, 2) for r in range(2)] == [("a",), ("b", "c")]
    assert [step.share(r, 4) for r in range(4)] == [(), ("a",), ("b",), ("c",)]


def test_same_seed_same_plan_and_the_order_of_the_input_does_not_matter() -> None:
    lengths = durations(50)
    shuffled = random.Random(1).sample(list(lengths), len(lengths))
    train = config(seed=3)
    assert training_epoch(shuffled, lengths, classes(lengths), train, 1) == epoch_of(50, train, 1)


@pytest.mark.parametrize(("seed", "epoch"), [(3, 2), (4, 1)])
def test_another_epoch_or_seed_gives_another_order(seed: int, epoch: int) -> None:
    first = [s.utterance_ids for s in epoch_of(50, config(seed=3), 1)]
    assert [s.utterance_ids for s in epoch_of(50, config(seed=seed), epoch)] != first


def test_batches_change_between_epochs() -> None:
    """Contrastive terms learn from the other utterances in a batch: fixed batches would starve them."""

    def pairs(epoch: int) -> set[frozenset[str]]:
        batches = [step.utterance_ids for step in epoch_of(400, config(), epoch)]
        return {frozenset((a, b)) for batch in batches for a in batch for b in batch if a < b}

    assert len(pairs(0) & pairs(1)) < 0.2 * len(pairs(0))


def test_a_step_has_utterances_of_similar_length() -> None:
    lengths = durations(960)
    train = config(batch_size=8, accumulate=1)
    padded = used = 0.0
    for step in epoch_of(960, train):
        cropped = [min(lengths[u], train.crop_s) for u in step.utterance_ids]
        padded += max(cropped) * len(cropped)
        used += sum(cropped)
    assert padded < 1.1 * used


def test_seeds_are_the_same_in_every_process() -> None:
    # Pinned: a different value would change the plans of all resumed runs.
    assert derive_seed(0, "order", 1) == SEED_OF_ORDER_0_1
    assert 0 <= derive_seed("x") < 2**63
    assert derive_seed(1, 11) != derive_seed(11, 1) != derive_seed("11", 1)


@given(n=st.integers(0, 120))
@settings(max_examples=40, deadline=None)
def test_evaluation_covers_each_utterance_once_and_bounds_padding(n: int) -> None:
    lengths = durations(n) | ({"long": 600.0} if n % 2 else {})
    steps = evaluation_steps(list(lengths), lengths, "test", 5)
    assert sorted(u for s in steps for u in s.utterance_ids) == sorted(lengths)
    for step in steps:
        assert step.part == "test" and step.epoch == 5
        assert step.update_size == 0 and not step.ends_update
        longest = max(lengths[u] for u in step.utterance_ids)
        count = len(step.utterance_ids)
        assert count == 1 or (count <= 32 and count * longest <= 240)


def test_short_utterances_are_evaluated_in_large_batches() -> None:
    lengths = {f"u{i:03d}": 1.0 for i in range(70)}
    steps = evaluation_steps(list(lengths), lengths, "validation", 0)
    assert [len(s.utterance_ids) for s in steps] == [32, 32, 6]


@pytest.fixture
def fold() -> Fold:
    parts = {name: tuple(durations(n, name[0])) for name, n in PART_SIZES.items()}
    return Fold(index=0, name="Session1", **parts)


PART_SIZES = {"train": 26, "validation": 7, "test": 9}
LENGTHS = {k: v for name, n in PART_SIZES.items() for k, v in durations(n, name[0]).items()}


def test_a_fold_trains_and_validates_each_epoch_and_tests_once(fold: Fold) -> None:
    plan = list(fold_plan(fold, LENGTHS, classes(LENGTHS), config(epochs=3), first_epoch=0))
    order = [key for key, _ in groupby(plan, key=lambda s: (s.part, s.epoch))]
    assert order == [
        *((part, epoch) for epoch in range(3) for part in ("train", "validation")),
        ("test", 3),
    ]
    for part in ("validation", "test"):
        seen = [u for s in plan if s.part == part for u in s.utterance_ids]
        times = 3 if part == "validation" else 1
        assert sorted(seen) == sorted(list(getattr(fold, part)) * times)


def test_a_test_curve_scores_the_test_part_after_every_epoch_and_changes_no_other_step(fold: Fold) -> None:
    plain = list(fold_plan(fold, LENGTHS, classes(LENGTHS), config(epochs=3), first_epoch=0))
    plan = list(fold_plan(fold, LENGTHS, classes(LENGTHS), config(epochs=3), first_epoch=0, test_curve=True))
    assert [step for step in plan if step.part != "test_curve"] == plain
    for epoch in range(3):
        seen = [u for s in plan if (s.part, s.epoch) == ("test_curve", epoch) for u in s.utterance_ids]
        assert sorted(seen) == sorted(fold.test)


def test_a_shorter_training_has_the_batches_of_a_longer_ones_beginning(fold: Fold) -> None:
    whole = list(fold_plan(fold, LENGTHS, classes(LENGTHS), config(epochs=3), first_epoch=0))
    plan = list(fold_plan(fold, LENGTHS, classes(LENGTHS), config(epochs=2), first_epoch=0))
    assert [s for s in plan if s.part != "test"] == [s for s in whole if s.epoch < 2]


def test_an_updates_weight_is_the_sum_of_its_utterances(fold: Fold) -> None:
    weights = {name: 1 + index / 4 for index, name in enumerate(fold.train)}
    train = config(epochs=1)
    for own in (weights, None):
        plan = list(fold_plan(fold, LENGTHS, classes(LENGTHS), train, first_epoch=0, weights=own))
        steps = [s for s in plan if s.part == "train"]
        for update in (steps[i : i + train.accumulate] for i in range(0, len(steps), train.accumulate)):
            names = [name for step in update for name in step.utterance_ids]
            total = sum(weights[name] for name in names) if own else len(names)
            assert {step.update_weight for step in update} == {total}


@pytest.mark.parametrize("max_steps", [None, 1, 3, 4, 100])
@pytest.mark.parametrize("done", [0, 1, 2, 3])
@pytest.mark.parametrize("sampling", ["natural", "balanced"])
def test_a_resumed_plan_is_the_tail_of_the_full_plan(
    fold: Fold, max_steps: int | None, done: int, sampling: Any
) -> None:
    train = dataclasses.replace(config(epochs=3, max_steps=max_steps), sampling=sampling)
    whole = list(fold_plan(fold, LENGTHS, classes(LENGTHS), train, first_epoch=0))
    expected = [s for s in whole if s.epoch >= done or s.part == "test"]
    assert list(fold_plan(fold, LENGTHS, classes(LENGTHS), train, first_epoch=done)) == expected


@pytest.mark.parametrize(("max_steps", "updates", "epochs"), [(1, 1, 1), (3, 3, 1), (4, 4, 2)])
def test_max_steps_counts_optimizer_steps_and_still_validates_and_tests(
    fold: Fold, max_steps: int, updates: int, epochs: int
) -> None:
    # 26 utterances in updates of 12 are 3 per epoch.
    train = config(epochs=5, max_steps=max_steps)
    assert total_updates(26, train) == updates
    plan = list(fold_plan(fold, LENGTHS, classes(LENGTHS), train, first_epoch=0))
    assert sum(s.ends_update for s in plan) == updates
    assert {s.epoch for s in plan if s.part == "validation"} == set(range(epochs))
    assert sum(len(s.utterance_ids) for s in plan if s.part == "test") == len(fold.test)


class Counted(UserDict[str, int]):
    """Counts how often it is asked."""

    asked = 0

    def __getitem__(self, name: str) -> int:
        self.asked += 1
        return super().__getitem__(name)


def test_an_epoch_is_planned_when_it_begins(fold: Fold) -> None:
    """All epochs of a corpus of 264,705 utterances were planned first: 110 s and 2.5 GB before the first step."""
    labels = Counted(classes(LENGTHS))
    plan = fold_plan(fold, LENGTHS, labels, config(epochs=50), first_epoch=0)
    assert labels.asked == 0
    next(plan)
    of_one_epoch = labels.asked
    assert of_one_epoch <= 3 * len(fold.train)
    assert next(step for step in plan if step.epoch == 1)
    assert labels.asked == 2 * of_one_epoch
