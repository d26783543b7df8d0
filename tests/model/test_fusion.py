"""Fusion: the cross-modal block implements equation 1, and padding has no effect."""

from __future__ import annotations

import math
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from raysys.config import ModelConfig
from raysys.model.fusion import BiGRU, CrossModalLayer, ModalFusion, close_up

torch.set_num_threads(1)

WIDTH, HEADS = 8, 2


def make_block() -> CrossModalLayer:
    torch.manual_seed(0)
    block = CrossModalLayer(width=WIDTH, heads=HEADS, feed_forward=12, dropout=0.3)
    for parameter in block.parameters():  # Layer norms start at 1 and 0, which would hide a mix-up.
        nn.init.normal_(parameter, std=0.5)
    return block.eval()


def rows(*lengths: int, longest: int | None = None) -> tuple[Tensor, Tensor]:
    """Sequences of noise, padding included, and their valid positions."""
    n = longest or max(lengths)
    return torch.randn(len(lengths), n, WIDTH), torch.arange(n) < torch.tensor(lengths)[:, None]


def by_hand(block: CrossModalLayer, queries_QD: Tensor, context_KD: Tensor) -> Tensor:
    """Equation 1 and the rest of the layer for one row, in float64, head by head."""
    weights = {name: p.detach().double() for name, p in block.named_parameters()}

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name: str, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        unit = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return unit * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    queries_QD, context_KD = queries_QD.double(), context_KD.double()
    q, k, v = linear("query", queries_QD), linear("key", context_KD), linear("value", context_KD)
    size = WIDTH // HEADS
    heads = []
    for head in range(HEADS):
        part = slice(head * size, (head + 1) * size)
        attention_QK = torch.softmax(q[:, part] @ k[:, part].T / math.sqrt(size), dim=-1)
        heads.append(attention_QK @ v[:, part])
    hidden_QD = norm("attention_norm", queries_QD + linear("out", torch.cat(heads, dim=-1)))
    inner = linear("feed_forward.0", hidden_QD)
    inner = 0.5 * inner * (1 + torch.erf(inner / math.sqrt(2)))
    return norm("output_norm", hidden_QD + linear("feed_forward.3", inner))


def test_block_is_equation_1_over_the_valid_context() -> None:
    block = make_block()
    queries_BQD, _ = rows(5, 5, 5)
    context_BKD, valid_BK = rows(1, 4, 7)
    found_BQD = block(queries_BQD, context_BKD, valid_BK)
    for row in range(3):
        expected_QD = by_hand(block, queries_BQD[row], context_BKD[row, valid_BK[row]])
        torch.testing.assert_close(found_BQD[row].double(), expected_QD, atol=1e-5, rtol=1e-5)


def test_attention_agrees_with_torchs_own() -> None:
    block = make_block()
    reference = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True).eval()
    projections = (block.query, block.key, block.value)
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.cat([p.weight for p in projections]))
        reference.in_proj_bias.copy_(torch.cat([p.bias for p in projections]))
    reference.out_proj.load_state_dict(block.out.state_dict())
    queries_BQD, _ = rows(6, 6)
    context_BKD, valid_BK = rows(3, 5)
    attended_BQD, _ = reference(queries_BQD, context_BKD, context_BKD, key_padding_mask=~valid_BK)
    hidden_BQD = block.attention_norm(queries_BQD + attended_BQD)
    expected_BQD = block.output_norm(hidden_BQD + block.feed_forward(hidden_BQD))
    found_BQD = block(queries_BQD, context_BKD, valid_BK)
    torch.testing.assert_close(found_BQD, expected_BQD, atol=1e-5, rtol=1e-5)


def test_padding_never_receives_attention() -> None:
    block = make_block()
    queries_BQD, _ = rows(4, 4)
    context_BKD, valid_BK = rows(2, 6)
    context_BKD.requires_grad_()
    before_BQD = block(queries_BQD, context_BKD, valid_BK)
    before_BQD.square().sum().backward()
    assert context_BKD.grad is not None
    assert not context_BKD.grad[~valid_BK].any()
    assert context_BKD.grad[valid_BK].any(dim=-1).all()
    loud_BKD = context_BKD.detach().masked_fill(~valid_BK[..., None], 1e4)
    assert torch.equal(block(queries_BQD, loud_BKD, valid_BK), before_BQD)


def test_dropout_is_for_training_only() -> None:
    block = make_block()
    queries_BQD, valid_BQ = rows(5, 5)
    first, second = (block(queries_BQD, queries_BQD, valid_BQ) for _ in range(2))
    assert torch.equal(first, second)
    block.train()
    first, second = (block(queries_BQD, queries_BQD, valid_BQ) for _ in range(2))
    assert not torch.equal(first, second)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("ccb1", "ccb2"), [(True, True), (True, False), (False, True)])
def test_parameters_at_full_size(ccb1: bool, ccb2: bool) -> None:
    with torch.device("meta"):
        fusion = ModalFusion(ModelConfig(ccb1=ccb1, ccb2=ccb2))
    assert count(fusion.bigru) == 2_658_816
    assert count(fusion) == 2_658_816 + 7_087_872 * (ccb1 + ccb2)


def test_close_up_joins_row_by_row_in_order() -> None:
    first_BSD, first_valid_BS = rows(3, 1, 5)
    second_BTD, second_valid_BT = rows(2, 4, 1, longest=6)
    joint_BUD, valid_BU = close_up(first_BSD, first_valid_BS, second_BTD, second_valid_BT)
    assert valid_BU.sum(dim=1).tolist() == [5, 5, 6]
    assert joint_BUD.shape == (3, 6, WIDTH)
    for row, length in enumerate([5, 5, 6]):
        expected = torch.cat([first_BSD[row, first_valid_BS[row]], second_BTD[row, second_valid_BT[row]]])
        assert valid_BU[row].tolist() == [True] * length + [False] * (6 - length)
        assert torch.equal(joint_BUD[row, :length], expected)


def test_gru_of_a_padded_batch_is_that_of_each_row_alone() -> None:
    torch.manual_seed(1)
    gru = BiGRU(WIDTH)
    sequence_BUD, valid_BU = rows(2, 7, 1, 4)
    found_BUD = gru(sequence_BUD, valid_BU)
    assert found_BUD.shape == sequence_BUD.shape
    assert not found_BUD[~valid_BU].any()
    for row, length in enumerate([2, 7, 1, 4]):
        alone_1UD, _ = gru.gru(sequence_BUD[row : row + 1, :length])
        torch.testing.assert_close(found_BUD[row, :length], alone_1UD[0], atol=1e-6, rtol=1e-5)


def little(**values: Any) -> ModelConfig:
    return ModelConfig(**({"width": WIDTH, "heads": HEADS, "feed_forward": 12, "dropout": 0.0} | values))


@pytest.mark.parametrize(
    ("bigru", "n_layers", "ccb1", "ccb2"),
    [
        ("joint", 1, True, True),
        ("joint", 1, True, False),
        ("joint", 1, False, True),
        ("joint", 2, True, True),
        ("per_stream", 2, True, True),
        ("none", 2, True, True),
    ],
)
def test_every_arrangement_is_the_plain_one_row_by_row(
    bigru: Literal["joint", "per_stream", "none"], n_layers: int, ccb1: bool, ccb2: bool
) -> None:
    """H then G, or the remaining one, with only the valid frames and tokens."""
    torch.manual_seed(3)
    fusion = ModalFusion(little(bigru=bigru, n_layers=n_layers, ccb1=ccb1, ccb2=ccb2))
    frames_BJD, frames_valid_BJ = rows(4, 1)
    tokens_BMD, tokens_valid_BM = rows(2, 3)
    fused_BUD, valid_BU = fusion(frames_BJD, frames_valid_BJ, tokens_BMD, tokens_valid_BM)
    assert valid_BU.sum(dim=1).tolist() == [4 * ccb1 + 2 * ccb2, 1 * ccb1 + 3 * ccb2]
    for row in range(2):
        frames_1JD = frames_BJD[row : row + 1, frames_valid_BJ[row]]
        tokens_1MD = tokens_BMD[row : row + 1, tokens_valid_BM[row]]
        all_1J, all_1M = (torch.ones(1, x.shape[1]).bool() for x in (frames_1JD, tokens_1MD))
        h_1JD, g_1MD = frames_1JD, tokens_1MD
        for layer in fusion.ccb1.layers if ccb1 else ():
            h_1JD = layer(h_1JD, tokens_1MD, all_1M)
        for layer in fusion.ccb2.layers if ccb2 else ():
            g_1MD = layer(g_1MD, frames_1JD, all_1J)
        if bigru == "per_stream":
            h_1JD, g_1MD = fusion.bigru1.gru(h_1JD)[0], fusion.bigru2.gru(g_1MD)[0]
        expected_1UD = torch.cat([h_1JD] * ccb1 + [g_1MD] * ccb2, dim=1)
        if bigru == "joint":
            expected_1UD = fusion.bigru.gru(expected_1UD)[0]
        torch.testing.assert_close(fused_BUD[row, valid_BU[row]], expected_1UD[0], atol=1e-5, rtol=1e-5)


def test_what_is_switched_off_has_no_parameters() -> None:
    with torch.device("meta"):
        block, gru = 7_087_872, 2_658_816
        for values, expected in {
            (("bigru", "none"),): 2 * block,
            (("bigru", "per_stream"),): 2 * block + 2 * gru,
            (("bigru", "per_stream"), ("ccb1", False)): block + gru,
            (("bigru", "none"), ("ccb2", False)): block,
            (("n_layers", 3),): 6 * block + gru,
        }.items():
            assert count(ModalFusion(ModelConfig(**dict(values)))) == expected
