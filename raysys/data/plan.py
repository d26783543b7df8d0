"""The plan of a fold: which utterances form which step, in which order, on which worker.

Pure functions of (utterances, seed, epoch, workers): any process can compute the whole run in advance, a resumed run
sees the same batches, and w workers together see the batches of one.
"""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from raysys.config import TrainConfig
from raysys.data.folds import Fold

Part = Literal["train", "test_curve", "validation", "test"]
"""test_curve: the test part after every epoch, only for the optimistic protocol."""

_EVALUATION_UTTERANCES = 32
_EVALUATION_PADDED_S = 240.0
_POOLS = 3
"""Minimum number of pools per epoch: pools are redrawn every epoch, which varies the composition of batches."""
_POOL_BATCHES = 64
"""A pool of this many batches, sorted by length, pads IEMOCAP's durations by about 5 % at batch size 16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One forward pass over all workers.

    Attributes:
        part, epoch, index: where it belongs; the index counts within (part, epoch).
        utterance_ids: the utterances of all workers; `share` returns one worker's.
        update_size: utterances in the whole optimizer update (over its accumulated steps), 0 outside training.
        update_weight: sum of their weights in the cross-entropy.
        ends_update: whether the optimizer steps after it.
    """

    part: Part
    epoch: int
    index: int
    utterance_ids: tuple[str, ...]
    update_size: int = 0
    update_weight: float = 0.0
    ends_update: bool = False

    @property
    def weight(self) -> float:
        """The step's share of the update's weight, proportional to its number of utterances."""
        return self.update_weight * len(self.utterance_ids) / self.update_size

    def share(self, rank: int, workers: int) -> tuple[str, ...]:
        """The utterances of one worker: contiguous, possibly none; sizes differ by at most one."""
        n = len(self.utterance_ids)
        return self.utterance_ids[rank * n // workers : (rank + 1) * n // workers]


def derive_seed(*key: object) -> int:
    """A 63-bit seed from any key, identical in every process and on every machine."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def updates_per_epoch(n_train: int, config: TrainConfig) -> int:
    return -(-n_train // (config.batch_size * config.accumulate))


def total_updates(n_train: int, config: TrainConfig) -> int:
    """Optimizer steps of the whole training."""
    updates = config.epochs * updates_per_epoch(n_train, config)
    return updates if config.max_steps is None else min(updates, config.max_steps)


def training_epoch(
    utterance_ids: Sequence[str],
    durations_s: Mapping[str, float],
    labels: Mapping[str, int],
    config: TrainConfig,
    epoch: int,
    *,
    weights: Mapping[str, float] | None = None,
) -> list[Step]:
    """One shuffled pass over the training part, in the batches of `make_batches`: every utterance once, or, with
    balanced sampling, as many utterances with each class equally often.

    Args:
        utterance_ids: the training part, in any order.
        durations_s: of each utterance; a crop limits how much a step has to pad.
        labels: class index of each utterance.
        weights: of the utterances in the cross-entropy; None: all 1.
    """
    batches = make_batches(
        sorted(utterance_ids),
        {name: min(durations_s[name], config.crop_s) for name in utterance_ids},
        labels,
        batch_size=config.batch_size,
        per_class=config.per_class,
        generator=random.Random(derive_seed(config.seed, "order", epoch)),
        balanced=config.sampling == "balanced",
    )
    steps: list[Step] = []
    for start in range(0, len(batches), config.accumulate):
        update = batches[start : start + config.accumulate]
        members = [name for batch in update for name in batch]
        weight = sum(1.0 if weights is None else weights[name] for name in members)
        for batch in update:
            steps.append(
                Step(
                    part="train",
                    epoch=epoch,
                    index=len(steps),
                    utterance_ids=tuple(batch),
                    update_size=len(members),
                    update_weight=weight,
                    ends_update=batch is update[-1],
                )
            )
    return steps


def evaluation_steps(
    utterance_ids: Sequence[str], durations_s: Mapping[str, float], part: Part, epoch: int
) -> list[Step]:
    """Every utterance once, shortest first; a step has at most 32 and 240 padded seconds, or one utterance."""
    groups: list[list[str]] = []
    for name in sorted(utterance_ids, key=lambda u: (durations_s[u], u)):
        group = groups[-1] if groups else []
        full = len(group) == _EVALUATION_UTTERANCES
        if not groups or full or (len(group) + 1) * durations_s[name] > _EVALUATION_PADDED_S:
            groups.append([name])
        else:
            group.append(name)
    return [Step(part=part, epoch=epoch, index=i, utterance_ids=tuple(group)) for i, group in enumerate(groups)]


def fold_plan(
    fold: Fold,
    durations_s: Mapping[str, float],
    labels: Mapping[str, int],
    config: TrainConfig,
    first_epoch: int,
    *,
    first_step: int = 0,
    weights: Mapping[str, float] | None = None,
    test_curve: bool = False,
) -> list[Step]:
    """All steps of a fold: training and validation of each epoch from `first_epoch` on, then the test part once.

    Args:
        first_step: training steps of the first epoch that are already done.
        weights: of the training utterances in the cross-entropy; None: all 1.
        test_curve: also score the test part after every epoch.
    """
    left = total_updates(len(fold.train), config)
    left -= first_epoch * updates_per_epoch(len(fold.train), config)
    plan: list[Step] = []
    for epoch in range(first_epoch, config.epochs):
        if left <= 0:
            break
        for step in training_epoch(fold.train, durations_s, labels, config, epoch, weights=weights):
            if epoch > first_epoch or step.index >= first_step:
                plan.append(step)
            left -= step.ends_update
            if left == 0:
                break
        if test_curve:
            plan += evaluation_steps(fold.test, durations_s, "test_curve", epoch)
        plan += evaluation_steps(fold.validation, durations_s, "validation", epoch)
    return plan + evaluation_steps(fold.test, durations_s, "test", config.epochs)


def make_batches(
    utterance_ids: Sequence[str],
    lengths: Mapping[str, float],
    labels: Mapping[str, Hashable],
    *,
    batch_size: int,
    per_class: int,
    generator: random.Random,
    balanced: bool = False,
) -> list[list[str]]:
    """Split an epoch into batches: every utterance once, all batches full except one, in random order.

    Utterances of a class are grouped by `per_class`, neighbours in length within a random pool. Batches take groups in
    order of length; a batch that would contain a single class ends with the nearest group of another class. So the
    members of a batch are of similar length, and an anchor nearly always has a positive (if `per_class` is 2 or more)
    and a negative. Unless `balanced`, classes are not rebalanced: every utterance occurs once per epoch.

    Args:
        utterance_ids: the result depends on their order.
        lengths: what batches are padded by.
        labels: classes.
        batch_size: preferably a multiple of `per_class`.
        per_class: utterances of a class that stay together; 1 forms batches by length only.
        generator: of pools and order.
        balanced: draw as many utterances, each class equally often (see `_drawn`).
    """
    groups, rest = _groups(utterance_ids, lengths, labels, batch_size, per_class, generator, balanced=balanced)
    # Each class's leftovers go last: an odd group earlier would break up all the groups after it.
    groups += [[name] for name in sorted(rest, key=lambda name: lengths[name])]
    batches: list[list[str]] = []
    while groups:
        batches.append(_take(groups, labels, batch_size, mixed=per_class > 1))
    generator.shuffle(batches)
    return batches


def _groups(
    utterance_ids: Sequence[str],
    lengths: Mapping[str, float],
    labels: Mapping[str, Hashable],
    batch_size: int,
    per_class: int,
    generator: random.Random,
    *,
    balanced: bool,
) -> tuple[list[list[str]], list[str]]:
    """Groups of exactly `per_class`, and the leftover utterances (fewer than `per_class` for each class)."""
    members: dict[Hashable, list[str]] = defaultdict(list)
    for name in utterance_ids:
        members[labels[name] if per_class > 1 or balanced else None].append(name)
    n_pools = max(_POOLS, -(-len(utterance_ids) // (_POOL_BATCHES * batch_size)))
    if balanced:
        # Copies of an utterance have its length: in one pool they would be neighbours, and pairs without a positive.
        share = -(-len(utterance_ids) // len(members))
        fewest = min(len(names) // per_class * per_class for names in members.values())
        n_pools = max(n_pools, -(-share // max(1, fewest)))
    pools: list[list[list[str]]] = [[] for _ in range(n_pools)]
    rest: list[str] = []
    for names in members.values():
        generator.shuffle(names)
    for names in _drawn(members, len(utterance_ids), generator) if balanced else members.values():
        n_groups = len(names) // per_class
        rest += names[n_groups * per_class :]
        for number, pool in enumerate(pools):
            start, end = (n_groups * k // n_pools * per_class for k in (number, number + 1))
            chosen = sorted(names[start:end], key=lambda name: lengths[name])
            pool += [chosen[i : i + per_class] for i in range(0, len(chosen), per_class)]
    for number, pool in enumerate(pools):
        # Alternately ascending and descending: a batch across two pools has the longest, or the shortest, of both.
        pool.sort(key=lambda group: lengths[group[-1]], reverse=number % 2 == 1)
    return [group for pool in pools for group in pool], rest


def _drawn(members: Mapping[Hashable, list[str]], n: int, generator: random.Random) -> list[list[str]]:
    """`n` utterances, each class equally often, up to one: the first of a large class, a small one again and again.

    Args:
        members: of each class, in random order, in which they are repeated: so equal ones are far apart.
    """
    extra = {*generator.sample([*members], n % len(members))}
    drawn = []
    for label, names in members.items():
        share = n // len(members) + (label in extra)
        drawn.append([names[i % len(names)] for i in range(share)])
    return drawn


def _take(groups: list[list[str]], labels: Mapping[str, Hashable], batch_size: int, *, mixed: bool) -> list[str]:
    """Take a batch from the front of the groups; if mixed and all are of one class, the last group is of another."""
    batch: list[str] = []
    classes: set[Hashable] = set()
    while groups and len(batch) < batch_size:
        nearest = 0
        if mixed and len(classes) == 1 and len(batch) + len(groups[0]) >= batch_size:
            nearest = next((i for i, group in enumerate(groups) if labels[group[0]] not in classes), 0)
        chosen = groups.pop(nearest)
        room = batch_size - len(batch)
        if len(chosen) > room:
            groups.insert(0, chosen[room:])
            chosen = chosen[:room]
        batch += chosen
        classes.add(labels[chosen[0]])
    return batch
