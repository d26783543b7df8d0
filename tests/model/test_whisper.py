"""Whisper's encoder: transformers' own features at 30 s, independence of the batch, parts of checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperModel

from raysys.config import ModelConfig
from raysys.errors import EncoderError
from raysys.model.encoders import build_audio_encoder
from raysys.model.whisper import WhisperEncoder

torch.set_num_threads(1)
SMALL = {"d_model": 32, "encoder_layers": 3, "encoder_attention_heads": 2, "encoder_ffn_dim": 64, "vocab_size": 8}
SMALL |= {"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 16, "pad_token_id": 0}
SMALL |= {"bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1, "max_target_positions": 4}
LENGTHS = (16_000, 1, 4_321, 200, 15_999)


def small_config(**more: Any) -> WhisperConfig:
    return WhisperConfig(**(SMALL | {"suppress_tokens": None, "begin_suppress_tokens": None} | more))


def write(folder: Path, *, mels: int = 80, kind: Any = WhisperModel) -> Path:
    torch.manual_seed(0)
    kind(small_config(num_mel_bins=mels)).save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=mels).save_pretrained(folder)
    return folder


def build(folder: Path, **more: Any) -> WhisperEncoder:
    encoder = build_audio_encoder(ModelConfig(audio=str(folder), **({"freeze_audio": "none"} | more)))
    assert isinstance(encoder, WhisperEncoder)
    return encoder.eval()


def batch(lengths: tuple[int, ...] = LENGTHS) -> tuple[Tensor, Tensor]:
    waveforms_BS = 0.1 * torch.randn(len(lengths), max(lengths), generator=torch.Generator().manual_seed(1))
    lengths_B = torch.tensor(lengths)
    return waveforms_BS * (torch.arange(max(lengths)) < lengths_B[:, None]), lengths_B


def reference(folder: Path, waveforms: list[np.ndarray]) -> list[Tensor]:
    """All hidden states of transformers' encoder at 30 s, each K x 1500 x D."""
    model = WhisperModel.from_pretrained(folder, dtype=torch.float32).eval()
    extractor = WhisperFeatureExtractor.from_pretrained(folder)
    mel = extractor(waveforms, sampling_rate=16_000, return_tensors="pt").input_features
    with torch.inference_mode():
        states = model.encoder(mel, output_hidden_states=True).hidden_states
    return list(torch.stack(states).transpose(0, 1))


def same_as_transformers(folder: Path) -> None:
    waveforms_BS, lengths_B = batch((40_000, 16_123))
    expected = reference(folder, [w[:n].numpy() for w, n in zip(waveforms_BS, lengths_B, strict=True)])
    for layer in ("last", "weighted_sum"):
        encoder = build(folder, layer=layer)
        encoder.at_30_s = True
        with torch.inference_mode():
            heard = encoder(waveforms_BS, lengths_B)
        for frames_JE, valid_J, states_KJD in zip(heard.frames_BJD, heard.valid_BJ, expected, strict=True):
            if layer == "last":
                wanted = states_KJD[-1]
            else:
                states = [torch.nn.functional.layer_norm(s, s.shape[-1:]) for s in states_KJD]
                wanted = torch.cat(states, dim=-1)
            assert (frames_JE - wanted).abs().max() < 1e-4 * wanted.abs().max()
            assert 0 < valid_J.sum() < 200


@pytest.mark.parametrize("mels", [80, 128])
def test_at_30_s_the_states_are_those_of_transformers(tmp_path: Path, mels: int) -> None:
    same_as_transformers(write(tmp_path, mels=mels))


def test_the_real_whisper_at_30_s_gives_transformers_states(shared_data: Path) -> None:
    same_as_transformers(shared_data.parent / "models/whisper-tiny.en-encoder")


def test_the_spectrogram_at_its_own_length_is_that_of_30_s(tmp_path: Path) -> None:
    encoder = build(write(tmp_path))
    waveforms_BS, lengths_B = batch()
    mel_BFT, frames_B = encoder.log_mel(waveforms_BS, lengths_B)
    extractor = WhisperFeatureExtractor()
    for mel_FT, n, waveform_S, length in zip(mel_BFT, frames_B, waveforms_BS, lengths_B, strict=True):
        expected_FT = extractor(waveform_S[:length].numpy(), sampling_rate=16_000)["input_features"][0]
        assert n == -(-int(length) // 160)
        np.testing.assert_allclose(mel_FT[:, :n], expected_FT[:, :n], rtol=0, atol=2e-5)
        assert not mel_FT[:, n:].any()


@pytest.mark.parametrize("layer", ["last", "cnn", "weighted_sum"])
@pytest.mark.parametrize("lengths", [LENGTHS, (16_000, 480_001, 700_000)])
def test_frames_do_not_depend_on_the_batch(tmp_path: Path, layer: str, lengths: tuple[int, ...]) -> None:
    encoder = build(write(tmp_path), layer=layer)
    waveforms_BS, lengths_B = batch(lengths)
    with torch.inference_mode():
        together = encoder(waveforms_BS, lengths_B)
        for row, length in enumerate(lengths):
            alone = encoder(waveforms_BS[row : row + 1, :length], lengths_B[row : row + 1])
            mine_JE = together.frames_BJD[row][together.valid_BJ[row]]
            expected_JE = alone.frames_BJD[0][alone.valid_BJ[0]]
            assert mine_JE.shape == expected_JE.shape and len(mine_JE) == (-(-length // 160) - 1) // 2 + 1
            assert (mine_JE - expected_JE).abs().max() < 1e-4 * expected_JE.abs().max()


def test_training_a_padded_batch_gives_finite_gradients_everywhere(tmp_path: Path) -> None:
    encoder = build(write(tmp_path)).train()
    heard = encoder(*batch((480_000 + 320, 400)))
    heard.frames_BJD[heard.valid_BJ].square().mean().backward()
    for name, parameter in encoder.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        else:
            assert "embed_positions" in name


@pytest.mark.parametrize("kind", [WhisperModel, WhisperForConditionalGeneration])
def test_only_the_encoder_of_a_full_checkpoint_is_loaded(tmp_path: Path, kind: Any) -> None:
    folder = write(tmp_path, kind=kind)
    encoder = build(folder)
    assert not [name for name, _ in encoder.named_parameters() if "decoder" in name]
    whole = kind.from_pretrained(folder)
    state = (whole.model if hasattr(whole, "model") else whole).encoder.state_dict()
    for name, weight in encoder.model.state_dict().items():
        assert torch.equal(weight, state[name]), name


def test_a_folder_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "a")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(EncoderError, match=r"preprocessor_config\.json, which says how to prepare waveforms"):
        build(folder)
    WhisperFeatureExtractor(feature_size=128).save_pretrained(folder)
    with pytest.raises(EncoderError, match=r"128 mel bands \(feature_size\), but the model reads 80"):
        build(folder)
    WhisperFeatureExtractor(sampling_rate=8_000).save_pretrained(folder)
    with pytest.raises(EncoderError, match=r"sampling_rate of 8000"):
        build(folder)


@pytest.mark.parametrize("freeze", ["none", "cnn", "all"])
def test_frozen_parts_are_not_trained(tmp_path: Path, freeze: str) -> None:
    encoder = build(write(tmp_path), freeze_audio=freeze)
    trained = {name.split(".")[1] for name, p in encoder.named_parameters() if p.requires_grad}
    expected = {"none": {"conv1", "conv2", "layers", "layer_norm"}, "cnn": {"layers", "layer_norm"}, "all": set()}
    assert trained == expected[freeze]
