"""The plan of a fold: which utterances meet in which step, in which order, on which worker.

Pure functions of (utterances, seed, epoch, workers), so that any process can work out the whole run beforehand, a
resumed run meets the same batches, and w workers see the batches of one.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from raysys.config import TrainConfig
from raysys.data.folds import Fold

Part = Literal["train", "validation", "test"]

_EVALUATION_UTTERANCES = 32
_EVALUATION_PADDED_S = 240.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One forward pass over all workers.

    Attributes:
        part, epoch, index: what it belongs to; the index counts within (part, epoch).
        utterance_ids: the utterances of all workers; `share` cuts out a worker's.
        update_size: utterances in the whole optimizer update (over its accumulated steps), 0 outside training.
        ends_update: whether the optimizer steps after it.
    """

    part: Part
    epoch: int
    index: int
    utterance_ids: tuple[str, ...]
    update_size: int = 0
    ends_update: bool = False

    def share(self, rank: int, workers: int) -> tuple[str, ...]:
        """The utterances of one worker: contiguous, sizes differing by at most one, perhaps none."""
        n = len(self.utterance_ids)
        return self.utterance_ids[rank * n // workers : (rank + 1) * n // workers]


def derive_seed(*key: object) -> int:
    """A 63-bit seed from any key, the same in every process and on every machine."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def updates_per_epoch(n_train: int, config: TrainConfig) -> int:
    return -(-n_train // (config.batch_size * config.accumulate))


def total_updates(n_train: int, config: TrainConfig) -> int:
    """Optimizer steps of the whole training."""
    updates = config.epochs * updates_per_epoch(n_train, config)
    return updates if config.max_steps is None else min(updates, config.max_steps)


def training_epoch(
    utterance_ids: Sequence[str], durations_s: Mapping[str, float], config: TrainConfig, epoch: int
) -> list[Step]:
    """One shuffled pass over the training part: every utterance once.

    Shuffled utterances are sorted by length within pools of eight updates, so that a step pads little, and the
    updates are shuffled again. The last update of an epoch may be smaller.
    """
    generator = random.Random(derive_seed(config.seed, "order", epoch))
    order = sorted(utterance_ids)
    generator.shuffle(order)
    update = config.batch_size * config.accumulate
    pools = [order[i : i + 8 * update] for i in range(0, len(order), 8 * update)]
    # A crop bounds what a step has to pad.
    by_length = [sorted(pool, key=lambda u: min(durations_s[u], config.crop_s)) for pool in pools]
    updates = [pool[i : i + update] for pool in by_length for i in range(0, len(pool), update)]
    generator.shuffle(updates)
    steps: list[Step] = []
    for members in updates:
        batches = [members[i : i + config.batch_size] for i in range(0, len(members), config.batch_size)]
        for batch in batches:
            steps.append(
                Step(
                    part="train",
                    epoch=epoch,
                    index=len(steps),
                    utterance_ids=tuple(batch),
                    update_size=len(members),
                    ends_update=batch is batches[-1],
                )
            )
    return steps


def evaluation_steps(
    utterance_ids: Sequence[str], durations_s: Mapping[str, float], part: Part, epoch: int
) -> list[Step]:
    """Every utterance once, shortest first, a step holding at most 32 and 240 padded seconds (or one utterance)."""
    groups: list[list[str]] = []
    for name in sorted(utterance_ids, key=lambda u: (durations_s[u], u)):
        group = groups[-1] if groups else []
        full = len(group) == _EVALUATION_UTTERANCES
        if not groups or full or (len(group) + 1) * durations_s[name] > _EVALUATION_PADDED_S:
            groups.append([name])
        else:
            group.append(name)
    return [Step(part=part, epoch=epoch, index=i, utterance_ids=tuple(group)) for i, group in enumerate(groups)]


def fold_plan(fold: Fold, durations_s: Mapping[str, float], config: TrainConfig, first_epoch: int) -> list[Step]:
    """All steps of a fold: each epoch's training and validation from `first_epoch` on, then the test part once."""
    left = total_updates(len(fold.train), config)
    left -= first_epoch * updates_per_epoch(len(fold.train), config)
    plan: list[Step] = []
    for epoch in range(first_epoch, config.epochs):
        if left <= 0:
            break
        for step in training_epoch(fold.train, durations_s, config, epoch):
            plan.append(step)
            left -= step.ends_update
            if left == 0:
                break
        plan += evaluation_steps(fold.validation, durations_s, "validation", epoch)
    return plan + evaluation_steps(fold.test, durations_s, "test", config.epochs)
