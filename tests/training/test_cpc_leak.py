"""What cross-modal CPC can be solved with: the other modality, or the target itself.

Frames and tokens of an utterance are two views of one hidden vector. After a short training, other utterances' texts
are given: an audio term that is solved with the text then rises to chance, log N, and one that is solved with the audio
that it is to predict does not.
"""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
from torch import Tensor

from raysys.config import LossConfig, ModelConfig
from raysys.data.view import View
from raysys.losses.cpc import cross_modal_cpc
from raysys.model.network import Network

torch.set_num_threads(1)

_N, _HIDDEN, _WIDTH, _FRAMES, _TOKENS = 24, 6, 16, 5, 4
_CHANCE = math.log(_N)


def utterances(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Frames (N x J x D) and tokens (N x M x D), as encoders would give them."""
    mixing = torch.Generator().manual_seed(0)
    hidden_NH = torch.randn(_N, _HIDDEN, generator=generator)
    sequences = []
    for length in (_FRAMES, _TOKENS):
        seen_ND = hidden_NH @ torch.randn(_HIDDEN, _WIDTH, generator=mixing)
        sequences.append(seen_ND[:, None] + 0.3 * torch.randn(_N, length, _WIDTH, generator=generator))
    return sequences[0], sequences[1]


def audio_and_text_term(network: Network, frames_NJD: Tensor, tokens_NMD: Tensor) -> tuple[Tensor, Tensor]:
    view = View(
        waveforms_BS=None,
        lengths_B=torch.full((_N,), _FRAMES),
        tokens_BM=None,
        token_valid_BM=torch.ones(_N, _TOKENS, dtype=torch.bool),
        has_text_B=torch.ones(_N, dtype=torch.bool),
        frames_BJE=frames_NJD,
        token_features_BME=tokens_NMD,
    )
    out = network((view,))
    assert out.audio_predicted_ND is not None and out.text_predicted_ND is not None and out.text_ND is not None
    usable_N, group_N = out.has_text_N, torch.arange(_N)
    return (
        cross_modal_cpc(out.audio_predicted_ND, out.audio_ND, usable_N, group_N, temperature=0.2),
        cross_modal_cpc(out.text_predicted_ND, out.text_ND, usable_N, group_N, temperature=0.2),
    )


def trained(cpc: Literal["cross_modal", "fused"]) -> Network:
    torch.manual_seed(0)
    model = ModelConfig(
        audio="light", text="light", freeze_audio="all", width=_WIDTH, heads=2, feed_forward=24, dropout=0.0
    )
    network = Network(model, n_classes=2, vocab_size=10, loss=LossConfig(cpc=cpc))
    optimizer, generator = torch.optim.Adam(network.parameters(), lr=0.01), torch.Generator().manual_seed(1)
    for _ in range(60):
        optimizer.zero_grad()
        sum(audio_and_text_term(network, *utterances(generator))).backward()
        optimizer.step()
    return network


@pytest.mark.parametrize("cpc", ["cross_modal", "fused"])
def test_with_another_utterances_text_only_a_term_without_a_leak_rises_to_chance(
    cpc: Literal["cross_modal", "fused"],
) -> None:
    with torch.random.fork_rng():
        network = trained(cpc)
    frames_NJD, tokens_NMD = utterances(torch.Generator().manual_seed(2))
    with torch.no_grad():
        own = audio_and_text_term(network, frames_NJD, tokens_NMD)[0].item()
        others = audio_and_text_term(network, frames_NJD, tokens_NMD.roll(1, dims=0))[0].item()
    assert own < 0.5 * _CHANCE
    if cpc == "cross_modal":
        assert others > _CHANCE
    else:
        assert others < 0.75 * _CHANCE
