"""What a worker trains on: this worker's share of every step, collated."""

from __future__ import annotations

from collections.abc import Iterator

from raysys.config import SAMPLE_RATE_HZ
from raysys.data.batch import Batch, Collator
from raysys.data.cache import WaveformStore
from raysys.data.folds import Fold
from raysys.data.manifest import Manifest
from raysys.data.mixing import Mixing
from raysys.data.plan import Step, fold_plan
from raysys.data.stream import stream
from raysys.data.targets import Targets
from raysys.data.texts import read_texts
from raysys.model.encoders import make_tokenizer
from raysys.runs.trial import Trial
from raysys.training.loop import Trainer


def make_collator(trial: Trial, manifest: Manifest, fold: Fold, targets: Targets) -> Collator:
    config = trial.config
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
        new_texts={} if trial.texts is None else read_texts(trial.texts),
        variants=config.augment.variants,
        text_in_evaluation=config.corpus.test_modalities == "same",
        frame_width=None if trial.source.features is None else trial.source.features.width,
        text_features=trial.text_features,
        targets=targets if targets.soft or config.augment.mixup else None,
        mixup=config.mixup,
    )


def batches(
    trial: Trial, manifest: Manifest, fold: Fold, targets: Targets, collator: Collator, trainer: Trainer
) -> Iterator[tuple[Step, Batch]]:
    """This worker's share of every step that is left."""
    config, workers = trial.config, trainer.workers
    without_audio = config.corpus.resolved_modalities == "text"
    if without_audio:
        durations_s = {u.utterance_id: u.duration_s or 0.0 for u in manifest.utterances}
    else:
        # As decoded: silence may have been trimmed.
        every = [u.utterance_id for u in manifest.utterances]
        lengths = WaveformStore.opened(trial.source.store).lengths(every).tolist()
        durations_s = {name: samples / SAMPLE_RATE_HZ for name, samples in zip(every, lengths, strict=True)}
    plan = fold_plan(
        fold,
        durations_s,
        trainer.labels,
        config.train,
        trainer.state.first_epoch,
        first_step=trainer.state.first_step,
        weights=None if trainer.class_weights is None else targets.weights(fold.train, trainer.class_weights),
        test_curve=trial.test_curve,
    )
    mixing = Mixing(alpha=config.augment.mixup, seed=config.train.seed) if config.augment.mixup else None
    if without_audio:
        for step in plan:
            names = step.share(workers.rank, workers.size)
            mixes = () if mixing is None else mixing.of(step, names)
            yield step, collator(names, None, None, epoch=_epoch(step), mixes=mixes)
        return
    for item in stream(
        plan,
        trial.source,
        rank=workers.rank,
        workers=workers.size,
        data_cpus=config.cluster.data_cpus_per_worker,
        mixing=mixing,
    ):
        yield (
            item.step,
            collator(
                item.utterance_ids,
                item.clean,
                item.augmented,
                epoch=_epoch(item.step),
                mixes=item.mixes,
                partners=item.partners,
            ),
        )


def _epoch(step: Step) -> int | None:
    return step.epoch if step.part == "train" else None
