"""Presets: functions that return an ExperimentConfig, which flags and YAML files can override."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from raysys.config import (
    AugmentConfig,
    ClusterConfig,
    CorpusConfig,
    ExperimentConfig,
    LossConfig,
    ModelConfig,
    OptimConfig,
    TrainConfig,
)


def demo() -> ExperimentConfig:
    """The whole method in a few minutes on two cores, on the synthetic demo corpus.

    No speed perturbation: speech rate is one of the demo's emotional cues.
    """
    return ExperimentConfig(
        augment=AugmentConfig(speed=False, variants=4, classify_augmented=True),
        model=_light_model(),
        loss=LossConfig(alpha=0.1, beta=0.1, gamma=0.1),
        optim=OptimConfig(encoder_lr=1e-3, lr=1e-3, weight_decay=0.01, average=0.98),
        train=TrainConfig(epochs=18, batch_size=16, accumulate=1, text_dropout=0.3),
    )


def demo_short() -> ExperimentConfig:
    """The demo for sweeps, which train it about a hundred times: 5 epochs instead of 18."""
    full = demo()
    return dataclasses.replace(full, train=dataclasses.replace(full.train, epochs=5))


def light() -> ExperimentConfig:
    """Small real corpora on a CPU: log-mel front end, everything trained from scratch.

    Batches are made by length alone: with many classes, same-class pairs make batches of 16 too uniform.
    """
    return ExperimentConfig(
        corpus=CorpusConfig(trim_db=40.0),
        augment=AugmentConfig(variants=8, classify_augmented=True),
        model=dataclasses.replace(_light_model(), pooling="attention"),
        loss=LossConfig(alpha=0.1, beta=0.1, gamma=0.1, label_smoothing=0.1),
        optim=OptimConfig(encoder_lr=2e-3, lr=2e-3, weight_decay=0.01),
        train=TrainConfig(epochs=40, batch_size=16, accumulate=1, per_class=1, text_dropout=0.1),
    )


def frozen() -> ExperimentConfig:
    """Real corpora in minutes without a GPU: frozen pretrained encoders, whose features are computed once.

    All of Whisper's layers with learned weights; on top of them the whole method. Larger encoders by --model.audio.
    """
    return ExperimentConfig(
        corpus=CorpusConfig(trim_db=40.0),
        augment=AugmentConfig(variants=3, classify_augmented=True, cbca_model="light"),
        model=ModelConfig(
            audio="openai/whisper-tiny.en",
            text="sentence-transformers/all-MiniLM-L6-v2",
            freeze_audio="all",
            freeze_text="all",
            layer="weighted_sum",
            pool_frames=4,
            width=128,
            heads=4,
            feed_forward=256,
            pooling="statistics",
            dropout=0.3,
            mask_frames=0.4,
            drop_channels=0.1,
        ),
        loss=LossConfig(alpha=0.1, beta=0.1, gamma=0.1, label_smoothing=0.1),
        optim=OptimConfig(lr=1e-3, weight_decay=0.01, average=0.98),
        train=TrainConfig(epochs=16, batch_size=16, accumulate=1, per_class=1, text_dropout=0.1),
    )


def _light_model() -> ModelConfig:
    return ModelConfig(
        audio="light", text="light", freeze_audio="none", width=96, heads=4, feed_forward=192, dropout=0.2
    )


def paper() -> ExperimentConfig:
    """The paper's model at full size: wav2vec2-base and DistilBERT from the Hub, batch size 4 accumulated to 16.

    gamma stays 0.1, although the paper's formula has no weight for its CPC task; --loss.gamma 0 gives that formula.
    Two data CPUs per worker, because a GPU trains faster than one core augments.
    """
    return ExperimentConfig(
        corpus=CorpusConfig(folds="paper"),
        augment=AugmentConfig(speed=False, noise=False),
        loss=LossConfig(alpha=0.1, beta=0.1, gamma=0.1),
        optim=OptimConfig(encoder_lr=1e-5, lr=1e-4),
        train=TrainConfig(epochs=100, batch_size=4, accumulate=4),
        cluster=ClusterConfig(data_cpus_per_worker=2),
    )


PRESETS: dict[str, Callable[[], ExperimentConfig]] = {
    "demo": demo,
    "demo-short": demo_short,
    "light": light,
    "frozen": frozen,
    "paper": paper,
}
