"""The state of a fold's training: what is saved to disk, and what it resumes from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed
from torch import Tensor

from raysys.adamw import AdamW
from raysys.config import Select
from raysys.errors import MachineError
from raysys.losses.queue import Queue
from raysys.model.network import Network
from raysys.selection import merit
from raysys.storage import Folder
from raysys.training import checkpoint, checkpoint_files
from raysys.training.evaluation import Workers
from raysys.training.optim import WeightAverage


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """Results of an epoch. Losses are means over the training steps; validation scores are None without that part.

    Attributes:
        seconds: time for training and validation, not for saving the state.
        waited_s: part of that time spent waiting for a batch.
        temperature: that calibrates the validation part's probabilities; None without that part.
        gradients: of `trunk.gradient_norms` in the epoch's first step; empty where cross-entropy is the only term.
    """

    epoch: int
    losses: dict[str, float]
    step_losses: tuple[float, ...]
    validation_wa: float | None
    validation_ua: float | None
    validation_macro_f1: float | None
    validation_loss: float | None
    seconds: float
    waited_s: float
    temperature: float | None = None
    gradients: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class FoldState:
    """Weights, optimizer and epoch records.

    Args:
        network, optimizer, averaged: the network, its optimizer and its moving average.
        device: device of the network.
        workers: this process among the data-parallel workers.
        folder: where rank 0 saves `last` and `best`; None: nothing is saved.
        trial_id: written into checkpoints; checkpoints of other trials are ignored.
        validated: whether a validation part selects the epoch; without one, the last epoch is used.
        select: by which of its scores.
        queue: past embeddings; None: the loss has none.

    Attributes:
        history: records of completed epochs.
        losses, names: loss parts and utterances of each step of the current, incomplete epoch.
        gradients: norms measured in its first step.
        best_state: weights of the best epoch, on the CPU.
        test_curve: confusion matrix of the test part after each epoch, if the plan includes it.
        notes: notes for the user on how the training was resumed.
    """

    network: Network
    optimizer: AdamW
    averaged: WeightAverage
    device: torch.device
    workers: Workers
    folder: Folder | None
    trial_id: str
    validated: bool
    select: Select
    queue: Queue | None = None
    history: list[EpochRecord] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    names: list[tuple[str, ...]] = field(default_factory=list)
    gradients: dict[str, float] = field(default_factory=dict)
    best_state: dict[str, Tensor] | None = None
    test_curve: list[list[list[int]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def first_epoch(self) -> int:
        """The next epoch, or the current one if incomplete."""
        return len(self.history)

    @property
    def first_step(self) -> int:
        """Number of steps already completed in that epoch."""
        return len(self.losses)

    @property
    def best_epoch(self) -> int:
        """Epoch with the best validation score; ties go to the lower validation loss, then to the earlier epoch."""
        return self._best_of(self.history)

    def _best_of(self, history: Sequence[EpochRecord]) -> int:
        if not self.validated:
            return len(history) - 1

        def goodness(record: EpochRecord) -> tuple[float, float, int]:
            return *merit(record, self.select), -record.epoch

        return max(history, key=goodness).epoch

    def end_step(self, losses: Tensor, names: tuple[str, ...]) -> None:
        """Record a training step's loss parts and utterances."""
        self.losses.append(losses)
        self.names.append(names)

    def score_test_part(self, confusion: list[list[int]]) -> None:
        """Record the test part's confusion matrix after an epoch."""
        self.test_curve.append(confusion)

    def end_epoch(self, record: EpochRecord) -> None:
        """Record a completed epoch and save the state, and the weights if they are the best so far."""
        self.losses, self.names, self.gradients = [], [], {}
        self.history.append(record)
        if improved := self.best_epoch == record.epoch:
            with self.averaged.in_place():
                self.best_state = checkpoint.trainable_state(self.network)
        self._keep(record.epoch, improved)

    def load_best(self) -> None:
        """Load the best epoch's weights into the network."""
        assert self.best_state is not None, "no epoch was trained"
        checkpoint.load_trainable_state(self.network, self.best_state)

    def keep_within_epoch(self, losses: Tensor) -> None:
        """Save the state between two updates of an epoch, with its losses so far (steps x parts)."""
        self._keep_last({"step/losses": losses}, {"epoch": len(self.history) - 1})

    def _keep(self, epoch: int, improved: bool) -> None:
        """Write `best`, if improved, and `last`."""
        if self.folder is None or self.workers.rank != 0:
            return
        assert self.best_state is not None
        meta = {"trial_id": self.trial_id, "epoch": epoch}
        if improved:
            checkpoint.save(self.folder, checkpoint_files.best_name(epoch), self.best_state, meta)
        self._keep_last({}, {"epoch": epoch})
        # The best epochs that the last two states refer to.
        bests = {self._best_of(self.history[:n]) for n in (epoch, epoch + 1) if n}
        checkpoint_files.keep_best(self.folder, bests)

    def _keep_last(self, more: dict[str, Tensor], meta: dict[str, Any]) -> None:
        if self.folder is None or self.workers.rank != 0:
            return
        state = checkpoint.trainable_state(self.network) | more
        state |= checkpoint.optimizer_tensors(self.network, self.optimizer)
        state |= {f"average/{name}": value.cpu() for name, value in self.averaged.average.items()}
        state |= {} if self.queue is None else self.queue.tensors()
        history = [dataclasses.asdict(record) for record in self.history]
        meta |= {"trial_id": self.trial_id, "history": history, "test_curve": self.test_curve[: len(history)]}
        meta |= {"notes": self.notes, "gradients": self.gradients}
        checkpoint.save_last(self.folder, state, meta)

    def resume(self) -> bool:
        """Resume from this trial's last intact checkpoint, if any. Call before the plan is made.

        A damaged checkpoint is removed and noted, and the previous one is used.
        """
        if self.folder is None:
            return False
        if self.workers.rank == 0:
            checkpoint_files.delete_unfinished(self.folder)
        resumed = self._resume(self.folder)
        if self.workers.size > 1:
            self._agree()
        return resumed

    def _agree(self) -> None:
        """Raises: MachineError: workers see different checkpoints; after a restart, all see the last one."""
        mine = self.first_epoch
        seen = torch.tensor([mine, -mine], device=self.device)
        torch.distributed.all_reduce(seen, torch.distributed.ReduceOp.MAX)
        latest, earliest = int(seen[0]), -int(seen[1])
        if latest != earliest:
            raise MachineError(
                f"workers would resume from epochs {earliest + 1} to {latest + 1}, this one from {mine + 1}"
            )

    def _resume(self, folder: Folder) -> bool:
        for name in (checkpoint_files.LAST, checkpoint_files.BEFORE):
            try:
                found = checkpoint.load(folder, name)
            except checkpoint.Damaged as error:
                if self.workers.rank == 0:
                    folder.delete(name)
                self.notes.append(f"{folder.location}/{name} is damaged ({error}) and was skipped")
                continue
            if found is not None and self._restore(folder, *found):
                return True
        return False

    def _restore(self, folder: Folder, tensors: dict[str, Tensor], meta: dict[str, Any]) -> bool:
        """Restore a state, unless it is from another trial or its best weights are missing."""
        if meta["trial_id"] != self.trial_id:
            return False
        history = [_record(values) for values in meta["history"]]
        best = checkpoint.load_best(folder, self.trial_id, self._best_of(history)) if history else None
        if history and best is None:
            self.notes.append(
                f"{folder.location}: the best weights of epoch {self._best_of(history) + 1} are missing or damaged"
            )
            return False
        self.history = history
        self.best_state = best
        weights = {n: t for n, t in tensors.items() if not n.startswith(_NOT_WEIGHTS)}
        checkpoint.load_trainable_state(self.network, weights)
        checkpoint.load_optimizer_tensors(self.network, self.optimizer, tensors)
        for name, value in self.averaged.average.items():
            value.copy_(tensors[f"average/{name}"])
        if self.queue is not None:
            self.queue.restore(tensors)
        self.losses = list(tensors.get("step/losses", torch.empty(0)).to(self.device))
        # Saved losses are finite, so no error message will need their utterances.
        self.names = [()] * len(self.losses)
        self.gradients = meta["gradients"]
        self.test_curve = meta["test_curve"]
        self.notes = [*meta["notes"], *self.notes]
        return True


_NOT_WEIGHTS = ("optimizer/", "average/", "queue/", "step/")
"""How names of tensors begin that a state holds beside the weights."""


def _record(values: dict[str, Any]) -> EpochRecord:
    return EpochRecord(**(values | {"step_losses": tuple(values["step_losses"])}))
