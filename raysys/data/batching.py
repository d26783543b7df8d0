"""Batches of an epoch: of similar length, in random order, with partners for the contrastive terms."""

from __future__ import annotations

import random
from collections import defaultdict, deque
from collections.abc import Hashable, Iterator, Mapping, Sequence, Set

_POOLS = 3
"""Minimum number of pools per epoch: pools are redrawn every epoch, which varies the composition of batches."""
_POOL_BATCHES = 64
"""A pool of this many batches, sorted by length, pads IEMOCAP's durations by about 5 % at batch size 16."""


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
    waiting = _Waiting(groups, labels)
    batches: list[list[str]] = []
    while waiting:
        batches.append(waiting.take(batch_size, mixed=per_class > 1))
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


class _Waiting:
    """Groups, in order, that are not in a batch yet; taking one takes a time that does not depend on their number."""

    def __init__(self, groups: Sequence[list[str]], labels: Mapping[str, Hashable]) -> None:
        self._groups = groups
        self._label_of = [labels[group[0]] for group in groups]
        self._of_class: dict[Hashable, deque[int]] = defaultdict(deque)
        for number, label in enumerate(self._label_of):
            self._of_class[label].append(number)
        self._taken = bytearray(len(groups))
        self._front = 0
        self._rest: list[str] = []
        self._label_of_rest: Hashable = None

    def __bool__(self) -> bool:
        return bool(self._rest) or self._skipped_to() < len(self._groups)

    def take(self, batch_size: int, *, mixed: bool) -> list[str]:
        """A batch from the front of the groups; if mixed and all are of one class, the last group is of another."""
        # What the last group of the batch before had too many.
        batch, self._rest = self._rest[:batch_size], self._rest[batch_size:]
        classes = {self._label_of_rest} if batch else set()
        while len(batch) < batch_size and (chosen := self._skipped_to()) < len(self._groups):
            room = batch_size - len(batch)
            if mixed and len(classes) == 1 and len(self._groups[chosen]) >= room:
                chosen = min(self._others(classes), default=chosen)
            self._taken[chosen] = True
            batch += self._groups[chosen][:room]
            self._rest, self._label_of_rest = self._groups[chosen][room:], self._label_of[chosen]
            classes.add(self._label_of_rest)
        return batch

    def _skipped_to(self) -> int:
        """The first group that is left; their number if there is none."""
        while self._front < len(self._groups) and self._taken[self._front]:
            self._front += 1
        return self._front

    def _others(self, classes: Set[Hashable]) -> Iterator[int]:
        """The first group that is left of each class but these."""
        for label, numbers in self._of_class.items():
            while numbers and self._taken[numbers[0]]:
                numbers.popleft()
            if numbers and label not in classes:
                yield numbers[0]
