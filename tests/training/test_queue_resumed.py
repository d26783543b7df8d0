"""A training with a queue of past embeddings, interrupted, is the uninterrupted one to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from raysys.config import LossConfig
from raysys.storage import Folder
from raysys.training import checkpoint
from raysys.training.loop import Paused
from raysys.training.state import EpochRecord
from tests.training.little_fold import little_config, little_fold, make_trainer

torch.set_num_threads(1)


def ignore(_: EpochRecord) -> None: ...


class Lost(Exception): ...


@pytest.mark.parametrize("heads", ["shared", "per_task"])
@pytest.mark.parametrize("at", [(1, 0), (1, 2)], ids=["between epochs", "within an epoch"])
def test_resumed_equals_uninterrupted(
    heads: Literal["shared", "per_task"], at: tuple[int, int], tmp_path: Path
) -> None:
    little = little_fold()
    config = little_config(epochs=3, batch_size=3, loss=LossConfig(queue=7, heads=heads))
    whole = make_trainer(config, little)
    expected = whole.fit(little.batches(config), ignore)
    assert whole.state.queue is not None and len(whole.state.queue.labels_Q) == 7
    folder = Folder.at(str(tmp_path))
    stopped = make_trainer(config, little, folder=folder)
    stopped.stopping = lambda: at[1] > 0 and (stopped.state.first_epoch, stopped.state.first_step) == at

    def lose_the_machine(_: EpochRecord) -> None:
        if at[1] == 0:
            raise Lost

    with pytest.raises((Paused, Lost)):
        stopped.fit(little.batches(config), lose_the_machine)
    resumed = make_trainer(config, little, folder=folder)
    assert resumed.state.resume() and (resumed.state.first_epoch, resumed.state.first_step) == at
    found = resumed.fit(little.batches(config, at[0], first_step=at[1]), ignore)
    assert [record.step_losses for record in found.history] == [record.step_losses for record in expected.history]
    assert np.array_equal(found.test.probabilities_NC, expected.test.probabilities_NC)
    for name, value in checkpoint.trainable_state(whole.network).items():
        assert torch.equal(checkpoint.trainable_state(resumed.network)[name], value), name
    for name, value in whole.state.queue.tensors().items():
        assert torch.equal(resumed.state.queue.tensors()[name], value), name


def test_a_queue_changes_the_contrastive_terms_alone() -> None:
    """In the first step it is empty; the cross-entropy of the second then comes from other weights."""
    little = little_fold()
    records = []
    for size in (0, 7):
        config = little_config(epochs=1, max_steps=1, loss=LossConfig(queue=size))
        records.append(make_trainer(config, little).fit(little.batches(config), ignore).history[0])
    assert records[0].losses == records[1].losses


def test_without_contrastive_terms_there_is_no_queue() -> None:
    config = little_config(loss=LossConfig(queue=7, alpha=0.0, beta=0.0))
    assert make_trainer(config, little_fold()).state.queue is None
