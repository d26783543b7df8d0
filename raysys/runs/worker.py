"""The worker: trains one fold, in a Tune trial's own process or as one rank of a TorchTrainer. The same in both."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Callable
from typing import Any

import ray
import torch
from torch import nn

from raysys.data.batch import Collator
from raysys.data.folds import Fold
from raysys.data.manifest import Manifest
from raysys.data.plan import derive_seed
from raysys.data.targets import Targets, targets_of
from raysys.data.views import training_frames
from raysys.errors import StorageError
from raysys.inference.folder import save_model
from raysys.inference.frozen import FROZEN
from raysys.losses.objective import balanced_class_weights, logit_shift
from raysys.model.network import Network
from raysys.model.parts import count_trained
from raysys.results import FoldResult
from raysys.runs.batches import batches, make_collator
from raysys.runs.tested import write_test
from raysys.runs.trial import HISTORY, LEFT, Trial, read_fold
from raysys.storage import Folder
from raysys.tracking import DEFAULT_PROJECT, NoTracker, Tracker, WandbTracker, wandb_folder
from raysys.training import checkpoint_files
from raysys.training.evaluation import Workers
from raysys.training.loop import FoldOutcome, Trainer
from raysys.training.state import EpochRecord
from raysys.training.watchdog import Watchdog


def train_fold(
    trial: Trial,
    *,
    workers: Workers,
    device: torch.device,
    parallel: Callable[[nn.Module], nn.Module],
    report: Callable[[dict[str, Any]], None],
) -> None:
    """Train, validate and test one fold, and write its result to the trial's folder.

    Args:
        trial: which fold of which run.
        workers: this process among the data-parallel ones.
        device: where the network is placed.
        parallel: wraps the network for data parallelism; the identity for one worker.
        report: takes the metrics of every epoch, on every worker.
    """
    started = time.time()
    node = ray.get_runtime_context().get_node_id()
    torch.set_num_threads(trial.config.cluster.cpus_per_worker)
    # Armed throughout: loading weights and writing results may hang too.
    with Watchdog(
        trial.folder,
        Folder.at(trial.run),
        rank=workers.rank,
        node=node,
        limit_s=trial.config.cluster.hang_limit_s,
        stops=workers.size == 1,
    ) as watchdog:
        manifest, fold = read_fold(Folder.at(trial.run), trial.fold)
        targets = targets_of(manifest, trial.config.loss.labels)
        collator = make_collator(trial, manifest, fold, targets)
        network = build_network(trial, manifest, fold, collator).to(device)
        watchdog.step()
        trainer = Trainer(
            network=network,
            forward=parallel(network),
            config=trial.config,
            n_train=len(fold.train),
            labels=manifest.labels(),
            device=device,
            workers=workers,
            folder=trial.folder,
            trial_id=trial.trial_id,
            class_weights=_class_weights(trial, fold, targets),
            logit_shift=_logit_shift(trial, fold, targets),
            soft=targets.soft,
            validated=bool(fold.validation),
            stopping=watchdog,
        )
        trainer.state.resume()
        if (hung := watchdog.earlier()) is not None:
            trainer.state.notes.append(hung)
        tracker = _tracker(trial) if workers.rank == 0 else NoTracker()
        watchdog.step()
        told: set[str] = set()

        def on_epoch(record: EpochRecord) -> None:
            metrics = _metrics(record)
            if workers.rank == 0:
                lines = [json.dumps(dataclasses.asdict(one)) for one in trainer.state.history]
                trial.folder.write_bytes(HISTORY, ("\n".join(lines) + "\n").encode())
                tracker.epoch(metrics, record.epoch)
            notes = "; ".join(note for note in (*trainer.state.notes, *tracker.notes) if note not in told)
            told.update((*trainer.state.notes, *tracker.notes))
            with watchdog.waiting():
                report(metrics | ({"note": notes} if notes else {}))

        steps = batches(trial, manifest, fold, targets, collator, trainer)
        fit_started = time.time()
        outcome = trainer.fit(steps, on_epoch)
        watchdog.step()
        if workers.rank != 0:
            return
        fit_s = time.time() - fit_started
        if trial.keeps_model:
            _save_model(trial, manifest, network, collator, outcome.temperature)
        result = _result(trial, manifest, fold, trainer, outcome, node=node, started=started, fit_s=fit_s)
        tracker.finish(_summary(result), manifest.classes)
        checkpoint_files.finish(trial.folder, outcome.epoch)
        notes = tuple(dict.fromkeys((*result.notes, *tracker.notes)))
        dataclasses.replace(result, notes=notes, ended=time.time()).write(trial.folder, LEFT)
        # The trial is finished; what cannot be deleted now is deleted by the same command.
        with contextlib.suppress(StorageError):
            checkpoint_files.delete_all(trial.folder)


def build_network(trial: Trial, manifest: Manifest, fold: Fold, collator: Collator) -> Network:
    """A fold's network before training: its first weights, and frozen states standardised by the training part."""
    torch.manual_seed(derive_seed(trial.config.train.seed, "weights", trial.fold))
    network = Network(
        trial.config.model,
        n_classes=len(manifest.classes),
        vocab_size=0 if collator.tokenizer is None else len(collator.tokenizer),
        loss=trial.config.loss,
        modalities=trial.config.corpus.resolved_modalities,
    )
    if network.standardise is not None and (features := trial.source.features) is not None:
        network.standardise.set(training_frames(features, fold.train))
    return network


def _class_weights(trial: Trial, fold: Fold, targets: Targets) -> tuple[float, ...] | None:
    if trial.config.loss.class_weights == "none":
        return None
    return balanced_class_weights(targets.counts(fold.train))


def _logit_shift(trial: Trial, fold: Fold, targets: Targets) -> tuple[float, ...] | None:
    strength = trial.config.loss.logit_adjustment
    return logit_shift(targets.counts(fold.train), strength) if strength else None


def _metrics(record: EpochRecord) -> dict[str, float]:
    scores = {
        "validation_wa": record.validation_wa,
        "validation_ua": record.validation_ua,
        "validation_macro_f1": record.validation_macro_f1,
        "validation_loss": record.validation_loss,
    }
    return {
        "epoch": record.epoch,
        **{f"loss_{name}": value for name, value in record.losses.items()},
        **{f"gradient_{name}": value for name, value in record.gradients.items()},
        **{name: value for name, value in scores.items() if value is not None},
        "seconds": record.seconds,
        "waited_s": record.waited_s,
    }


def _save_model(
    trial: Trial, manifest: Manifest, network: Network, collator: Collator, temperature: float | None
) -> None:
    save_model(
        trial.model,
        network,
        collator.tokenizer,
        model=trial.config.model,
        classes=manifest.classes,
        modalities=trial.config.corpus.resolved_modalities,
        trim_db=trial.config.corpus.trim_db,
        temperature=next((t for t in (temperature, trial.temperature) if t is not None), 1.0),
        # The final model is one to copy and to publish: it contains everything.
        frozen=None if trial.final else Folder.at(trial.run) / FROZEN,
    )


def _result(
    trial: Trial,
    manifest: Manifest,
    fold: Fold,
    trainer: Trainer,
    outcome: FoldOutcome,
    *,
    node: str,
    started: float,
    fit_s: float,
) -> FoldResult:
    """Write what the test part gave, if there is one. Returns: the trial's result, not written yet."""
    scores = write_test(trial, manifest, outcome)
    chosen, device = outcome.history[outcome.epoch], trainer.device
    return FoldResult(
        trial_id=trial.trial_id,
        point=trial.point,
        seed=trial.config.train.seed,
        fold=trial.fold + 1,
        name=fold.name,
        n_train=len(fold.train),
        n_validation=len(fold.validation),
        n=len(fold.test),
        epoch=outcome.epoch + 1,
        epochs=len(outcome.history),
        validation_ua=chosen.validation_ua,
        validation_wa=chosen.validation_wa,
        validation_macro_f1=chosen.validation_macro_f1,
        validation_loss=chosen.validation_loss,
        temperature=chosen.temperature,
        parameters=sum(parameter.numel() for parameter in trainer.network.parameters()),
        trained_parameters=count_trained(trainer.network),
        node=node,
        process=f"{node[:8]} {os.getpid()}",
        gpu=torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        started=started,
        first_step=trainer.first_step_at,
        fit_s=fit_s,
        ended=time.time(),
        notes=tuple(trainer.state.notes),
        **scores,
    )


def _summary(result: FoldResult) -> dict[str, Any]:
    """What W&B keeps of a result: the findings, without time and place, which W&B knows."""
    elsewhere = ("node", "process", "gpu", "started", "first_step", "fit_s", "ended", "notes", "files")
    found = dataclasses.asdict(result)
    return {name: value for name, value in found.items() if value is not None and name not in elsewhere}


def _tracker(trial: Trial) -> Tracker:
    config = trial.config
    if not config.track.wandb:
        return NoTracker()
    name = trial.run.rsplit("/", 1)[-1]
    return WandbTracker(
        project=config.track.project or DEFAULT_PROJECT,
        group=name,
        name=f"{name}, {trial.title}",
        run_id=trial.trial_id,
        folder=wandb_folder(Folder.at(trial.run)),
        config=dataclasses.asdict(config) | {"point": trial.point, "fold": trial.fold + 1},
    )
