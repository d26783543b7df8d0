"""Flags that choose what of the encoders learns: contradictions are told when they are parsed."""

from __future__ import annotations

from typing import Any

import pytest

from raysys.config import CorpusConfig, ExperimentConfig, ModelConfig, OptimConfig
from raysys.errors import ConfigError
from raysys.presets import PRESETS
from tests.test_cli import parse


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--model.unfreeze-top -1", r"--model.unfreeze-top is -1; it cannot be negative"),
        ("--model.adapt lora --model.lora-layers -1", r"--model.lora-layers is -1; it cannot be negative"),
        ("--model.adapt lora --model.lora-rank 0", r"--model.lora-rank is 0; at least 1 is needed"),
        ("--model.lora-rank 16", r"--model.lora-rank and --model.lora-layers are for adapters; add --model.adapt lora"),
        ("--model.adapt lora --model.unfreeze-top 2", r"--model.unfreeze-top 2 trains the layers .* leave out one"),
        ("--loss.queue -1", r"--loss.queue is -1; expected a number of utterances, or 0 for none"),
        (
            "--loss.l2 0.1 --loss.scl-scale unit",
            r"--loss.l2 0.1 penalises norms, which --loss.scl-scale unit takes out of the term; leave out one",
        ),
        (
            "--loss.labels votes --loss.focal 2",
            r"--loss.focal 2 is for labels: with --loss.labels votes .* Leave out one of them",
        ),
        ("--optim.layer-decay 0", r"--optim.layer-decay is 0.0; expected 0 < layer-decay <= 1"),
        ("--optim.layer-decay 1.1", r"--optim.layer-decay is 1.1; expected 0 < layer-decay <= 1"),
        (
            "--preset light --model.adapt lora",
            r"--model.adapt lora is for .* --model.audio light is trained from scratch",
        ),
        (
            "--model.text light --model.unfreeze-top 1",
            r"--model.unfreeze-top 1 is for .* --model.text light is trained",
        ),
        ("--preset light --model.checkpoint-activations", r"--model.checkpoint-activations is for .* light"),
        ("--preset light --optim.layer-decay 0.9", r"--optim.layer-decay 0.9 is for .* light"),
        (
            "--preset frozen --model.adapt lora",
            r"all in use are frozen. Add --model.freeze-audio none or --model.freeze-te",
        ),
        (
            "--corpus.modalities audio --model.freeze-audio all --model.unfreeze-top 1",
            r"--model.unfreeze-top 1 is for encoders that are trained, .* Add --model.freeze-audio none, or leave",
        ),
        (
            "--model.adapt lora --model.layer cnn",
            r"--model.adapt lora is for an encoder's layers, which --model.layer cnn",
        ),
        (
            "--model.adapt lora --loss.cpc temporal --model.freeze-audio none",
            r"--loss.cpc temporal learns through the audio encoder's convolutions, which --model.adapt",
        ),
    ],
)
def test_a_contradiction_is_told_when_flags_are_parsed(flags: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse("--preset", "paper", *flags.split()) if "--preset" not in flags else parse(*flags.split())


@pytest.mark.parametrize(
    ("modalities", "model"),
    [
        ("both", {"adapt": "lora", "freeze_text": "all"}),
        ("both", {"unfreeze_top": 2, "freeze_audio": "all", "layer": "cnn"}),
        ("audio", {"adapt": "lora", "text": "light"}),
        ("text", {"unfreeze_top": 1, "audio": "light", "freeze_audio": "none"}),
    ],
)
def test_one_encoder_may_learn_while_the_other_is_frozen_or_not_used(modalities: Any, model: dict[str, Any]) -> None:
    config = ExperimentConfig(
        corpus=CorpusConfig(modalities=modalities), model=ModelConfig(**model), optim=OptimConfig(layer_decay=0.9)
    )
    assert config.model.learns_in_part


def test_an_encoder_that_learns_is_not_read_from_the_cache() -> None:
    frozen = {"freeze_audio": "none", "freeze_text": "all"}
    config = ExperimentConfig(corpus=CorpusConfig(modalities="both"), model=ModelConfig(adapt="lora", **frozen))
    assert not config.keeps_audio_features and config.keeps_text_features


def test_presets_train_as_before() -> None:
    for make in PRESETS.values():
        config = make()
        assert not config.model.learns_in_part and not config.model.checkpoint_activations
        assert config.optim.layer_decay == 1.0
