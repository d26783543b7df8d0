"""The training loop: no Ray, no tracker. It takes batches in the plan's order and calls back once an epoch."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn

from raysys.config import ExperimentConfig
from raysys.data.batch import Batch
from raysys.data.plan import Step, derive_seed, total_updates, updates_per_epoch
from raysys.errors import TrainingError, UserError
from raysys.model.network import Network
from raysys.storage import Folder
from raysys.training import checkpoint
from raysys.training.criterion import LossParts, criterion
from raysys.training.evaluation import Predictions, Workers, autocast, predict
from raysys.training.finite import refuse_training
from raysys.training.optim import WeightAverage, make_optimizer, rate_factor, set_rates

Batches = Iterable[tuple[Step, Batch]]


class Paused(UserError):
    """The training was asked to stop, and has; it goes on from where it was."""


def _never() -> bool:
    return False


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
        stopping: asked before every batch; where it says so, the state is kept and `fit` raises `Paused`.

    Attributes:
        first_step_at: when the first step of this process was done (seconds since 1970).
        notes: what a user should know of how the training went on.
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
    stopping: Callable[[], bool] = _never
    notes: list[str] = field(default_factory=list)
    test_curve: list[list[list[int]]] = field(default_factory=list)
    history: list[EpochRecord] = field(default_factory=list)
    best_state: dict[str, Tensor] | None = None
    first_step_at: float | None = None
    _waited_s: float = 0.0
    _losses: list[Tensor] = field(default_factory=list)
    _names: list[tuple[str, ...]] = field(default_factory=list)
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
    def first_step(self) -> int:
        """Steps of the first epoch that are done already."""
        return len(self._losses)

    @property
    def best_epoch(self) -> int:
        """The epoch of best validation UA; the lower validation loss, then the earlier epoch, breaks a tie."""
        return self._best_of(self.history)

    def _best_of(self, history: Sequence[EpochRecord]) -> int:
        if not self.validated:
            return len(history) - 1

        def goodness(record: EpochRecord) -> tuple[float, float, int]:
            assert record.validation_ua is not None and record.validation_loss is not None
            return record.validation_ua, -record.validation_loss, -record.epoch

        return max(history, key=goodness).epoch

    def resume(self) -> bool:
        """Go on from this trial's last checkpoint that is whole, if there is one. Call before the plan is made.

        A damaged one is removed and noted; the one before it is taken.
        """
        if self.folder is None:
            return False
        if self.workers.rank == 0:
            checkpoint.delete_unfinished(self.folder)
        resumed = self._resume(self.folder)
        if self.workers.size > 1:
            self._agree()
        return resumed

    def _agree(self) -> None:
        """Raises: RuntimeError: another worker sees another checkpoint; begun anew, all see the last one."""
        mine = self.first_epoch
        seen = torch.tensor([mine, -mine], device=self.device)
        torch.distributed.all_reduce(seen, torch.distributed.ReduceOp.MAX)
        latest, earliest = int(seen[0]), -int(seen[1])
        if latest != earliest:
            raise RuntimeError(
                f"workers would go on from epochs {earliest + 1} to {latest + 1}, this one from {mine + 1}"
            )

    def _resume(self, folder: Folder) -> bool:
        for name in (checkpoint.LAST, checkpoint.BEFORE):
            try:
                found = checkpoint.load(folder, name)
            except checkpoint.Damaged as error:
                if self.workers.rank == 0:
                    folder.delete(name)
                self.notes.append(f"{folder.location}/{name} is damaged ({error}) and left out")
                continue
            if found is not None and self._restore(folder, *found):
                return True
        return False

    def _restore(self, folder: Folder, tensors: dict[str, Tensor], meta: dict[str, Any]) -> bool:
        """Take a state over; not that of another trial, nor one whose best weights are gone."""
        if meta["trial_id"] != self.trial_id:
            return False
        history = [_record(values) for values in meta["history"]]
        best = checkpoint.load_best(folder, self.trial_id, self._best_of(history)) if history else None
        if history and best is None:
            self.notes.append(
                f"{folder.location}: the best weights of epoch {self._best_of(history) + 1} are not whole"
            )
            return False
        self.history = history
        self.best_state = best
        weights = {n: t for n, t in tensors.items() if not n.startswith(("optimizer/", "average/", "step/"))}
        checkpoint.load_trainable_state(self.network, weights)
        checkpoint.load_optimizer_tensors(self.network, self.optimizer, tensors)
        for name, value in self.averaged.average.items():
            value.copy_(tensors[f"average/{name}"])
        self._losses = list(tensors.get("step/losses", torch.empty(0)).to(self.device))
        # These losses were finite, or they would not have been kept: nobody will ask whose they are.
        self._names = [()] * len(self._losses)
        self.test_curve = meta["test_curve"]
        self.notes = [*meta["notes"], *self.notes]
        return True

    def fit(self, batches: Batches, on_epoch: Callable[[EpochRecord], None]) -> FoldOutcome:
        """Consume a fold's plan from `first_epoch` on: train and validate each epoch, then score the test part once.

        The test part is scored with the weights, or their average, of the best epoch on the validation part.

        Args:
            batches: this worker's share of every step, in the plan's order.
            on_epoch: called on every worker after each epoch's validation and checkpoint.

        Raises:
            TrainingError: a loss, the weights or predictions that are not finite, or more than the GPU's memory holds.
            Paused: `stopping` asked for it.
        """
        try:
            return self._fit(batches, on_epoch)
        except _Stop:
            kept = self._keep_amid_epoch()
            raise Paused(f"stopped in epoch {len(self.history) + 1}, at step {kept}") from None
        except torch.cuda.OutOfMemoryError as error:
            raise TrainingError(
                f"epoch {len(self.history) + 1}: {str(error).splitlines()[0]} A smaller --train.batch-size with more "
                f"--train.accumulate, or a shorter --train.crop-s, needs less memory."
            ) from error

    def _fit(self, batches: Batches, on_epoch: Callable[[EpochRecord], None]) -> FoldOutcome:
        test: Predictions | None = None
        losses: Tensor | None = torch.stack(self._losses).cpu() if self._losses else None
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
        """The batches, and how long they were waited for.

        Raises:
            _Stop: between two optimizer updates, where `stopping` says so.
        """
        coming = iter(batches)
        done: Step | None = None
        while True:
            started = time.monotonic()
            item = next(coming, None)
            self._waited_s += time.monotonic() - started
            if item is None:
                return
            if (done is None or done.part != "train" or done.ends_update) and self.stopping():
                raise _Stop
            done = item[0]
            yield item

    def _end_epoch(self, epoch: int, losses: Tensor, validation: Predictions | None, started: float) -> None:
        self._score(epoch, losses, validation, started)
        if improved := self.best_epoch == epoch:
            with self.averaged.in_place():
                self.best_state = checkpoint.trainable_state(self.network)
        self._keep(epoch, improved)

    def _keep_amid_epoch(self) -> int:
        """Write the state between two updates of an epoch, with the losses so far. Returns: the steps that are done.

        Where all epochs are trained, the last one's state says everything; and the weights are the best ones' by then.
        """
        if self._losses:
            losses = torch.stack(self._losses).cpu()
            refuse_training(losses, self.network, self._names, len(self.history))
            self._keep_last({"step/losses": losses}, {"epoch": len(self.history) - 1})
        return len(self._losses)

    def _load_best(self) -> None:
        assert self.best_state is not None, "no epoch was trained"
        checkpoint.load_trainable_state(self.network, self.best_state)

    def _train_epoch(self, epoch: int, steps: Iterator[tuple[Step, Batch]]) -> Tensor:
        """Returns: the loss parts of every step (steps x parts), averaged over the workers."""
        config = self.config
        total = total_updates(self.n_train, config.train)
        update = epoch * updates_per_epoch(self.n_train, config.train)
        update += math.ceil(self.first_step / config.train.accumulate)
        trainable = [p for p in self.network.parameters() if p.requires_grad]
        self.forward.train()
        for step, batch in steps:
            torch.manual_seed(derive_seed(config.train.seed, "step", epoch, step.index, self.workers.rank))
            parts = self._step_loss(step, batch.to(self.device), sync=step.ends_update)
            self._losses.append(parts.detached())
            self.first_step_at = self.first_step_at or time.time()
            self._names.append(step.utterance_ids)
            if step.ends_update:
                set_rates(self.optimizer, rate_factor(update, total, config.optim.warmup))
                torch.nn.utils.clip_grad_norm_(trainable, config.optim.clip_norm)
                self.optimizer.step()
                self.optimizer.zero_grad(set_to_none=True)
                self.averaged.update(update)
                update += 1
        stacked = torch.stack(self._losses)
        if self.workers.size > 1:
            torch.distributed.all_reduce(stacked)
            stacked /= self.workers.size
        stacked = stacked.cpu()
        refuse_training(stacked, self.network, self._names, epoch)
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
        self._losses, self._names = [], []
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
            checkpoint.save(self.folder, checkpoint.best_name(epoch), self.best_state, meta)
        self._keep_last({}, {"epoch": epoch})
        # Those that the last two states speak of.
        bests = {self._best_of(self.history[:n]) for n in (epoch, epoch + 1) if n}
        checkpoint.keep_best(self.folder, bests)

    def _keep_last(self, more: dict[str, Tensor], meta: dict[str, Any]) -> None:
        if self.folder is None or self.workers.rank != 0:
            return
        state = checkpoint.trainable_state(self.network) | more
        state |= checkpoint.optimizer_tensors(self.network, self.optimizer)
        state |= {f"average/{name}": value.cpu() for name, value in self.averaged.average.items()}
        history = [dataclasses.asdict(record) for record in self.history]
        meta |= {"trial_id": self.trial_id, "history": history, "test_curve": self.test_curve[: len(history)]}
        meta |= {"notes": self.notes}
        checkpoint.save_last(self.folder, state, meta)


class _Stop(Exception):
    """`stopping` said so."""


def _part_and_epoch(item: tuple[Step, Batch]) -> tuple[str, int]:
    return item[0].part, item[0].epoch


def _record(values: dict[str, Any]) -> EpochRecord:
    return EpochRecord(**(values | {"step_losses": tuple(values["step_losses"])}))
