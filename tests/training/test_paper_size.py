"""The paper's model at full size from random weights: it trains, and every trainable parameter gets a gradient."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import pytest
import torch

from raysys.config import ModelConfig
from raysys.data.batch import Collator
from raysys.data.folds import Fold
from raysys.data.manifest import Utterance
from raysys.data.plan import fold_plan
from raysys.data.text import train_wordpiece
from raysys.model.network import Network
from raysys.presets import paper
from raysys.training.evaluation import Workers
from raysys.training.loop import Trainer
from raysys.training.state import EpochRecord

TEXTS = ("why do you always do that", None, "it is a lovely day today", "leave me alone")


@pytest.mark.slow
def test_two_steps_at_full_size_give_finite_losses_and_a_gradient_to_every_parameter() -> None:
    torch.set_num_threads(os.cpu_count() or 1)
    try:
        config = paper()
        config = dataclasses.replace(
            config,
            model=dataclasses.replace(config.model, weights="random"),
            train=dataclasses.replace(config.train, epochs=2, max_steps=2, text_dropout=0.2),
        )
        names = [f"u{i:02}" for i in range(16)]
        by_id = {
            name: Utterance(utterance_id=name, audio_path="", speaker="", emotion="", transcript=TEXTS[i % 4])
            for i, name in enumerate(names)
        }
        # 0.6 s: enough frames for time masks of length 10.
        waveforms = {n: np.random.default_rng(i).normal(0, 0.1, 9_600).astype(np.float32) for i, n in enumerate(names)}
        collator = Collator(
            utterances=by_id,
            labels={name: i % 4 for i, name in enumerate(names)},
            tokenizer=train_wordpiece([text for text in TEXTS if text]),
            text_dropout=config.train.text_dropout,
            second_view=True,
            seed=0,
        )
        gradients, history = train(config.model, collator, names, waveforms, config)
    finally:
        torch.set_num_threads(1)
    for record in history:
        assert all(np.isfinite(value) and value > 0 for value in record.losses.values()), record.losses
    for found in gradients:
        assert not [name for name, largest in found.items() if largest is None]
        # Adding a constant to all keys does not change the softmax.
        still = [name for name, largest in found.items() if largest == 0.0]
        assert not [name for name in still if not name.endswith(("k_proj.bias", "k_lin.bias", "key.bias"))]


def train(model: ModelConfig, collator: Collator, names: list[str], waveforms: dict[str, np.ndarray], config):  # type: ignore[no-untyped-def]
    """The largest gradient of every trainable parameter at each optimizer step, and the epoch records."""
    torch.manual_seed(0)
    network = Network(model, n_classes=4, vocab_size=30_522, loss=config.loss)
    assert sum(p.numel() for p in network.parameters()) == 180_526_724
    trainer = Trainer(
        network=network,
        forward=network,
        config=config,
        n_train=len(names),
        labels=dict(collator.labels),
        device=torch.device("cpu"),
        workers=Workers(),
        folder=None,
        trial_id="trial",
    )
    gradients: list[dict[str, float | None]] = []

    step_of_optimizer = trainer.state.optimizer.step

    def look_and_step() -> None:
        trained = {name: p.grad for name, p in network.named_parameters() if p.requires_grad}
        gradients.append({name: None if g is None else float(g.abs().max()) for name, g in trained.items()})
        step_of_optimizer()

    trainer.state.optimizer.step = look_and_step  # type: ignore[method-assign]
    fold = Fold(index=0, name="fold", train=tuple(names), validation=tuple(names[:2]), test=tuple(names[2:4]))
    durations = {name: len(waveform) / 16_000 for name, waveform in waveforms.items()}

    def batches():  # type: ignore[no-untyped-def]
        for step in fold_plan(fold, durations, collator.labels, config.train, 0):
            views = [waveforms[name] for name in step.utterance_ids]
            training = step.part == "train"
            augmented = [0.9 * view for view in views] if training else None
            yield step, collator(step.utterance_ids, views, augmented, epoch=step.epoch if training else None)

    history: list[EpochRecord] = []
    trainer.fit(batches(), history.append)
    assert len(gradients) == 2
    return gradients, history
