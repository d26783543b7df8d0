"""The worker shell: one fold, in a Tune trial's own process or as one rank of a TorchTrainer. The same in both."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import ray
import torch
from torch import nn

from raysys.config import SAMPLE_RATE_HZ
from raysys.data.batch import Batch, Collator
from raysys.data.folds import Fold
from raysys.data.manifest import Manifest
from raysys.data.plan import Step, derive_seed, fold_plan
from raysys.data.stream import stream
from raysys.data.waveforms import WaveformStore
from raysys.inference import save_model
from raysys.losses.objective import balanced_class_weights
from raysys.metrics import confusion, unweighted_accuracy, weighted_accuracy
from raysys.model.encoders import make_tokenizer
from raysys.model.network import Network
from raysys.orchestrate.result import FoldResult
from raysys.orchestrate.task import (
    FEATURES,
    HISTORY,
    MODEL,
    PREDICTIONS,
    TEST_CURVE,
    FoldTask,
    features_table,
    predictions_table,
    read_plan,
)
from raysys.orchestrate.texts import read_texts
from raysys.orchestrate.watchdog import Watchdog
from raysys.storage import Folder
from raysys.tracking import NoTracker, Tracker, WandbTracker, wandb_folder
from raysys.training import checkpoint_files
from raysys.training.evaluation import Workers
from raysys.training.loop import FoldOutcome, Trainer
from raysys.training.state import EpochRecord

Report = Callable[[dict[str, Any]], None]


def train_fold(
    task: FoldTask,
    *,
    workers: Workers,
    device: torch.device,
    parallel: Callable[[nn.Module], nn.Module],
    report: Report,
) -> None:
    """Train, validate and test one fold, and write its result where the task says.

    Args:
        task: which fold of which run.
        workers: this process among the data-parallel ones.
        device: where the network lives.
        parallel: wraps the network for data parallelism; the identity for one worker.
        report: takes the metrics of every epoch, on every worker.
    """
    # From the first to the last: loading weights or writing results may hang too. Where several train together none may
    # leave an epoch alone.
    with Watchdog(task, workers.rank, stops=workers.size == 1) as watchdog:
        _train_fold(task, workers, device, parallel, report, watchdog)


def _train_fold(
    task: FoldTask,
    workers: Workers,
    device: torch.device,
    parallel: Callable[[nn.Module], nn.Module],
    report: Report,
    watchdog: Watchdog,
) -> None:
    started = time.time()
    torch.set_num_threads(task.config.cluster.cpus_per_worker)
    manifest, fold = read_plan(Folder.at(task.run), task.fold)
    labels = manifest.labels()
    weights = _class_weights(task, manifest, fold)
    collator = _collator(task, manifest, fold)
    torch.manual_seed(derive_seed(task.config.train.seed, "weights", task.fold))
    network = Network(
        task.config.model,
        n_classes=len(manifest.classes),
        vocab_size=0 if collator.tokenizer is None else len(collator.tokenizer),
        loss=task.config.loss,
        modalities=task.config.corpus.resolved_modalities,
    ).to(device)
    watchdog.step()
    trainer = Trainer(
        network=network,
        forward=parallel(network),
        config=task.config,
        n_train=len(fold.train),
        labels=labels,
        device=device,
        workers=workers,
        folder=task.folder,
        trial_id=task.trial_id,
        class_weights=weights,
        validated=bool(fold.validation),
        stopping=watchdog,
    )
    trainer.state.resume()
    if (hung := watchdog.earlier()) is not None:
        trainer.state.notes.append(hung)
    tracker = _tracker(task) if workers.rank == 0 else NoTracker()
    watchdog.step()

    def on_epoch(record: EpochRecord) -> None:
        if workers.rank == 0:
            _write_history(task.folder, trainer.state.history)
            tracker.epoch(_metrics(record), record.epoch)
        note = {"note": "; ".join(trainer.state.notes)} if trainer.state.notes and record.epoch == first_epoch else {}
        with watchdog.waiting():
            report(_metrics(record) | note)

    batches = _batches(task, manifest, fold, collator, trainer, workers)
    fit_started = time.time()
    first_epoch = trainer.state.first_epoch
    outcome = trainer.fit(batches, on_epoch)
    watchdog.step()
    if workers.rank != 0:
        return
    fit_s = time.time() - fit_started
    if task.keeps_model:
        save_model(
            Folder.at(task.run) / MODEL,
            network,
            collator.tokenizer,
            model=task.config.model,
            classes=manifest.classes,
            modalities=task.config.corpus.resolved_modalities,
            trim_db=task.config.corpus.trim_db,
        )
    scores = _write_test(task, manifest, outcome)
    chosen = outcome.history[outcome.epoch]
    node = ray.get_runtime_context().get_node_id()
    result = FoldResult(
        trial_id=task.trial_id,
        point=task.point,
        seed=task.config.train.seed,
        fold=task.fold + 1,
        name=fold.name,
        n_train=len(fold.train),
        n_validation=len(fold.validation),
        n=len(fold.test),
        epoch=outcome.epoch + 1,
        epochs=len(outcome.history),
        validation_ua=chosen.validation_ua,
        validation_loss=chosen.validation_loss,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
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
    tracker.finish(_summary(result), manifest.classes)
    checkpoint_files.finish(task.folder, outcome.epoch)
    dataclasses.replace(result, ended=time.time()).write(task.folder)
    checkpoint_files.delete_states(task.folder)
    if task.keeps_model:
        task.folder.delete(checkpoint_files.BEST)


def _collator(task: FoldTask, manifest: Manifest, fold: Fold) -> Collator:
    config = task.config
    by_id = {u.utterance_id: u for u in manifest.utterances}
    tokenizer = None
    if config.corpus.resolved_modalities != "audio":
        texts = [by_id[name].transcript or "" for name in fold.train]
        tokenizer = make_tokenizer(config.model, texts)
    text_alone = config.corpus.resolved_modalities == "text"
    return Collator(
        utterances=by_id,
        labels=manifest.labels(),
        tokenizer=tokenizer,
        text_dropout=0.0 if text_alone else config.train.text_dropout,
        second_view=config.needs_augmented_view,
        seed=config.train.seed,
        new_texts={} if task.texts is None else read_texts(task.texts),
        variants=config.augment.variants,
        text_in_evaluation=config.corpus.test_modalities == "same",
        frame_width=None if task.source.features is None else task.source.features.width,
        text_features=task.text_features,
    )


def _class_weights(task: FoldTask, manifest: Manifest, fold: Fold) -> tuple[float, ...] | None:
    if task.config.loss.class_weights == "none":
        return None
    labels = manifest.labels()
    counts = Counter(labels[name] for name in fold.train)
    return balanced_class_weights([counts[index] for index in range(len(manifest.classes))])


def _batches(
    task: FoldTask,
    manifest: Manifest,
    fold: Fold,
    collator: Collator,
    trainer: Trainer,
    workers: Workers,
) -> Iterator[tuple[Step, Batch]]:
    config = task.config
    if config.corpus.resolved_modalities == "text":
        durations_s = {u.utterance_id: u.duration_s or 0.0 for u in manifest.utterances}
    else:
        # Of what is trained on: decoding may have cut silence off.
        samples = WaveformStore.opened(task.source.store).samples
        durations_s = {u.utterance_id: samples[u.utterance_id] / SAMPLE_RATE_HZ for u in manifest.utterances}
    plan = fold_plan(
        fold,
        durations_s,
        trainer.labels,
        config.train,
        trainer.state.first_epoch,
        first_step=trainer.state.first_step,
        class_weights=trainer.class_weights,
        stop_after=task.stop_after,
    )
    if config.corpus.resolved_modalities == "text":
        for step in plan:
            names = step.share(workers.rank, workers.size)
            yield step, collator(names, None, None, epoch=_epoch(step))
        return
    for item in stream(
        plan,
        task.source,
        rank=workers.rank,
        workers=workers.size,
        data_cpus=config.cluster.data_cpus_per_worker,
    ):
        batch = collator(item.utterance_ids, item.clean, item.augmented, epoch=_epoch(item.step))
        yield item.step, batch


def _epoch(step: Step) -> int | None:
    return step.epoch if step.part == "train" else None


def _metrics(record: EpochRecord) -> dict[str, float]:
    scores = {
        "validation_wa": record.validation_wa,
        "validation_ua": record.validation_ua,
        "validation_loss": record.validation_loss,
    }
    return {
        "epoch": record.epoch,
        **{f"loss_{name}": value for name, value in record.losses.items()},
        **{name: value for name, value in scores.items() if value is not None},
        "seconds": record.seconds,
        "waited_s": record.waited_s,
    }


def _write_history(folder: Folder, history: list[EpochRecord]) -> None:
    lines = [json.dumps(dataclasses.asdict(record)) for record in history]
    folder.write_bytes(HISTORY, ("\n".join(lines) + "\n").encode())


def _summary(result: FoldResult) -> dict[str, Any]:
    """What W&B keeps of a result: what it found, without where and when, which W&B knows."""
    elsewhere = ("node", "process", "gpu", "started", "first_step", "fit_s", "ended", "notes")
    found = dataclasses.asdict(result)
    return {name: value for name, value in found.items() if value is not None and name not in elsewhere}


def _write_test(task: FoldTask, manifest: Manifest, outcome: FoldOutcome) -> dict[str, Any]:
    """Write predictions and features of the test part, if there is one. Returns: its scores by `FoldResult`'s names."""
    if outcome.test_curve:
        task.folder.write_json(TEST_CURVE, list(outcome.test_curve))
    if (test := outcome.test) is None:
        return {"wa": None, "ua": None, "confusion": None}
    table = predictions_table(manifest, task.fold, list(test.utterance_ids), test.probabilities_NC)
    task.folder.write_table(PREDICTIONS, table)
    task.folder.write_table(FEATURES, features_table(test.utterance_ids, test.features_NF))
    index = {name: i for i, name in enumerate(manifest.classes)}
    labels = [index[name] for name in table["label"].to_pylist()]
    predicted = [index[name] for name in table["prediction"].to_pylist()]
    return {
        "wa": float(weighted_accuracy(labels, predicted)),
        "ua": float(unweighted_accuracy(labels, predicted)),
        "confusion": confusion(labels, predicted, len(manifest.classes)).tolist(),
    }


def _tracker(task: FoldTask) -> Tracker:
    config = task.config
    if not config.track.wandb:
        return NoTracker()
    name = task.run.rsplit("/", 1)[-1]
    return WandbTracker(
        project=config.track.project,
        group=name,
        name=", ".join(filter(None, [name, task.point, f"fold {task.fold + 1}"])),
        run_id=task.trial_id,
        folder=wandb_folder(Folder.at(task.run)),
        config=dataclasses.asdict(config) | {"point": task.point, "fold": task.fold + 1},
    )
