"""Dropout: rate, scale, reproducibility; attention with no dropped weights equals PyTorch's."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import DistilBertConfig, DistilBertModel, Wav2Vec2Config, Wav2Vec2Model

from raysys.model.dropout import Dropout, attend, dropout
from raysys.model.fast import speed_up_dropout
from tests.model.encoder_folders import SIZES, TEXT_SIZES

torch.set_num_threads(1)


@pytest.mark.parametrize("p", [0.05, 0.1, 0.5, 0.9])
def test_zero_with_probability_p_and_the_same_mean(p: float) -> None:
    torch.manual_seed(0)
    dropped = dropout(torch.ones(1000, 1001), p, True)
    share = float((dropped == 0).double().mean())
    assert share == pytest.approx(p, abs=5 * (p * (1 - p) / dropped.numel()) ** 0.5 + 2**-17)
    kept = dropped[dropped != 0]
    assert float(kept.min()) == float(kept.max()) == pytest.approx(1 / (1 - p), rel=1e-4)


def test_each_element_is_drawn_by_itself() -> None:
    """Neighbours share a 64-bit number: its four parts must be pairwise independent."""
    torch.manual_seed(0)
    kept_NK = (dropout(torch.ones(200_000, 4), 0.5, True) != 0).double()
    correlation_KK = torch.corrcoef(kept_NK.T)
    assert float((correlation_KK - torch.eye(4)).abs().max()) < 0.012
    assert kept_NK.mean(dim=0).numpy() == pytest.approx(0.5, abs=0.006)


def test_the_gradient_goes_where_the_value_went() -> None:
    tensor = torch.randn(7, 5, requires_grad=True)
    torch.manual_seed(3)
    dropped = dropout(tensor, 0.3, True)
    (gradient,) = torch.autograd.grad(dropped.sum(), tensor)
    torch.testing.assert_close(gradient, dropped.detach() / tensor.detach())


def test_the_seed_decides_and_evaluation_drops_nothing() -> None:
    tensor = torch.randn(3, 33)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(dropout(tensor, 0.5, True))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert dropout(tensor, 0.5, False) is tensor
    assert Dropout(0.5).eval()(tensor) is tensor


@pytest.mark.parametrize("kind", ["bool", "added", "none"])
def test_attention_that_drops_next_to_nothing_is_torchs(kind: str) -> None:
    torch.manual_seed(0)
    queries, keys, values = torch.randn(2, 3, 5, 8), torch.randn(2, 3, 7, 8), torch.randn(2, 3, 7, 8)
    valid = (torch.arange(7) < torch.tensor([7, 3])[:, None])[:, None, None]
    mask = {"bool": valid, "added": torch.where(valid, 0.0, -1e9), "none": None}[kind]
    expected = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    # 1e-6 rounds to 0 of 2^16: the dropout code path, with nothing dropped.
    torch.testing.assert_close(attend(queries, keys, values, mask, 1e-6), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ["wav2vec2", "distilbert"])
def test_a_transformers_model_gives_the_same_without_dropout(name: str) -> None:
    torch.manual_seed(0)
    model: nn.Module
    mask = torch.tensor([[1] * 30, [1] * 20 + [0] * 10])
    if name == "distilbert":
        model = DistilBertModel(DistilBertConfig(vocab_size=50, **TEXT_SIZES))
        inputs = {"input_ids": torch.randint(0, 50, (2, 30)), "attention_mask": mask}
    else:
        model = Wav2Vec2Model(Wav2Vec2Config(**SIZES, feat_extract_norm="layer"))
        inputs = {"input_values": torch.randn(2, 9600), "attention_mask": mask.repeat_interleave(320, dim=1)}
    expected = model.eval()(**inputs).last_hidden_state
    speed_up_dropout(model)
    assert not any(type(part) is nn.Dropout for part in model.modules())
    torch.testing.assert_close(model(**inputs).last_hidden_state, expected, atol=1e-6, rtol=1e-5)
    # The training code path, with so little dropout that nothing is dropped: padding gets no attention.
    for part in model.modules():
        for attribute in ("p", "dropout", "dropout_prob"):
            if isinstance(getattr(part, attribute, None), float):
                setattr(part, attribute, 1e-6)
    model.config.layerdrop = model.config.mask_time_prob = 0.0
    torch.testing.assert_close(model.train()(**inputs).last_hidden_state, expected, atol=1e-5, rtol=1e-4)
