"""The training loop, without Ray or a tracker: consumes batches in the plan's order, with one callback per epoch."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
import torch.distributed
from torch import Tensor, nn

from raysys.config import ExperimentConfig
from raysys.data.batch import Batch
from raysys.data.plan import Step, derive_seed, total_updates, updates_per_epoch
from raysys.losses.queue import Queue
from raysys.model.network import Network
from raysys.storage import Folder
from raysys.training.ahead import made_ahead
from raysys.training.criterion import LossParts, criterion
from raysys.training.evaluation import Predictions, Workers, autocast, predict
from raysys.training.finite import refuse_training
from raysys.training.memory import out_of_memory
from raysys.training.optim import WeightAverage, make_optimizer, rate_factor, set_rates
from raysys.training.state import EpochRecord, FoldState
from raysys.training.trunk import gradient_norms

Batches = Iterable[tuple[Step, Batch]]


class Paused(Exception):
    """Training was asked to stop and has saved its state; it resumes from there."""


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldOutcome:
    """Attributes:
    epoch: epoch of the selected weights.
    history: one record per epoch.
    test: predictions for the test part; None if there is none.
    test_curve: confusion matrix of the test part after each epoch, if the plan includes it.
    """

    epoch: int
    history: tuple[EpochRecord, ...]
    test: Predictions | None
    test_curve: tuple[list[list[int]], ...] = ()

    @property
    def temperature(self) -> float | None:
        """That calibrates the selected epoch's probabilities; None without a validation part."""
        return self.history[self.epoch].temperature


@dataclass(slots=True)
class Trainer:
    """Training of one fold.

    Args:
        network: already on its device.
        forward: the network, or its DistributedDataParallel wrapper.
        labels: class index by utterance id.
        folder: where rank 0 saves `last` and `best`; None: nothing is saved.
        trial_id: written into checkpoints; checkpoints of other trials are ignored.
        class_weights: class weights of the cross-entropy; None: all 1.
        logit_shift: of logit adjustment, by class; None: nothing is added to the logits.
        soft: class probabilities by utterance id that replace the label in the validation loss; may lack utterances.
        validated: whether a validation part selects the epoch; without one, the last epoch is used.
        stopping: called before every batch; if it returns True, the state is saved and `fit` raises `Paused`.

    Attributes:
        state: trained and saved state; resume it before the plan is made.
        first_step_at: time at which this process completed its first step (seconds since 1970).
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
    logit_shift: tuple[float, ...] | None = None
    soft: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    validated: bool = True
    stopping: Callable[[], bool] = _never
    first_step_at: float | None = None
    _waited_s: float = 0.0
    state: FoldState = field(init=False)
    _weights_C: Tensor | None = field(init=False)
    _shift_C: Tensor | None = field(init=False)

    def __post_init__(self) -> None:
        self.state = FoldState(
            network=self.network,
            optimizer=make_optimizer(self.network, self.config.optim),
            averaged=WeightAverage(self.network, self.config.optim.average),
            device=self.device,
            workers=self.workers,
            folder=self.folder,
            trial_id=self.trial_id,
            validated=self.validated,
            select=self.config.train.select,
            queue=self._queue(),
        )
        self._weights_C = self._by_class(self.class_weights)
        self._shift_C = self._by_class(self.logit_shift)

    def _by_class(self, values: tuple[float, ...] | None) -> Tensor | None:
        return None if values is None else torch.tensor(values, device=self.device)

    def _queue(self) -> Queue | None:
        loss = self.config.loss
        if not (loss.queue and loss.contrasts):
            return None
        return Queue(size=loss.queue, heads=loss.heads_used, width=self.config.model.width, device=self.device)

    def fit(self, batches: Batches, on_epoch: Callable[[EpochRecord], None]) -> FoldOutcome:
        """Run the rest of a fold's plan: train and validate each epoch, then score the test part once.

        The test part is scored with the weights, or their average, from the best epoch on the validation part.

        Args:
            batches: this worker's share of every step, in the plan's order.
            on_epoch: called on every worker after each epoch's validation and checkpoint.

        Raises:
            TrainingError: a loss, weights or predictions are not finite, or the training needs more memory than its GPU
                has.
            MachineError: other processes hold the GPU's memory.
            Paused: `stopping` returned True.
        """
        test: Predictions | None = None
        losses: Tensor | None = torch.stack(self.state.losses).cpu() if self.state.losses else None
        started = time.monotonic()
        with self._user_errors(), torch.random.fork_rng(), made_ahead(batches, self.device) as coming:
            for (part, epoch), steps in itertools.groupby(self._timed(coming), key=_part_and_epoch):
                found: Predictions | None = None
                if part == "train":
                    losses = self._train_epoch(epoch, steps)
                elif part == "test":
                    self.state.load_best()
                    test = predict(self.network, steps, self.device, self.workers)
                else:
                    with self.state.averaged.in_place():
                        found = predict(self.network, steps, self.device, self.workers)
                if part == "test_curve":
                    assert found is not None
                    self.state.score_test_part(found.confusion(self.labels))
                if part == ("validation" if self.validated else "train"):
                    assert losses is not None
                    self.state.end_epoch(self._record(epoch, losses, found, started))
                    started = time.monotonic()
                    self._waited_s = 0.0
                    on_epoch(self.state.history[-1])
        self.state.load_best()
        return FoldOutcome(
            epoch=self.state.best_epoch,
            history=tuple(self.state.history),
            test=test,
            test_curve=tuple(self.state.test_curve),
        )

    @contextlib.contextmanager
    def _user_errors(self) -> Iterator[None]:
        """Save the state when training is to stop; report what a user can fix."""
        try:
            yield
        except _Stop:
            kept = self._keep_within_epoch()
            raise Paused(f"stopped in epoch {self.state.first_epoch + 1}, at step {kept}") from None
        except torch.cuda.OutOfMemoryError as error:
            raise out_of_memory(error, self.device, f"epoch {self.state.first_epoch + 1}") from error

    def _timed(self, coming: Iterator[tuple[Step, Batch]]) -> Iterator[tuple[Step, Batch]]:
        """The batches, measuring the time spent waiting for them.

        Raises:
            _Stop: `stopping` returned True between two optimizer updates.
        """
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

    def _keep_within_epoch(self) -> int:
        """Save the state between two updates of an epoch. Returns: the number of completed steps.

        Once all epochs are trained, the last saved state is complete, and the weights are already the best epoch's.
        """
        state = self.state
        if state.losses:
            losses = torch.stack(state.losses).cpu()
            refuse_training(losses, self.network, state.names, state.first_epoch)
            state.keep_within_epoch(losses)
        return len(state.losses)

    def _train_epoch(self, epoch: int, steps: Iterator[tuple[Step, Batch]]) -> Tensor:
        """Returns: the loss parts of every step (steps x parts), averaged over the workers."""
        config, state = self.config, self.state
        total = total_updates(self.n_train, config.train)
        update = epoch * updates_per_epoch(self.n_train, config.train)
        update += math.ceil(state.first_step / config.train.accumulate)
        trainable = [p for p in self.network.parameters() if p.requires_grad]
        self.forward.train()
        for step, batch in steps:
            torch.manual_seed(derive_seed(config.train.seed, "step", epoch, step.index, self.workers.rank))
            parts = self._step_loss(step, batch.to(self.device), sync=step.ends_update)
            state.end_step(parts.detached(), step.utterance_ids)
            self.first_step_at = self.first_step_at or time.time()
            if step.ends_update:
                set_rates(state.optimizer, rate_factor(update, total, config.optim.warmup))
                torch.nn.utils.clip_grad_norm_(trainable, config.optim.clip_norm)
                state.optimizer.step()
                state.optimizer.zero_grad()
                state.averaged.update(update)
                update += 1
        stacked = torch.stack(state.losses)
        if self.workers.size > 1:
            torch.distributed.all_reduce(stacked)
            stacked /= self.workers.size
        stacked = stacked.cpu()
        refuse_training(stacked, self.network, state.names, epoch)
        return stacked

    def _step_loss(self, step: Step, batch: Batch, *, sync: bool) -> LossParts:
        waits = self.workers.size > 1 and not sync
        with self.forward.no_sync() if waits else contextlib.nullcontext():  # type: ignore[operator]
            with autocast(self.device):
                outputs = self.forward(batch.views)
            parts = criterion(
                outputs,
                batch,
                self.config.loss,
                classify_augmented=self.config.augment.classify_augmented,
                shares=[step.share(rank, self.workers.size) for rank in range(self.workers.size)],
                step_weight=step.weight,
                class_weights_C=self._weights_C,
                queue=self.state.queue,
                shift_C=self._shift_C,
            )
            if step.index == 0:
                self.state.gradients = gradient_norms(parts, self.network, workers=self.workers.size)
            (parts.total * (len(step.utterance_ids) / step.update_size)).backward()
        return parts

    def _record(self, epoch: int, losses: Tensor, validation: Predictions | None, started: float) -> EpochRecord:
        scores = {} if validation is None else validation.scores(self.labels, self.soft)
        means = losses.mean(dim=0).tolist()
        return EpochRecord(
            epoch=epoch,
            losses=dict(zip(LossParts.NAMES, means, strict=True)),
            step_losses=tuple(losses[:, 0].tolist()),
            validation_wa=scores.get("wa"),
            validation_ua=scores.get("ua"),
            validation_macro_f1=scores.get("macro_f1"),
            validation_loss=scores.get("loss"),
            temperature=None if validation is None else validation.temperature(self.labels),
            seconds=time.monotonic() - started,
            waited_s=self._waited_s,
            gradients=self.state.gradients,
        )


class _Stop(Exception):
    """`stopping` returned True."""


def _part_and_epoch(item: tuple[Step, Batch]) -> tuple[str, int]:
    return item[0].part, item[0].epoch
