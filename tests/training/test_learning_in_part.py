"""Training of adapters or top layers alone: what is saved, averaged, resumed and shared among workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from raysys.config import ExperimentConfig, LossConfig, ModelConfig, OptimConfig, TrainConfig
from raysys.data.plan import Step
from raysys.model.adapt import ADAPTER
from raysys.model.network import Network
from raysys.storage import Folder
from raysys.training import checkpoint, checkpoint_files
from raysys.training.criterion import criterion
from raysys.training.optim import make_optimizer
from tests.model.encoder_folders import write_encoders
from tests.training.little_fold import LittleFold, little_fold, make_network, make_trainer
from tests.workers import run_workers

torch.set_num_threads(1)
PARTLY: dict[str, dict[str, Any]] = {
    "lora": {"adapt": "lora", "lora_rank": 2},
    "lora in the top layer, recomputed": {"adapt": "lora", "lora_layers": 1, "checkpoint_activations": True},
    "top layer": {"unfreeze_top": 1},
    "top layer, all states": {"unfreeze_top": 1, "layer": "weighted_sum"},
    "all, recomputed": {"checkpoint_activations": True},
}


def config_of(folder: Path, **model: Any) -> ExperimentConfig:
    """Pretrained encoders of two layers and one layer."""
    audio, text = folder / "audio", folder / "text"
    if not audio.exists():
        write_encoders(folder, [text for text in little_texts() if text])
    sizes: dict[str, Any] = {"width": 16, "heads": 4, "feed_forward": 24, "freeze_audio": "none"}
    return ExperimentConfig(
        model=ModelConfig(audio=str(audio), text=str(text), **(sizes | model)),
        optim=OptimConfig(encoder_lr=3e-3, lr=3e-3, average=0.9),
        train=TrainConfig(epochs=3, batch_size=4, accumulate=1),
    )


def little_texts() -> list[str]:
    return [u.transcript or "" for u in little_fold().collator.utterances.values()]


def encoder_parameters(network: Network) -> set[str]:
    return {name for name, p in network.named_parameters() if "_encoder." in name and p.requires_grad}


@pytest.mark.parametrize("partly", ["lora", "top layer"])
def test_checkpoints_and_averages_hold_what_is_trained_alone(partly: str, tmp_path: Path) -> None:
    config, little = config_of(tmp_path, **PARTLY[partly]), little_fold()
    folder = Folder.at(str(tmp_path / "trial"))
    trainer = make_trainer(config, little, folder=folder)
    trainer.fit(little.batches(config), lambda _: None)
    saved = checkpoint.load(folder, checkpoint_files.LAST)
    assert saved is not None
    names = {name.split("/")[-1] for name in saved[0]}
    assert names == {name for name, p in trainer.network.named_parameters() if p.requires_grad}
    of_encoders = {name for name in names if "_encoder." in name}
    if partly == "lora":
        assert all(ADAPTER in name for name in of_encoders)
    else:
        assert all(".layers.1." in name or ".layer.0." in name for name in of_encoders)
    assert {name.removeprefix("average/") for name in saved[0] if name.startswith("average/")} == names


@pytest.mark.parametrize("partly", PARTLY)
def test_what_is_frozen_stays_and_what_learns_moves(partly: str, tmp_path: Path) -> None:
    config, little = config_of(tmp_path, **PARTLY[partly]), little_fold()
    trainer = make_trainer(config, little)
    before = {name: p.detach().clone() for name, p in trainer.network.named_parameters()}
    trainer.fit(little.batches(config), lambda _: None)
    # In the first update an adapter's A has a gradient of 0, since its B is 0.
    for name, parameter in trainer.network.named_parameters():
        assert torch.equal(parameter, before[name]) == (not parameter.requires_grad), name


@pytest.mark.parametrize("partly", PARTLY)
def test_resumed_within_an_epoch_equals_uninterrupted(partly: str, tmp_path: Path) -> None:
    config, little = config_of(tmp_path, **PARTLY[partly]), little_fold()
    whole = make_trainer(config, little)
    expected = whole.fit(little.batches(config), lambda _: None)
    folder = Folder.at(str(tmp_path / "trial"))
    stopped = make_trainer(config, little, folder=folder)
    asked = iter([False] * 6 + [True])
    stopped.stopping = lambda: next(asked)
    with pytest.raises(Exception, match="stopped in epoch"):
        stopped.fit(little.batches(config), lambda _: None)
    resumed = make_trainer(config, little, folder=folder)
    assert resumed.state.resume()
    first, step = resumed.state.first_epoch, resumed.state.first_step
    found = resumed.fit(little.batches(config, first, first_step=step), lambda _: None)
    assert [record.losses for record in found.history] == [record.losses for record in expected.history]
    assert found.test is not None and expected.test is not None
    assert (found.test.probabilities_NC == expected.test.probabilities_NC).all()


def backward(network: Network, little: LittleFold, loss: LossConfig, rank: int = 0, workers: int = 1) -> None:
    """A step of four utterances, and one in which only the first worker has an utterance."""
    forward: torch.nn.Module = network
    if workers > 1:
        forward = DistributedDataParallel(network, find_unused_parameters=True)
    names = little.fold.train
    for index, chosen in enumerate((names[:4], names[4:5])):
        step = Step(part="train", epoch=0, index=index, utterance_ids=chosen)
        batch = little.batch(step, rank, workers)
        assert batch.augmented is not None
        outputs = forward((batch.clean, batch.augmented))
        parts = criterion(
            outputs,
            batch,
            loss,
            classify_augmented=False,
            shares=[step.share(r, workers) for r in range(workers)],
            step_weight=len(chosen),
        )
        parts.total.backward()


def worker(rank: int, workers: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=workers)
    little = little_fold()
    for partly, model in PARTLY.items():
        config = config_of(Path(folder), **model)
        network = make_network(config, little)
        backward(network, little, config.loss, rank, workers)
        gradients = {name: p.grad for name, p in network.named_parameters() if p.requires_grad}
        assert [name for name, gradient in gradients.items() if gradient is None] == [], partly
        for name, gradient in gradients.items():
            everywhere = [torch.empty_like(gradient) for _ in range(workers)]
            dist.all_gather(everywhere, gradient)
            assert torch.equal(*everywhere), (partly, name)
    dist.destroy_process_group()


def test_two_workers_have_a_gradient_for_all_that_is_trained(tmp_path: Path) -> None:
    config_of(tmp_path)
    run_workers(worker, 2, 2, str(tmp_path))


@pytest.mark.parametrize("partly", PARTLY)
def test_every_parameter_gets_a_gradient(partly: str, tmp_path: Path) -> None:
    config, little = config_of(tmp_path, **PARTLY[partly]), little_fold()
    network = make_network(config, little)
    backward(network, little, config.loss)
    assert [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None] == []


def rates_of(network: Network, optim: OptimConfig) -> dict[str, float]:
    rate_of = {id(p): g["peak_lr"] for g in make_optimizer(network, optim).param_groups for p in g["params"]}
    return {name: rate_of[id(p)] for name, p in network.named_parameters() if p.requires_grad}


def test_rates_fall_from_layer_to_layer(tmp_path: Path) -> None:
    """By hand: two layers of audio, one of text, and what is below them."""
    network = make_network(config_of(tmp_path), little_fold())
    found = rates_of(network, OptimConfig(encoder_lr=1.0, lr=8.0, layer_decay=0.5))
    for name, rate in found.items():
        expected = 8.0
        if name.startswith("audio_encoder."):
            expected = 1.0 if ".layers.1." in name else 0.5 if ".layers.0." in name else 0.25
        elif name.startswith("text_encoder."):
            expected = 1.0 if ".layer.0." in name else 0.5
        assert rate == expected, name
    assert set(found.values()) == {8.0, 1.0, 0.5, 0.25}
    assert set(rates_of(network, OptimConfig(encoder_lr=1.0, lr=8.0)).values()) == {8.0, 1.0}


def test_adapters_learn_at_the_rate_of_the_rest(tmp_path: Path) -> None:
    """They are drawn: at an encoder's 1e-5 they would stay near 0. Their layers' decay holds for them too."""
    network = make_network(config_of(tmp_path, adapt="lora"), little_fold())
    found = rates_of(network, OptimConfig(encoder_lr=1.0, lr=8.0, layer_decay=0.5))
    for name in encoder_parameters(network):
        assert found[name] == (4.0 if ".layers.0." in name else 8.0), name
