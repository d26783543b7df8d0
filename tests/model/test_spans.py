"""Frames that an encoder masks in training."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import HubertConfig, HubertModel, Wav2Vec2Config, Wav2Vec2Model, WavLMConfig, WavLMModel

from raysys.model.spans import mask_without_waiting
from tests.model.encoder_folders import SIZES

torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("kind", "config"), [(Wav2Vec2Model, Wav2Vec2Config), (HubertModel, HubertConfig), (WavLMModel, WavLMConfig)]
)
def test_values_and_gradients_are_those_of_transformers_own_masks(kind: Any, config: Any) -> None:
    torch.manual_seed(0)
    model = kind(config(**SIZES)).eval()
    changed = copy.deepcopy(model)
    mask_without_waiting(changed)
    waveforms_BS, mask_BJ = torch.randn(2, 8_000), torch.rand(2, 24) < 0.4
    found: list[tuple[Tensor, list[Tensor | None]]] = []
    for one in (model, changed):
        frames_BJD = one(waveforms_BS, mask_time_indices=mask_BJ).last_hidden_state
        (frames_BJD * torch.arange(24)[:, None]).sum().backward()
        found.append((frames_BJD, [p.grad for p in one.parameters()]))
    assert torch.equal(found[1][0], found[0][0])
    assert not torch.equal(found[0][0], model(waveforms_BS).last_hidden_state)
    torch.testing.assert_close(found[1][1], found[0][1], atol=1e-5, rtol=1e-5)


def test_a_copy_masks_with_its_own_embedding() -> None:
    model: Any = Wav2Vec2Model(Wav2Vec2Config(**SIZES))
    mask_without_waiting(model)
    copied = copy.deepcopy(model)
    with torch.no_grad():
        copied.masked_spec_embed.fill_(7.0)
    hidden_BJD = torch.zeros(1, 2, 16)
    masked_BJD = copied._mask_hidden_states(hidden_BJD, mask_time_indices=torch.tensor([[True, False]]))
    assert masked_BJD[0, :, 0].tolist() == [7.0, 0.0]
