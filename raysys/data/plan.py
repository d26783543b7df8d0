"""The plan of a fold: which utterances form which step, in which order, on which worker.

Pure functions of (utterances, seed, epoch, workers): any process can compute the whole run in advance, a resumed run
sees the same batches, and w workers together see the batches of one.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from raysys.config import TrainConfig
from raysys.data.batching import make_batches
from raysys.data.folds import Fold

Part = Literal["train", "test_curve", "validation", "test"]
"""test_curve: the test part after every epoch, only for the optimistic protocol."""

_EVALUATION_UTTERANCES = 32
_EVALUATION_PADDED_S = 240.0


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
) -> Iterator[Step]:
    """All steps of a fold: training and validation of each epoch from `first_epoch` on, then the test part once.

    Each epoch is planned when its first step is asked for: all epochs of a large corpus would take gigabytes.

    Args:
        first_step: training steps of the first epoch that are already done.
        weights: of the training utterances in the cross-entropy; None: all 1.
        test_curve: also score the test part after every epoch.
    """
    left = total_updates(len(fold.train), config)
    left -= first_epoch * updates_per_epoch(len(fold.train), config)
    for epoch in range(first_epoch, config.epochs):
        if left <= 0:
            break
        for step in training_epoch(fold.train, durations_s, labels, config, epoch, weights=weights):
            if epoch > first_epoch or step.index >= first_step:
                yield step
            left -= step.ends_update
            if left == 0:
                break
        if test_curve:
            yield from evaluation_steps(fold.test, durations_s, "test_curve", epoch)
        yield from evaluation_steps(fold.validation, durations_s, "validation", epoch)
    yield from evaluation_steps(fold.test, durations_s, "test", config.epochs)
