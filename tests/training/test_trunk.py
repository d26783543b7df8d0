"""Gradient norms of the terms on the trunk: they are what they say, and training goes on as without them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from raysys.config import LossConfig
from raysys.data.plan import Step
from raysys.storage import Folder
from raysys.training import checkpoint, loop
from raysys.training.criterion import criterion
from raysys.training.state import EpochRecord
from raysys.training.trunk import gradient_norms, trunk
from tests.training.little_fold import little_config, little_fold, make_network, make_trainer

torch.set_num_threads(1)

WEIGHTS = {"ce": None, "scl": "alpha", "acl": "beta", "cpc": "gamma"}


def ignore(_: EpochRecord) -> None: ...


def test_the_trunk_is_what_cross_entropy_shares() -> None:
    network = make_network(little_config(loss=LossConfig(heads="per_task")), little_fold())
    inside = {id(p) for p in trunk(network)}
    outside = {name.split(".")[0] for name, p in network.named_parameters() if id(p) not in inside}
    assert outside == {"head", "project", "project_acl", "predict_audio", "predict_text"}


def test_a_frozen_encoder_is_no_part_of_it() -> None:
    network = make_network(little_config(), little_fold())
    whole = len(trunk(network))
    network.text_encoder.requires_grad_(False)
    assert len(trunk(network)) == whole - len(list(network.text_encoder.parameters()))


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_norm_is_that_of_the_terms_own_backward_pass(name: str) -> None:
    little = little_fold(text_dropout=0.0)
    network = make_network(little_config(dropout=0.0), little).train()
    batch = little.batch(Step(part="train", epoch=0, index=0, utterance_ids=little.fold.train))

    def parts() -> Any:
        outputs = network((batch.clean, batch.augmented))
        return criterion(
            outputs, batch, LossConfig(), classify_augmented=False, shares=[batch.utterance_ids], step_weight=9
        )

    found = gradient_norms(parts(), network, workers=1)
    assert all(p.grad is None for p in network.parameters())
    getattr(parts(), name).backward()
    squared = sum(float(p.grad.double().square().sum()) for p in trunk(network) if p.grad is not None)
    assert found[name] == pytest.approx(squared**0.5, rel=1e-5)


@pytest.mark.parametrize("size", ["light", "tiny"])
def test_measuring_changes_no_weight_to_the_bit(size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    little, config = little_fold(), little_config(size=size, epochs=2, accumulate=2)
    weights = []
    for measured in (True, False):
        if not measured:
            monkeypatch.setattr(loop, "gradient_norms", lambda *_, **__: {})
        trainer = make_trainer(config, little)
        history = trainer.fit(little.batches(config), ignore).history
        assert all(set(record.gradients) == (set(WEIGHTS) if measured else set()) for record in history)
        assert all(value > 0 for record in history for value in record.gradients.values())
        weights.append(checkpoint.trainable_state(trainer.network))
    assert all(torch.equal(weights[0][name], value) for name, value in weights[1].items())


def test_what_is_stopped_within_an_epoch_keeps_the_norms_of_its_first_step(tmp_path: Any) -> None:
    little, config = little_fold(), little_config(epochs=2)
    expected = make_trainer(config, little).fit(little.batches(config), ignore).history
    stopped = make_trainer(config, little, folder=Folder.at(str(tmp_path)))
    stopped.stopping = lambda: stopped.state.first_epoch == 1 and stopped.state.first_step == 2
    with pytest.raises(loop.Paused):
        stopped.fit(little.batches(config), ignore)
    resumed = make_trainer(config, little, folder=Folder.at(str(tmp_path)))
    assert resumed.state.resume()
    at = {"first_epoch": resumed.state.first_epoch, "first_step": resumed.state.first_step}
    assert at == {"first_epoch": 1, "first_step": 2}
    found = resumed.fit(little.batches(config, **at), ignore).history
    assert [record.gradients for record in found] == [record.gradients for record in expected]


@pytest.mark.parametrize(("loss", "terms"), [({"alpha": 0.0}, {"ce", "acl", "cpc"}), ({}, set(WEIGHTS))])
def test_terms_that_are_off_are_not_measured(loss: dict[str, float], terms: set[str]) -> None:
    little, config = little_fold(), little_config(epochs=1, loss=LossConfig(**loss))
    (record,) = make_trainer(config, little).fit(little.batches(config), ignore).history
    assert set(record.gradients) == terms


def test_cross_entropy_alone_is_not_measured() -> None:
    little, config = little_fold(), little_config(epochs=1, loss=LossConfig(alpha=0.0, beta=0.0, gamma=0.0))
    (record,) = make_trainer(config, little).fit(little.batches(config), ignore).history
    assert record.gradients == {}


def test_a_record_of_an_earlier_version_has_none() -> None:
    little, config = little_fold(), little_config(epochs=1)
    (record,) = make_trainer(config, little).fit(little.batches(config), ignore).history
    values = dataclasses.asdict(record)
    del values["gradients"]
    assert EpochRecord(**values).gradients == {}
