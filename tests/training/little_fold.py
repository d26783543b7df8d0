"""A small fold for the training tests: tones whose pitch encodes the class, and uninformative texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn

from raysys.config import ExperimentConfig, LossConfig, ModelConfig, OptimConfig, TrainConfig
from raysys.data.batch import Batch, Collator
from raysys.data.folds import Fold
from raysys.data.manifest import Utterance
from raysys.data.mixing import Mixing
from raysys.data.plan import Step, derive_seed, fold_plan
from raysys.data.targets import Targets
from raysys.data.text import train_wordpiece
from raysys.model.network import Network
from raysys.storage import Folder
from raysys.training.evaluation import Workers
from raysys.training.loop import Trainer

N_CLASSES = 3
_TEXTS = ("the door is open", None, "the door is shut", "kids are talking by the door")


@dataclass(frozen=True, slots=True, kw_only=True)
class LittleFold:
    fold: Fold
    waveforms: dict[str, np.ndarray]
    collator: Collator
    test_curve: bool = False

    @property
    def durations_s(self) -> dict[str, float]:
        return {name: len(waveform) / 16_000 for name, waveform in self.waveforms.items()}

    def view(self, name: str, epoch: int) -> np.ndarray:
        """An augmented waveform: noisier and shorter, determined by epoch and name."""
        noise = np.random.default_rng(derive_seed("view", epoch, name))
        waveform_S = self.waveforms[name]
        noisy_S = waveform_S + noise.normal(0, 0.02, len(waveform_S))
        return noisy_S[: len(noisy_S) * 9 // 10].astype(np.float32)

    def batch(self, step: Step, rank: int = 0, workers: int = 1) -> Batch:
        names = step.share(rank, workers)
        training = step.part == "train"
        mixes = () if self.collator.mixup == "none" else Mixing(alpha=0.5, seed=0).of(step, names)
        return self.collator(
            names,
            [self.waveforms[name] for name in names],
            [self.view(name, step.epoch) for name in names] if training else None,
            epoch=step.epoch if training else None,
            mixes=mixes,
            partners=[self.waveforms[mix.partner] for mix in mixes],
        )

    def batches(
        self, config: ExperimentConfig, first_epoch: int = 0, *, first_step: int = 0, rank: int = 0, workers: int = 1
    ) -> Iterator[tuple[Step, Batch]]:
        labels = dict(self.collator.labels)
        for step in fold_plan(
            self.fold,
            self.durations_s,
            labels,
            config.train,
            first_epoch,
            first_step=first_step,
            test_curve=self.test_curve,
        ):
            yield step, self.batch(step, rank, workers)


def little_fold(
    n_train: int = 9,
    n_validation: int = 6,
    n_test: int = 5,
    *,
    text_dropout: float = 0.2,
    mixup: Literal["none", "alone", "beside"] = "none",
    soft: Mapping[str, tuple[float, ...]] | None = None,
) -> LittleFold:
    names = [f"u{i:02}" for i in range(n_train + n_validation + n_test)]
    utterances: dict[str, Utterance] = {}
    waveforms: dict[str, np.ndarray] = {}
    for i, name in enumerate(names):
        noise = np.random.default_rng(i)
        times_s = np.arange(3_000 + 700 * (i % 5)) / 16_000
        tone_S = 0.3 * np.sin(2 * np.pi * (300, 1_000, 3_000)[i % N_CLASSES] * times_s)
        waveforms[name] = (tone_S + noise.normal(0, 0.05, len(times_s))).astype(np.float32)
        utterances[name] = Utterance(
            utterance_id=name, audio_path="", speaker="", emotion="", transcript=_TEXTS[i % len(_TEXTS)]
        )
    labels = {name: i % N_CLASSES for i, name in enumerate(names)}
    return LittleFold(
        fold=Fold(
            index=0,
            name="fold",
            train=tuple(names[:n_train]),
            validation=tuple(names[n_train : n_train + n_validation]),
            test=tuple(names[n_train + n_validation :]),
        ),
        waveforms=waveforms,
        collator=Collator(
            utterances=utterances,
            labels=labels,
            tokenizer=train_wordpiece([text for text in _TEXTS if text]),
            text_dropout=text_dropout,
            second_view=True,
            seed=0,
            targets=Targets(labels=labels, n_classes=N_CLASSES, soft=soft or {}) if soft or mixup != "none" else None,
            mixup=mixup,
        ),
    )


def little_config(
    *,
    size: str = "light",
    dropout: float = 0.1,
    loss: LossConfig | None = None,
    optim: OptimConfig | None = None,
    **train: int,
) -> ExperimentConfig:
    schedule = {"epochs": 3, "batch_size": 4, "accumulate": 1} | train
    return ExperimentConfig(
        model=ModelConfig(audio=size, text=size, width=16, heads=4, feed_forward=24, dropout=dropout),
        loss=loss or LossConfig(),
        optim=optim or OptimConfig(encoder_lr=3e-3, lr=3e-3),
        train=TrainConfig(**schedule),
    )


def make_network(config: ExperimentConfig, little: LittleFold) -> Network:
    """Weights from their own seed, without changing torch's global generator."""
    tokenizer = little.collator.tokenizer
    assert tokenizer is not None
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Network(config.model, n_classes=N_CLASSES, vocab_size=len(tokenizer), loss=config.loss)


def make_trainer(
    config: ExperimentConfig,
    little: LittleFold,
    *,
    network: Network | None = None,
    forward: nn.Module | None = None,
    workers: Workers | None = None,
    folder: Folder | None = None,
    trial_id: str = "trial",
    class_weights: tuple[float, ...] | None = None,
    validated: bool = True,
) -> Trainer:
    network = network or make_network(config, little)
    return Trainer(
        network=network,
        forward=forward or network,
        config=config,
        n_train=len(little.fold.train),
        labels=dict(little.collator.labels),
        device=torch.device("cpu"),
        workers=workers or Workers(),
        folder=folder,
        trial_id=trial_id,
        class_weights=class_weights,
        validated=validated,
    )


def descend_plainly(trainer: Trainer, *, rate: float) -> None:
    """Steps proportional to the gradient: Adam's have a fixed length and magnify rounding."""
    parameters = [p for p in trainer.network.parameters() if p.requires_grad]
    trainer.state.optimizer = torch.optim.SGD([{"params": parameters, "peak_lr": rate}], lr=rate)
