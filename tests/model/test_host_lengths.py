"""Lengths that the host works out for itself are those that the device has."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from raysys.config import LossConfig, ModelConfig
from raysys.data.view import HostLengths
from raysys.model.encoders import build_audio_encoder
from raysys.model.network import Network, stack_views
from tests.model.test_network import NAMES, TOKENIZER, make_batch
from tests.model.test_spectrogram import write_ast, write_w2v_bert
from tests.model.test_whisper import write as write_whisper

torch.set_num_threads(1)

CPU = torch.device("cpu")
LENGTHS = (16_000, 1, 399, 400, 559, 560, 721, 4_321, 15_999)
FOLDERS: dict[str, Any] = {"whisper": write_whisper, "w2v-bert": write_w2v_bert, "ast": write_ast}


def audio_encoder(name: str, folder: Path) -> torch.nn.Module:
    torch.manual_seed(0)
    name = str(FOLDERS[name](folder)) if name in FOLDERS else name
    return build_audio_encoder(ModelConfig(audio=name, width=16, heads=4, freeze_audio="none")).eval()


@pytest.mark.parametrize("name", ["light", "tiny", *FOLDERS])
@torch.no_grad()
def test_every_encoder_counts_its_frames_on_the_host(name: str, tmp_path: Path) -> None:
    encoder = audio_encoder(name, tmp_path)
    lengths = (490_000, *LENGTHS) if name == "whisper" else LENGTHS
    lengths_B = torch.tensor(lengths)
    waveforms_BS = 0.1 * torch.randn(len(lengths), max(lengths)) * (torch.arange(max(lengths)) < lengths_B[:, None])
    heard, asked = encoder(waveforms_BS, lengths_B, lengths_B), encoder(waveforms_BS, lengths_B)
    assert heard.frames_host_B.tolist() == heard.valid_BJ.sum(dim=1).tolist()
    assert torch.equal(heard.frames_BJD, asked.frames_BJD) and torch.equal(heard.valid_BJ, asked.valid_BJ)


@pytest.mark.parametrize("modalities", ["both", "audio", "text"])
@pytest.mark.parametrize("pool", [1, 3])
def test_the_fused_sequence_is_as_long_as_its_longest_row(
    modalities: Literal["both", "audio", "text"], pool: int
) -> None:
    """Of two views, with rows of which some have no text; and the values are those of a network that asks."""
    torch.manual_seed(0)
    config = ModelConfig(audio="light", text="light", width=16, heads=4, feed_forward=24, pool_frames=pool)
    network = Network(config, n_classes=3, vocab_size=len(TOKENIZER), loss=LossConfig(), modalities=modalities).eval()
    batch = make_batch(NAMES, modalities)
    given: list[tuple[Any, ...]] = []
    found: list[tuple[Tensor, Tensor]] = []
    network.fusion.register_forward_pre_hook(lambda module, inputs: given.append(inputs))
    network.fusion.register_forward_hook(lambda module, inputs, output: found.append(output))
    views = batch.views
    with torch.no_grad():
        asked = network(views)
        told = network(tuple(view.to(CPU) for view in views))
    _, frames_valid_NJ, _, tokens_valid_NM, host_lengths = given[1]
    assert [n.tolist() for n in host_lengths] == [v.sum(dim=1).tolist() for v in (frames_valid_NJ, tokens_valid_NM)]
    (expected_NUD, expected_NU), (fused_NUD, valid_NU) = found
    assert torch.equal(fused_NUD, expected_NUD) and torch.equal(valid_NU, expected_NU)
    assert torch.equal(told.logits_NC, asked.logits_NC)


def test_a_moved_view_keeps_its_lengths_on_the_host_and_views_keep_them_together() -> None:
    views = tuple(view.to(CPU) for view in make_batch(NAMES).views)
    assert all(view.host is not None for view in views)
    stacked = stack_views(views)
    assert stacked.host is not None
    expected = HostLengths.of(stacked)
    for name in ("lengths_B", "tokens_B", "has_text_B"):
        assert getattr(stacked.host, name).tolist() == getattr(expected, name).tolist()
    assert views[0].to(CPU).host is views[0].host
