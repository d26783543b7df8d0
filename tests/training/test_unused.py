"""What is not used is not built: every parameter gets a gradient, whatever is on, and DDP lacks none."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any, Literal, get_args

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from raysys.config import LossConfig, ModelConfig
from raysys.data.batch import Batch
from raysys.data.plan import Step
from raysys.model.network import Network
from raysys.training.criterion import criterion
from tests.training.little_fold import N_CLASSES, LittleFold, little_fold
from tests.workers import run_workers

torch.set_num_threads(1)

Modalities = Literal["both", "audio", "text"]
Pooling = Literal["max", "attention", "mean"]
TERMS: dict[str, dict[str, Any]] = {
    "cross-entropy": {"alpha": 0.0, "beta": 0.0, "gamma": 0.0},
    "SCL": {"alpha": 0.1, "beta": 0.0, "gamma": 0.0},
    "ACL": {"alpha": 0.0, "beta": 0.1, "gamma": 0.0},
    "CPC": {"alpha": 0.0, "beta": 0.0, "gamma": 0.1},
    "CPC of the fused vector": {"alpha": 0.0, "beta": 0.0, "gamma": 0.1, "cpc": "fused"},
    "a head per task": {"alpha": 0.1, "beta": 0.1, "gamma": 0.0, "heads": "per_task"},
    "CPC in time": {"alpha": 0.0, "beta": 0.0, "gamma": 0.1, "cpc": "temporal"},
    "CPC none": {"alpha": 0.0, "beta": 0.1, "gamma": 0.1, "cpc": "none"},
    "all": {"alpha": 0.1, "beta": 0.1, "gamma": 0.1},
}
COMBINATIONS = [
    (modalities, pooling, terms)
    for modalities, pooling, terms in itertools.product(get_args(Modalities), get_args(Pooling), TERMS)
    if (modalities, terms) != ("text", "CPC in time")
]


def network_of(modalities: Modalities, pooling: Pooling, loss: LossConfig, little: LittleFold, size: str) -> Network:
    config = ModelConfig(audio=size, text=size, width=16, heads=4, feed_forward=24, pooling=pooling)
    tokenizer = little.collator.tokenizer
    assert tokenizer is not None
    torch.manual_seed(0)
    return Network(config, n_classes=N_CLASSES, vocab_size=len(tokenizer), loss=loss, modalities=modalities)


def batch_of(modalities: Modalities, little: LittleFold, step: Step, rank: int, workers: int) -> Batch:
    names = step.share(rank, workers)
    collator = little.collator if modalities != "audio" else dataclasses.replace(little.collator, tokenizer=None)
    if modalities == "text":
        return collator(names, None, None, epoch=0)
    return collator(names, [little.waveforms[n] for n in names], [little.view(n, 0) for n in names], epoch=0)


def train(combination: tuple[Modalities, Pooling, str], rank: int, workers: int, *, size: str = "light") -> Network:
    """Three steps; in the last one, only the first worker has an utterance. Returns: the network with its gradients."""
    modalities, pooling, terms = combination
    little = little_fold(n_train=7)
    loss = LossConfig(**TERMS[terms])
    network = network_of(modalities, pooling, loss, little, size)
    forward: torch.nn.Module = network
    if workers > 1:
        forward = DistributedDataParallel(network, find_unused_parameters=True)
    names = little.fold.train
    for index, chosen in enumerate((names[:4], names[4:6], names[6:])):
        step = Step(part="train", epoch=0, index=index, utterance_ids=chosen)
        batch = batch_of(modalities, little, step, rank, workers)
        views = (batch.clean,) if batch.augmented is None else (batch.clean, batch.augmented)
        parts = criterion(
            forward(views),
            batch,
            loss,
            classify_augmented=False,
            shares=[step.share(r, workers) for r in range(workers)],
            step_weight=len(chosen),
        )
        parts.total.backward()
    return network


@pytest.mark.parametrize(("modalities", "pooling", "terms"), COMBINATIONS)
def test_every_parameter_gets_a_gradient(modalities: Modalities, pooling: Pooling, terms: str) -> None:
    network = train((modalities, pooling, terms), 0, 1)
    assert [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None] == []


def test_so_does_every_parameter_of_a_waveform_encoder() -> None:
    network = train(("both", "attention", "all"), 0, 1, size="tiny")
    assert [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None] == []


def worker(rank: int, workers: int, folder: str) -> None:
    """One of several processes; it trains all combinations, since starting takes longer than they do."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=workers)
    for combination in COMBINATIONS:
        network = train(combination, rank, workers)
        lacking = [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None]
        assert lacking == [], combination
    dist.destroy_process_group()


@pytest.mark.parametrize("workers", [2, 3])
def test_several_workers_train_whatever_is_on(workers: int, tmp_path: Path) -> None:
    run_workers(worker, workers, workers, str(tmp_path))


@pytest.mark.parametrize("pooling", get_args(Pooling))
def test_the_head_starts_alike_with_and_without_cpc(pooling: Pooling) -> None:
    little = little_fold()
    on, off = (
        network_of("both", pooling, LossConfig(gamma=gamma), little, "light").state_dict() for gamma in (0.1, 0.0)
    )
    assert set(on) > set(off)
    assert all(torch.equal(weight, on[name]) for name, weight in off.items())


def test_parts_of_an_encoder_that_nothing_reads_are_not_trained() -> None:
    from transformers import BertConfig, BertModel

    from raysys.model.encoders import build_audio_encoder
    from raysys.model.text import TokenEncoder

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    bert = TokenEncoder(BertModel(BertConfig(vocab_size=20, **sizes)), freeze="none")
    bert(torch.tensor([[2, 5, 3]]), torch.ones(1, 3, dtype=torch.bool)).sum().backward()
    assert [name for name, p in bert.named_parameters() if p.requires_grad and p.grad is None] == []
    assert {name for name, p in bert.named_parameters() if not p.requires_grad} == {
        "model.pooler.dense.weight",
        "model.pooler.dense.bias",
    }
    # Without dropout there are no time masks either.
    for dropout, trained in ((0.1, True), (0.0, False)):
        audio = build_audio_encoder(ModelConfig(audio="tiny", text="tiny", freeze_audio="none", dropout=dropout))
        assert dict(audio.named_parameters())["model.masked_spec_embed"].requires_grad == trained
