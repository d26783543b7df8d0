"""Which utterances share a batch: of similar length, and of classes that the contrastive terms can use."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence

_POOLS = 3
"""Pools that an epoch is cut into at least: what a pool holds is drawn again each epoch, and with it who meets whom."""
_POOL_BATCHES = 64
"""A pool of so many batches, sorted by length, pads IEMOCAP's durations by some 5 % at batch 16."""


def make_batches(
    utterance_ids: Sequence[str],
    lengths: Mapping[str, float],
    labels: Mapping[str, Hashable],
    *,
    batch_size: int,
    per_class: int,
    generator: random.Random,
) -> list[list[str]]:
    """Cut an epoch into batches: every utterance once, all batches full but one, in random order.

    Utterances of a class are grouped by `per_class`, neighbours in length within a random pool. Batches take groups in
    the order of their lengths; one that would be of a single class ends with the nearest group of another. So the
    members of a batch are of similar length, and an anchor nearly always has a positive (from `per_class` 2 on) and a
    negative. Classes of unequal sizes stay so: within an epoch every utterance comes up once.

    Args:
        utterance_ids: in an order that the result depends on.
        lengths: what a batch is padded by.
        labels: classes.
        batch_size: best a multiple of `per_class`.
        per_class: utterances of a class that stay together; 1 looks at lengths alone.
        generator: of pools and order.
    """
    groups, rest = _groups(utterance_ids, lengths, labels, batch_size, per_class, generator)
    # What a class has over goes last: an odd group in between would tear the following ones apart.
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
) -> tuple[list[list[str]], list[str]]:
    """Groups of exactly `per_class`, and the utterances that are left over (fewer than that a class)."""
    members: dict[Hashable, list[str]] = defaultdict(list)
    for name in utterance_ids:
        members[labels[name] if per_class > 1 else None].append(name)
    n_pools = max(_POOLS, -(-len(utterance_ids) // (_POOL_BATCHES * batch_size)))
    pools: list[list[list[str]]] = [[] for _ in range(n_pools)]
    rest: list[str] = []
    for names in members.values():
        generator.shuffle(names)
        n_groups = len(names) // per_class
        rest += names[n_groups * per_class :]
        for number, pool in enumerate(pools):
            start, end = (n_groups * k // n_pools * per_class for k in (number, number + 1))
            chosen = sorted(names[start:end], key=lambda name: lengths[name])
            pool += [chosen[i : i + per_class] for i in range(0, len(chosen), per_class)]
    for number, pool in enumerate(pools):
        # Up and down in turn: a batch across two pools holds the longest, or the shortest, of both.
        pool.sort(key=lambda group: lengths[group[-1]], reverse=number % 2 == 1)
    return [group for pool in pools for group in pool], rest


def _take(groups: list[list[str]], labels: Mapping[str, Hashable], batch_size: int, *, mixed: bool) -> list[str]:
    """Take a batch from the front of the groups; mixed: where all are of one class, the last is of another."""
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
