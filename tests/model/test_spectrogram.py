"""w2v-BERT 2.0 and AST: transformers' own spectrograms and states, independence of the batch, parts, bad folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import layer_norm
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    ASTModel,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertConfig,
    Wav2Vec2BertForSequenceClassification,
    Wav2Vec2BertModel,
    Wav2Vec2FeatureExtractor,
)

from raysys.config import ModelConfig
from raysys.errors import EncoderError
from raysys.model.ast import AstEncoder
from raysys.model.encoders import PretrainedAudio, build_audio_encoder
from raysys.model.probe import probe_audio
from raysys.model.w2v_bert import W2vBertEncoder

torch.set_num_threads(1)
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    # Larger than a real one's: with tiny weights every state would be about the same.
    "initializer_range": 0.2,
}
GRID = 100
"""Frames of the little AST: 9 patches, 0.9 s."""
LENGTHS = (16_000, 1, 4_321, 560, 15_999, 719)
LONG = (40_000, 16_123, 15_000)
FAMILIES = ("w2v-bert", "ast")


def speech(lengths: tuple[int, ...] = LENGTHS) -> tuple[Tensor, Tensor]:
    """Harmonics and noise, every other half second nearly silent: bands with very different power."""
    time_S = torch.arange(max(lengths)) / 16_000
    generator = torch.Generator().manual_seed(1)
    rows = []
    for row, length in enumerate(lengths):
        voice_S = sum(torch.sin(2 * torch.pi * (90 + 20 * row) * n * time_S) / n for n in range(1, 20))
        noise_S = 0.05 * torch.randn(len(time_S), generator=generator)
        loud_S = torch.where(((time_S * 2).int() + row) % 2 == 0, 1.0, 0.01)
        rows.append((0.1 * voice_S + noise_S) * loud_S * (torch.arange(len(time_S)) < length))
    return torch.stack(rows), torch.tensor(lengths)


def with_silence(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Zeros within the utterance, where every band is at the floor."""
    batch[0][:, 2_000:4_000] = 0
    return batch


def write_w2v_bert(folder: Path, *, kind: Any = Wav2Vec2BertModel, **more: Any) -> Path:
    torch.manual_seed(0)
    kind(Wav2Vec2BertConfig(**(SIZES | more))).save_pretrained(folder)
    # As on the Hub: padding is 1, and the attention mask leaves it out.
    SeamlessM4TFeatureExtractor(padding_value=1.0).save_pretrained(folder)
    return folder


def write_ast(folder: Path, *, kind: Any = ASTModel, **more: Any) -> Path:
    torch.manual_seed(0)
    model = kind(ASTConfig(**(SIZES | {"max_length": GRID} | more)))
    with torch.no_grad():
        # They are drawn as zeros.
        for name, parameter in model.named_parameters():
            if "token" in name or "position_embeddings" in name:
                parameter.normal_()
    model.save_pretrained(folder)
    ASTFeatureExtractor(max_length=GRID).save_pretrained(folder)
    return folder


WRITE = {"w2v-bert": write_w2v_bert, "ast": write_ast}


def build(folder: Path, **more: Any) -> PretrainedAudio:
    encoder = build_audio_encoder(ModelConfig(audio=str(folder), **({"freeze_audio": "none"} | more)))
    assert isinstance(encoder, W2vBertEncoder | AstEncoder)
    return encoder.eval()


def close(mine: Tensor, expected: Tensor) -> None:
    assert mine.shape == expected.shape
    assert (mine - expected).abs().max() < 1e-4 * expected.abs().max()


# The spectrogram


@pytest.mark.parametrize("length", [720, 16_000, 15_999, 16_123])
def test_w2v_bert_reads_what_transformers_prepares(tmp_path: Path, length: int) -> None:
    encoder = build(write_w2v_bert(tmp_path))
    assert isinstance(encoder, W2vBertEncoder)
    waveforms_BS, lengths_B = with_silence(speech((length, 20_000)))
    read_BJE, valid_BJ = encoder.log_mel(waveforms_BS, lengths_B)
    extractor = SeamlessM4TFeatureExtractor.from_pretrained(tmp_path)
    prepared = extractor(waveforms_BS[0, :length].numpy(), sampling_rate=16_000, return_tensors="pt")
    expected_JE = prepared["input_features"][0][prepared["attention_mask"][0].bool()]
    torch.testing.assert_close(read_BJE[0][valid_BJ[0]], expected_JE, atol=1e-4, rtol=0)
    assert not read_BJE[0][~valid_BJ[0]].any()


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("length", [400, 8_000, 15_999])
def test_ast_reads_what_transformers_prepares(tmp_path: Path, length: int, normalised: bool) -> None:
    write_ast(tmp_path)
    extractor = ASTFeatureExtractor(max_length=GRID, do_normalize=normalised)
    extractor.save_pretrained(tmp_path)
    encoder = build(tmp_path)
    assert isinstance(encoder, AstEncoder)
    waveforms_BS, lengths_B = with_silence(speech((length, 15_000)))
    windows_BWGF, _ = encoder.log_mel(waveforms_BS, lengths_B)
    expected_GF = extractor(waveforms_BS[0, :length].numpy(), sampling_rate=16_000, return_tensors="pt")["input_values"]
    torch.testing.assert_close(windows_BWGF[0, :1], expected_GF, atol=1e-4, rtol=0)


def test_a_long_utterance_continues_where_the_patches_of_a_window_end(tmp_path: Path) -> None:
    """9 patches of 16 frames at a distance of 10: the second window begins with frame 90 of 248, the third with 180."""
    encoder = build(write_ast(tmp_path))
    assert isinstance(encoder, AstEncoder)
    waveforms_BS, lengths_B = speech((40_000,))
    windows_BWGF, needed_B = encoder.log_mel(waveforms_BS, lengths_B)
    mel_BTF, frames_B = encoder.mel(waveforms_BS, lengths_B)
    scaled_TF = (mel_BTF[0] + 4.2677393) / (2 * 4.5689974)
    assert frames_B.tolist() == [248] and windows_BWGF.shape[1] == 3
    # 1 + (248 - 16) / 10, rounded up: the last begins at frame 240.
    assert needed_B.tolist() == [25]
    for window_GF, begin in zip(windows_BWGF[0], (0, 90, 180), strict=True):
        torch.testing.assert_close(window_GF[: 248 - begin], scaled_TF[begin : begin + 100], atol=1e-6, rtol=0)
    assert windows_BWGF[0, 2, 68:].unique().numel() == 1


# States


def reference_states(family: str, folder: Path, waveform_S: np.ndarray) -> list[Tensor]:
    """All states of one utterance as transformers computes them from its own features: J x D each."""
    if family == "w2v-bert":
        prepared = SeamlessM4TFeatureExtractor.from_pretrained(folder)(
            waveform_S, sampling_rate=16_000, return_tensors="pt"
        )
        model = Wav2Vec2BertModel.from_pretrained(folder).eval()
        with torch.inference_mode():
            output = model(**prepared, output_hidden_states=True)
        return [state[0][prepared["attention_mask"][0].bool()] for state in output.hidden_states]
    prepared = ASTFeatureExtractor.from_pretrained(folder)(waveform_S, sampling_rate=16_000, return_tensors="pt")
    model = ASTModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        output = model(**prepared, output_hidden_states=True)
    states = [*output.hidden_states[:-1], output.last_hidden_state]
    # Two class tokens, then 12 bands of 9 patches.
    return [state[0, 2:].reshape(12, 9, -1).mean(dim=0) for state in states]


@pytest.mark.parametrize(
    ("family", "length", "frames"),
    [("w2v-bert", 16_000, 49), ("w2v-bert", 16_123, 49), ("w2v-bert", 880, 2), ("ast", 15_000, 9), ("ast", 4_321, 2)],
)
def test_the_states_of_one_utterance_are_those_of_transformers(
    tmp_path: Path, family: str, length: int, frames: int
) -> None:
    folder = WRITE[family](tmp_path)
    waveforms_BS, lengths_B = speech((length,))
    expected = [state[:frames] for state in reference_states(family, folder, waveforms_BS[0].numpy())]
    assert len(expected) == 4 and len(expected[0]) == frames
    with torch.inference_mode():
        last = build(folder)(waveforms_BS, lengths_B)
        every = build(folder, layer="weighted_sum")(waveforms_BS, lengths_B)
    close(last.frames_BJD[0], expected[-1])
    close(every.frames_BJD[0], torch.cat([layer_norm(state, state.shape[-1:]) for state in expected], dim=-1))
    assert last.valid_BJ.all() and every.valid_BJ.all()


@pytest.mark.parametrize("positions", ["relative_key", "relative", "rotary"])
def test_w2v_berts_kinds_of_positions_are_those_of_transformers(tmp_path: Path, positions: str) -> None:
    folder = write_w2v_bert(tmp_path, position_embeddings_type=positions)
    waveforms_BS, lengths_B = speech((8_000, 16_123))
    heard = build(folder)(waveforms_BS, lengths_B)
    for row, length in enumerate(lengths_B.tolist()):
        expected = reference_states("w2v-bert", folder, waveforms_BS[row, :length].numpy())
        close(heard.frames_BJD[row][heard.valid_BJ[row]], expected[-1])


@pytest.mark.parametrize("layer", ["last", "cnn", "weighted_sum"])
@pytest.mark.parametrize("lengths", [LENGTHS, LONG])
@pytest.mark.parametrize("family", FAMILIES)
def test_frames_do_not_depend_on_the_batch(tmp_path: Path, family: str, lengths: tuple[int, ...], layer: str) -> None:
    encoder = build(WRITE[family](tmp_path), layer=layer)
    waveforms_BS, lengths_B = speech(lengths)
    # Whatever follows an utterance in its row is not read.
    waveforms_BS = torch.nn.functional.pad(waveforms_BS, (0, 7_000)) + 0.3 * (
        torch.arange(waveforms_BS.shape[1] + 7_000) >= lengths_B[:, None]
    )
    with torch.inference_mode():
        together = encoder(waveforms_BS, lengths_B)
        for row, length in enumerate(lengths):
            alone = encoder(waveforms_BS[row : row + 1, :length], lengths_B[row : row + 1])
            frames = max((max(length, 560) - 400) // 160 + 1, 2) // 2
            if family == "ast":
                frames = -(-max((max(length, 400) - 400) // 160 + 1 - 16, 0) // 10) + 1
            for mine, expected in ((together.frames_BJD, alone.frames_BJD), (together.latents_BJL, alone.latents_BJL)):
                close(mine[row][together.valid_BJ[row]], expected[0][alone.valid_BJ[0]])
                assert int(together.valid_BJ[row].sum()) == frames


# Training


@pytest.mark.parametrize("layer", ["last", "cnn", "weighted_sum"])
@pytest.mark.parametrize("freeze", ["none", "cnn", "all"])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_trained_gets_a_gradient_and_nothing_else_does(
    tmp_path: Path, family: str, freeze: str, layer: str
) -> None:
    encoder = build(WRITE[family](tmp_path), freeze_audio=freeze, layer=layer).train()
    heard = encoder(*speech(LONG))
    if heard.frames_BJD.requires_grad:
        heard.frames_BJD[heard.valid_BJ].square().mean().backward()
    front = {"w2v-bert": "feature_projection", "ast": "patch_embeddings"}[family]
    by_name = dict(encoder.named_parameters())
    for name, parameter in by_name.items():
        assert (parameter.grad is not None) == parameter.requires_grad, name
        assert parameter.grad is None or parameter.grad.isfinite().all(), name
        assert not (front in name and freeze != "none" and parameter.requires_grad), name
    trained = {name for name, parameter in by_name.items() if parameter.requires_grad}
    assert bool(trained) == (freeze == "none" or (freeze == "cnn" and layer != "cnn"))


def test_time_masks_are_drawn_from_torchs_generator_and_not_in_evaluation(tmp_path: Path) -> None:
    encoder = build(write_w2v_bert(tmp_path, mask_time_prob=0.5)).train()
    batch = speech((16_000,))

    def frames(seed: int) -> tuple[Tensor, Tensor]:
        np.random.seed(seed + 9)
        torch.manual_seed(seed)
        heard = encoder(*batch)
        return heard.frames_BJD, heard.latents_BJL

    one, again, other = frames(0), frames(0), frames(1)
    assert torch.equal(one[0], again[0]) and not torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1]), "latents are those before the mask"
    encoder.eval()
    assert torch.equal(frames(0)[0], frames(1)[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_spectrogram_stays_in_float32_under_autocast(tmp_path: Path, family: str) -> None:
    encoder = build(WRITE[family](tmp_path))
    assert isinstance(encoder, W2vBertEncoder | AstEncoder)
    batch = speech((8_000,))
    plain, _ = encoder.log_mel(*batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast, _ = encoder.log_mel(*batch)
    assert torch.equal(plain, cast)


# Folders


@pytest.mark.parametrize(
    ("family", "kind"), [("w2v-bert", Wav2Vec2BertForSequenceClassification), ("ast", ASTForAudioClassification)]
)
def test_a_checkpoint_with_a_head_loads(tmp_path: Path, family: str, kind: Any) -> None:
    folder = WRITE[family](tmp_path, kind=kind)
    encoder = build(folder)
    assert encoder.drawn == ()
    state = kind.from_pretrained(folder).base_model.state_dict()
    for name, weight in encoder.model.state_dict().items():
        assert torch.equal(weight, state[name]), name


@pytest.mark.parametrize("layer", ["last", "cnn", "weighted_sum"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_that_trains_is_not_remarked_on(tmp_path: Path, family: str, layer: Any) -> None:
    assert probe_audio(ModelConfig(audio=str(WRITE[family](tmp_path)), layer=layer, freeze_audio="none")) == []


def test_an_adapter_is_refused(tmp_path: Path) -> None:
    folder = write_w2v_bert(tmp_path, add_adapter=True)
    with pytest.raises(EncoderError, match=r"^--model\.audio .*sets add_adapter, whose frames are fewer"):
        probe_audio(ModelConfig(audio=str(folder)))


@pytest.mark.parametrize(
    ("family", "extractor", "said"),
    [
        ("w2v-bert", None, r"preprocessor_config\.json, which says how to prepare waveforms, cannot be read"),
        ("ast", None, r"preprocessor_config\.json, which says how to prepare waveforms, cannot be read"),
        (
            "w2v-bert",
            SeamlessM4TFeatureExtractor(num_mel_bins=64, feature_size=64),
            r"has 64 mel bands \(num_mel_bins\) in steps of 2 \(stride\), but the model reads 160 values at a time",
        ),
        ("w2v-bert", SeamlessM4TFeatureExtractor(stride=1), r"80 mel bands .* steps of 1 \(stride\), but"),
        ("w2v-bert", ASTFeatureExtractor(), r"is that of ASTFeatureExtractor, expected SeamlessM4TFeatureExtractor"),
        ("w2v-bert", SeamlessM4TFeatureExtractor(sampling_rate=8_000), r"sampling_rate of 8000"),
        ("ast", ASTFeatureExtractor(num_mel_bins=64, max_length=GRID), r"has 64 mel bands .*but the model reads 128"),
        ("ast", ASTFeatureExtractor(), r"has spectrograms of 1024 frames \(max_length\), but the model reads 100"),
        ("ast", ASTFeatureExtractor(max_length=GRID, std=0.0), r"has std 0\.0, expected a positive number"),
        ("ast", ASTFeatureExtractor(max_length=GRID, mean=None), r"has mean None, expected a number"),
        ("ast", Wav2Vec2FeatureExtractor(), r"is that of Wav2Vec2FeatureExtractor, expected ASTFeatureExtractor"),
    ],
)
def test_a_preprocessor_of_another_model_is_refused(tmp_path: Path, family: str, extractor: Any, said: str) -> None:
    folder = WRITE[family](tmp_path)
    (folder / "preprocessor_config.json").unlink()
    if extractor is not None:
        extractor.save_pretrained(folder)
    with pytest.raises(EncoderError, match=rf"^--model\.audio {folder}: .*{said}"):
        probe_audio(ModelConfig(audio=str(folder)))


@pytest.mark.parametrize("bands", [10**9, 0, "80"])
def test_sizes_of_a_preprocessor_are_checked_before_filters_are_computed(tmp_path: Path, bands: object) -> None:
    """A folder from elsewhere: 2 TB of filters."""
    folder = write_w2v_bert(tmp_path)
    path = folder / "preprocessor_config.json"
    shown = f'"{bands}"' if isinstance(bands, str) else bands
    path.write_text(path.read_text().replace('"num_mel_bins": 80', f'"num_mel_bins": {shown}'))
    with pytest.raises(EncoderError, match=rf"num_mel_bins is {bands}, expected a whole number from 1 to 1024"):
        build(folder)
