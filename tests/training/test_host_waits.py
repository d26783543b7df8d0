"""A training step launches its work and waits for nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from raysys.config import ExperimentConfig, LossConfig
from raysys.data.batch import Batch
from raysys.data.plan import Step
from raysys.model.network import Network
from tests.model.encoder_folders import write_encoders
from tests.model.test_spectrogram import write_ast, write_w2v_bert
from tests.model.test_whisper import write as write_whisper
from tests.training.host_waits import HostWaits
from tests.training.little_fold import (
    N_CLASSES,
    LittleFold,
    little_config,
    little_fold,
    make_network,
    make_trainer,
)

torch.set_num_threads(1)

LOSSES: dict[str, dict[str, Any]] = {
    "all terms": {},
    "supcon": {"scl": "supcon"},
    "unit vectors": {"scl_scale": "unit"},
    "a penalty on norms": {"l2": 0.1},
    "other classes": {"acl_negatives": "other_classes"},
    "a queue and a head per task": {"queue": 6, "heads": "per_task"},
    "fused CPC": {"cpc": "fused", "gamma": 0.1},
    "temporal CPC": {"cpc": "temporal", "gamma": 0.1},
}


def small_fold(**more: Any) -> LittleFold:
    return little_fold(n_train=9, n_validation=1, n_test=1, **more)


def small(loss: LossConfig | None = None, size: str = "light", **model: Any) -> ExperimentConfig:
    config = little_config(loss=loss, size=size, epochs=1, batch_size=3)
    return dataclasses.replace(config, model=dataclasses.replace(config.model, **model))


def waits_within(config: ExperimentConfig, little: LittleFold, network: Network | None = None) -> list[str]:
    """Of the second of three steps: what is done once an epoch is left out."""
    waits = HostWaits()
    network = network or make_network(config, little)
    waits.place(network)
    marks: list[int] = []

    def watched() -> Iterator[tuple[Step, Batch]]:
        for step, batch in little.batches(config):
            marks.append(len(waits.found))
            yield step, batch

    with waits.counted():
        make_trainer(config, little, network=network).fit(watched(), lambda _: None)
    assert len(marks) == 5 and len(waits.found) > marks[3], "an epoch's end waits"
    return waits.found[marks[1] : marks[2]]


@pytest.mark.parametrize("terms", LOSSES)
def test_no_term_of_the_loss_waits(terms: str) -> None:
    assert waits_within(small(LossConfig(**LOSSES[terms])), small_fold()) == []


def test_mixup_does_not_wait() -> None:
    assert waits_within(small(), small_fold(mixup="beside")) == []


@pytest.mark.parametrize("bigru", ["per_stream", "none"])
def test_no_form_of_the_fusion_waits(bigru: str) -> None:
    assert waits_within(small(bigru=bigru, pool_frames=2, mask_frames=0.3), small_fold()) == []


@pytest.mark.parametrize("modality", ["audio", "text"])
def test_one_modality_does_not_wait(modality: Any) -> None:
    little, config = small_fold(), small()
    tokenizer = little.collator.tokenizer
    assert tokenizer is not None
    network = Network(
        config.model, n_classes=N_CLASSES, vocab_size=len(tokenizer), loss=config.loss, modalities=modality
    )
    if modality == "audio":
        little = dataclasses.replace(little, collator=dataclasses.replace(little.collator, tokenizer=None))
    assert waits_within(config, little, network) == []


def test_frozen_features_do_not_wait() -> None:
    little = small_fold()
    noise = np.random.default_rng(0)
    features = {name: noise.normal(size=10 * 32 * (1 + len(name) % 3)).astype(np.float32) for name in little.waveforms}
    little = dataclasses.replace(
        little, waveforms=features, collator=dataclasses.replace(little.collator, frame_width=32)
    )
    assert waits_within(small(size="tiny", text="light", freeze_audio="all"), little) == []


@pytest.mark.parametrize("encoder", ["wav2vec 2.0 and DistilBERT", "Whisper", "w2v-BERT", "AST"])
def test_no_pretrained_encoder_waits(encoder: str, tmp_path: Path) -> None:
    """Wholly trained, with masked frames where a model has them."""
    little = small_fold()
    names: dict[str, Any] = {}
    match encoder:
        case "Whisper":
            names["audio"] = write_whisper(tmp_path)
        case "w2v-BERT":
            names["audio"] = write_w2v_bert(tmp_path, mask_time_length=2)
        case "AST":
            names["audio"] = write_ast(tmp_path)
        case _:
            texts = [u.transcript for u in little.collator.utterances.values() if u.transcript]
            names["audio"], names["text"] = write_encoders(tmp_path, list(dict.fromkeys(texts)))
    config = small(freeze_audio="none", **{name: str(folder) for name, folder in names.items()})
    assert waits_within(config, little) == []


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: x.cpu(),
        lambda x: x.to("cpu"),
        lambda x: x.tolist(),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: x[: (x > 0).sum()],
        lambda x: bool((x > 0).any()),
        lambda x: x.index_put_((x > 0,), x.clone()),
        lambda x: x[torch.tensor([0, 1])],
        lambda x: torch.tensor([1.0], device=x.device),
        lambda x: torch.ones(2).to(x.device),
    ],
)
def test_waits_are_found(wait: Any) -> None:
    waits = HostWaits()
    with waits.counted():
        x_N: Tensor = torch.ones(4).to(torch.device("cpu"), non_blocking=True)
        (x_N * 2).masked_fill(x_N > 0, 0.0)[x_N.long()]
        x_N[x_N < 0] = 0
        assert x_N.is_cuda and waits.found == []
        wait(x_N)
    assert waits.found


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_agrees() -> None:
    """PyTorch's own check, over the forward and backward pass of a wav2vec 2.0 with masked frames."""
    little, config = small_fold(), small(size="tiny", text="light")
    device = torch.device("cuda")
    network = make_network(config, little).to(device).train()
    moved = [batch.to(device) for step, batch in little.batches(config) if step.part == "train"]
    for debug, batch in zip(("default", "error", "default"), moved, strict=True):
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode(debug)
        try:
            network(batch.views).logits_NC.sum().backward()
        finally:
            torch.cuda.set_sync_debug_mode("default")
