"""What the variants actually train at step 1: loss terms, blocks, encoders and views."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from raysys.augment.view import augment_waveform
from raysys.config import ExperimentConfig
from raysys.model.network import Network
from raysys.runs.variants import BOTH_VIEWS, WITHOUT_TASKS, ablations, variant_points
from raysys.training.criterion import criterion
from tests.training.little_fold import N_CLASSES, little_config, little_fold

torch.set_num_threads(1)

BASE = little_config(batch_size=6, dropout=0.0)
CONFIGS = {
    variant.name: point.config
    for variant, point in zip(
        ablations(BASE), variant_points(BASE, ablations(BASE), seed=0), strict=True
    )
}  # fmt: skip
TERMS = ("ce", "scl", "acl", "cpc")
BLOCKS = ("audio_encoder", "text_encoder", "ccb1", "ccb2", "project", "predict_audio", "predict_text")

OFF: dict[str, tuple[set[str], set[str]]] = {
    "full": (set(), set()),
    "no CPC, no ECL": ({"scl", "acl", "cpc"}, {"project", "predict_audio", "predict_text"}),
    "cross-entropy on both views": ({"scl", "acl", "cpc"}, {"project", "predict_audio", "predict_text"}),
    "no augmentation": (set(), set()),
    "no CCB1": (set(), {"ccb1"}),
    "no CCB2": (set(), {"ccb2"}),
    # Cross-modal CPC predicts each modality from the other: with one modality there is none.
    "audio only": ({"cpc"}, {"text_encoder", "predict_audio", "predict_text"}),
    "text only": ({"cpc"}, {"audio_encoder", "predict_audio", "predict_text"}),
}


def first_step(config: ExperimentConfig) -> tuple[set[str], set[str]]:
    """Terms that are 0 and blocks that are absent, at the first training step."""
    little = little_fold()
    step, batch = next(little.batches(config))
    heard, read = config.corpus.resolved_modalities != "text", config.corpus.resolved_modalities != "audio"
    collator = dataclasses.replace(
        little.collator, tokenizer=little.collator.tokenizer if read else None, second_view=config.needs_augmented_view
    )
    clean = [little.waveforms[name] for name in step.utterance_ids] if heard else None
    augmented = [little.view(name, 0) for name in step.utterance_ids] if heard else None
    batch = collator(step.utterance_ids, clean, augmented, epoch=0)
    assert little.collator.tokenizer is not None
    torch.manual_seed(0)
    network = Network(
        config.model,
        n_classes=N_CLASSES,
        vocab_size=len(little.collator.tokenizer),
        loss=config.loss,
        modalities=config.corpus.resolved_modalities,
    )
    outputs = network((batch.clean,) if batch.augmented is None else (batch.clean, batch.augmented))
    parts = criterion(
        outputs, batch, config.loss, classify_augmented=False, shares=[batch.utterance_ids], step_weight=step.weight
    )
    assert parts.ce > 0
    blocks = {name: getattr(network, name, None) for name in BLOCKS}
    blocks |= {name: getattr(network.fusion, name) for name in ("ccb1", "ccb2")}
    return {t for t in TERMS if getattr(parts, t) == 0}, {name for name, block in blocks.items() if block is None}


@pytest.mark.parametrize("name", list(OFF))
def test_what_is_active_at_step_1_differs_in_what_the_name_says(name: str) -> None:
    assert first_step(CONFIGS[name]) == OFF[name]


@pytest.mark.parametrize("classify_augmented", [False, True])
def test_without_the_tasks_cross_entropy_is_of_the_clean_view_alone_whatever_the_preset_does(
    classify_augmented: bool,
) -> None:
    """What the paper's 'without both tasks' says. The other variant adds the second view alone."""
    base = dataclasses.replace(BASE, augment=dataclasses.replace(BASE.augment, classify_augmented=classify_augmented))
    points = variant_points(base, ablations(base), seed=0)
    alone, both = (next(p.config for p in points if p.name.startswith(name)) for name in (WITHOUT_TASKS, BOTH_VIEWS))
    assert not alone.needs_augmented_view and both.needs_augmented_view
    assert dataclasses.replace(alone, augment=both.augment) == both


def test_without_augmentation_there_are_no_recordings_and_no_gain_either() -> None:
    augment = dataclasses.replace(BASE.augment, noise_folder="/noise", room_folder="/rooms", gain=6.0)
    base = dataclasses.replace(BASE, augment=augment)
    points = variant_points(base, ablations(base), seed=0)
    without = {point.name.removesuffix(", seed 0") for point in points if not point.config.augments_audio}
    assert without == {"no augmentation", WITHOUT_TASKS, "text only"}


def test_without_augmentation_the_second_view_is_the_clean_utterance_again() -> None:
    waveform_S = np.random.default_rng(0).normal(0, 0.1, 8_000).astype(np.float32)
    for name, config in CONFIGS.items():
        view_S = augment_waveform(waveform_S, config.augment, key=(0, 0, "u"))
        assert np.array_equal(view_S, waveform_S) == (name == "no augmentation"), name
        assert config.rewrites_text == (name not in ("no augmentation", "audio only", WITHOUT_TASKS)), name
        assert config.needs_augmented_view == (name != WITHOUT_TASKS), name
