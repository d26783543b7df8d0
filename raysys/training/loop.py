"""The training loop: no Ray, no tracker. It takes batches in the plan's order and calls back once an epoch."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn

from raysys.config import ExperimentConfig
from raysys.data.batch import Batch
from raysys.data.plan import Step, derive_seed, total_updates, updates_per_epoch
from raysys.errors import UserError
from raysys.model.network import Network
from raysys.storage import Folder
from raysys.training import checkpoint
from raysys.training.criterion import LossParts, criterion
from raysys.training.evaluation import Predictions, Workers, autocast, predict
from raysys.training.optim import WeightAverage, make_optimizer, rate_factor, set_rates

Batches = Iterable[tuple[Step, Batch]]


class TrainingError(UserError):
    """The training cannot go on: its loss is not finite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """What is known after an epoch. Losses are means over the training steps; no validation part, no such scores.

    Attributes:
        seconds: training, validation and checkpoint.
        waited_s: those of them in which the loop stood still, waiting for a batch.
    """

    epoch: int
    losses: dict[str, float]
    step_losses: tuple[float, ...]
    validation_wa: float | None
    validation_ua: float | None
    validation_loss: float | None
    seconds: float
    waited_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldOutcome:
    """Attributes:
    epoch: of the weights that are kept.
    history: one record an epoch.
    test: predictions of the test part; None where there is none.
    test_curve: confusion matrix of the test part after each epoch, where the plan asks for it.
    """

    epoch: int
    history: tuple[EpochRecord, ...]
    test: Predictions | None
    test_curve: tuple[list[list[int]], ...] = ()


@dataclass(slots=True)
class Trainer:
    """State of one fold's training.

    Args:
        network: on its device.
        forward: the network, or its DistributedDataParallel wrapper.
        labels: class index by utterance id.
        folder: where rank 0 keeps `last` and `best`; None keeps nothing.
        trial_id: written into checkpoints; one of another trial is not resumed from.
        class_weights: of the cross-entropy, by class; None: all 1.
        validated: whether there is a validation part, which chooses the epoch; without one it is the last.

    Attributes:
        first_step_at: when the first step of this process was done (seconds since 1970).
    """

    network: Network
    forward: nn.Module
    config: ExperimentConfig
    n_train: int
    labels: dict[str, int]
    device: torch.device
    workers: Workers
    folder: Folder | None
    trial_id: str
    class_weights: tuple[float, ...] | None = None
    validated: bool = True
    test_curve: list[list[list[int]]] = field(default_factory=list)
    history: list[EpochRecord] = field(default_factory=list)
    best_state: dict[str, Tensor] | None = None
    first_step_at: float | None = None
    _waited_s: float = 0.0
    optimizer: torch.optim.Optimizer = field(init=False)
    averaged: WeightAverage = field(init=False)
    _weights_C: Tensor | None = field(init=False)

    def __post_init__(self) -> None:
        self.optimizer = make_optimizer(self.network, self.config.optim)
        self.averaged = WeightAverage(self.network, self.config.optim.average)
        weights = self.class_weights
        self._weights_C = None if weights is None else torch.tensor(weights, device=self.device)

    @property
    def first_epoch(self) -> int:
        return len(self.history)

    @property
    def best_epoch(self) -> int:
        """The epoch of best validation UA; the lower validation loss, then the earlier epoch, breaks a tie."""
        if not self.validated:
            return len(self.history) - 1

        def goodness(record: EpochRecord) -> tuple[float, float, int]:
            assert record.validation_ua is not None and record.validation_loss is not None
            return record.validation_ua, -record.validation_loss, -record.epoch

        return max(self.history, key=goodness).epoch

    def resume(self) -> bool:
        """Go on from this trial's last checkpoint, if there is one. Call before the plan is made."""
        if self.folder is None or (last := checkpoint.load(self.folder, checkpoint.LAST)) is None:
            return False
        tensors, meta = last
        best = checkpoint.load(self.folder, checkpoint.BEST)
        if meta["trial_id"] != self.trial_id or best is None:
            return False
        self.history = [_record(values) for values in meta["history"]]
        if best[1]["epoch"] != self.best_epoch:
            # Stopped between the two writes: best is one epoch ahead of last. The fold starts anew.
            self.history = []
            return False
        weights = {n: t for n, t in tensors.items() if not n.startswith(("optimizer/", "average/"))}
        checkpoint.load_trainable_state(self.network, weights)
        checkpoint.load_optimizer_tensors(self.network, self.optimizer, tensors)
        for name, value in self.averaged.average.items():
            value.copy_(tensors[f"average/{name}"])
        self.best_state = best[0]
        self.test_curve = meta["test_curve"]
        return True

    def fit(self, batches: Batches, on_epoch: Callable[[EpochRecord], None]) -> FoldOutcome:
        """Consume a fold's plan from `first_epoch` on: train and validate each epoch, then score the test part once.

        The test part is scored with the weights, or their average, of the best epoch on the validation part.

        Args:
            batches: this worker's share of every step, in the plan's order.
            on_epoch: called on every worker after each epoch's validation and checkpoint.

        Raises:
            TrainingError: a loss that is not finite.
        """
        test: Predictions | None = None
        losses: Tensor | None = None
        started = time.monotonic()
        with torch.random.fork_rng():
            for (part, epoch), steps in itertools.groupby(self._timed(batches), key=_part_and_epoch):
                found: Predictions | None = None
                if part == "train":
                    losses = self._train_epoch(epoch, steps)
                elif part == "test":
                    self._load_best()
                    test = predict(self.network, steps, self.device, self.workers)
                else:
                    with self.averaged.in_place():
                        found = predict(self.network, steps, self.device, self.workers)
                if part == "test_curve":
                    assert found is not None
                    self.test_curve.append(found.confusion(self.labels))
                if part == ("validation" if self.validated else "train"):
                    assert losses is not None
                    self._end_epoch(epoch, losses, found, started)
                    started = time.monotonic()
                    self._waited_s = 0.0
                    on_epoch(self.history[-1])
        self._load_best()
        return FoldOutcome(
            epoch=self.best_epoch, history=tuple(self.history), test=test, test_curve=tuple(self.test_curve)
        )

    def _timed(self, batches: Batches) -> Iterator[tuple[Step, Batch]]:
        coming = iter(batches)
        while True:
            started = time.monotonic()
            item = next(coming, None)
            self._waited_s += time.monotonic() - started
            if item is None:
                return
            yield item

    def _end_epoch(self, epoch: int, losses: Tensor, validation: Predictions | None, started: float) -> None:
        self._score(epoch, losses, validation, started)
        if improved := self.best_epoch == epoch:
            with self.averaged.in_place():
                self.best_state = checkpoint.trainable_state(self.network)
        self._keep(epoch, improved)

    def _load_best(self) -> None:
        assert self.best_state is not None, "no epoch was trained"
        checkpoint.load_trainable_state(self.network, self.best_state)

    def _train_epoch(self, epoch: int, steps: Iterator[tuple[Step, Batch]]) -> Tensor:
        """Returns: the loss parts of every step (steps x parts), averaged over the workers."""
        config = self.config
        total = total_updates(self.n_train, config.train)
        update = epoch * updates_per_epoch(self.n_train, config.train)
        trainable = [p for p in self.network.parameters() if p.requires_grad]
        self.forward.train()
        losses: list[Tensor] = []
        names: list[tuple[str, ...]] = []
        for step, batch in steps:
            torch.manual_seed(derive_seed(config.train.seed, "step", epoch, step.index, self.workers.rank))
            parts = self._step_loss(step, batch.to(self.device), sync=step.ends_update)
            losses.append(parts.detached())
            self.first_step_at = self.first_step_at or time.time()
            names.append(step.utterance_ids)
            if step.ends_update:
                set_rates(self.optimizer, rate_factor(update, total, config.optim.warmup))
                torch.nn.utils.clip_grad_norm_(trainable, config.optim.clip_norm)
                self.optimizer.step()
                self.optimizer.zero_grad(set_to_none=True)
                self.averaged.update(update)
                update += 1
        stacked = torch.stack(losses)
        if self.workers.size > 1:
            torch.distributed.all_reduce(stacked)
            stacked /= self.workers.size
        stacked = stacked.cpu()
        _refuse_non_finite(stacked, names, epoch)
        return stacked

    def _step_loss(self, step: Step, batch: Batch, *, sync: bool) -> LossParts:
        waits = self.workers.size > 1 and not sync
        with self.forward.no_sync() if waits else contextlib.nullcontext():  # type: ignore[operator]
            views = (batch.clean,) if batch.augmented is None else (batch.clean, batch.augmented)
            with autocast(self.device):
                outputs = self.forward(views)
            parts = criterion(
                outputs,
                batch,
                self.config.loss,
                classify_augmented=self.config.augment.classify_augmented,
                workers=self.workers.size,
                step_weight=step.weight,
                class_weights_C=self._weights_C,
            )
            (parts.total * (len(step.utterance_ids) / step.update_size)).backward()
        return parts

    def _score(self, epoch: int, losses: Tensor, validation: Predictions | None, started: float) -> None:
        wa, ua, loss = (None, None, None) if validation is None else validation.scores(self.labels)
        means = losses.mean(dim=0).tolist()
        self.history.append(
            EpochRecord(
                epoch=epoch,
                losses=dict(zip(LossParts.NAMES, means, strict=True)),
                step_losses=tuple(losses[:, 0].tolist()),
                validation_wa=wa,
                validation_ua=ua,
                validation_loss=loss,
                seconds=time.monotonic() - started,
                waited_s=self._waited_s,
            )
        )

    def _keep(self, epoch: int, improved: bool) -> None:
        """Write `best`, where it is a new one, and `last`."""
        if self.folder is None or self.workers.rank != 0:
            return
        assert self.best_state is not None
        meta = {"trial_id": self.trial_id, "epoch": epoch}
        if improved:
            checkpoint.save(self.folder, checkpoint.BEST, self.best_state, meta)
        state = checkpoint.trainable_state(self.network)
        state |= checkpoint.optimizer_tensors(self.network, self.optimizer)
        state |= {f"average/{name}": value.cpu() for name, value in self.averaged.average.items()}
        history = [dataclasses.asdict(record) for record in self.history]
        checkpoint.save(self.folder, checkpoint.LAST, state, meta | {"history": history, "test_curve": self.test_curve})


def _part_and_epoch(item: tuple[Step, Batch]) -> tuple[str, int]:
    return item[0].part, item[0].epoch


def _record(values: dict[str, Any]) -> EpochRecord:
    return EpochRecord(**(values | {"step_losses": tuple(values["step_losses"])}))


def _refuse_non_finite(losses: Tensor, names: list[tuple[str, ...]], epoch: int) -> None:
    broken = (~losses.isfinite()).any(dim=1).nonzero()
    if len(broken):
        index = int(broken[0])
        parts = dict(zip(LossParts.NAMES, losses[index].tolist(), strict=True))
        raise TrainingError(
            f"epoch {epoch}, step {index}: the loss is not finite, {parts}; utterances {', '.join(names[index])}. "
            f"A lower --optim.lr or --loss.alpha usually mends it."
        )
