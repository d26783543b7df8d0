"""WaveformEncoder: features do not depend on the batch and match transformers' model."""

from __future__ import annotations

import copy
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import (
    Data2VecAudioConfig,
    Data2VecAudioModel,
    HubertConfig,
    HubertModel,
    PreTrainedModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
)
from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices

from raysys.model import audio
from raysys.model.audio import WaveformEncoder, normalise_waveforms, padding_moves, samples_of, shape_step
from raysys.model.group_norm import MaskedGroupNorm
from raysys.model.spans import n_spans, span_mask
from raysys.model.states import WeightedSum
from tests.model.encoder_folders import SIZES

torch.set_num_threads(1)

FAMILIES = {
    "wav2vec2": (Wav2Vec2Config, Wav2Vec2Model),
    "hubert": (HubertConfig, HubertModel),
    "wavlm": (WavLMConfig, WavLMModel),
}


def tiny(family: str, **overrides: object) -> PreTrainedModel:
    config, model = FAMILIES[family]
    sizes: dict[str, object] = SIZES | {"feat_extract_norm": "group"}
    torch.manual_seed(0)
    built: PreTrainedModel = model(config(**(sizes | overrides)))
    group_norm = built.feature_extractor.conv_layers[0].layer_norm
    nn.init.normal_(group_norm.bias)  # Initially zero, which would hide its effect on padding.
    return built.eval()


def speech(n_samples: int, seed: int = 0) -> Tensor:
    """Noise with an offset, so that normalisation has an effect."""
    return 0.1 * torch.randn(n_samples, generator=torch.Generator().manual_seed(seed)) + 0.03


def beside(waveform_S: Tensor, other_S: Tensor) -> tuple[Tensor, Tensor]:
    rows = nn.utils.rnn.pad_sequence([waveform_S, other_S], batch_first=True)
    return rows, torch.tensor([len(waveform_S), len(other_S)])


def assert_the_batch_does_not_matter(encoder: WaveformEncoder, *, atol: float = 1e-4, rtol: float = 1e-4) -> None:
    """Two thousand samples alone and batched with ten times as many."""
    alone = encoder(speech(2_000)[None], torch.tensor([2_000]))
    both = encoder(*beside(speech(2_000), speech(20_000, 1)))
    assert both.valid_BJ.sum(dim=1).tolist() == [6, 62]
    for alone_1JX, both_2JX in ((alone.frames_BJD, both.frames_BJD), (alone.latents_BJL, both.latents_BJL)):
        torch.testing.assert_close(both_2JX[0, :6], alone_1JX[0], atol=atol, rtol=rtol)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("n_samples", [10, 400, 1_999, 5_000])
def test_frames_do_not_depend_on_the_batch(family: str, n_samples: int) -> None:
    encoder = WaveformEncoder(tiny(family), normalise=True, freeze="none").eval()
    waveform_S = speech(n_samples)
    with torch.no_grad():
        alone_1JD, alone_1J, *_ = encoder(waveform_S[None], torch.tensor([n_samples]))
        both_2JD, both_2J, *_ = encoder(*beside(waveform_S, speech(max(10 * n_samples, 4_000), 1)))
    assert bool(alone_1J.all())
    assert int(both_2J[0].sum()) == alone_1J.shape[1]
    found_JD = both_2JD[0, both_2J[0]]
    torch.testing.assert_close(found_JD, alone_1JD[0], atol=1e-4, rtol=0.0)


@pytest.mark.parametrize("family", FAMILIES)
def test_shapes_of_a_gpu_change_no_frame(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shape_step(torch.device("cpu")) == 1 and shape_step(torch.device("cuda", 0)) == 8_000
    encoder = WaveformEncoder(tiny(family), normalise=True, freeze="none").eval()
    rows_BS, lengths_B = beside(speech(3_000), speech(9_500, 1))
    with torch.no_grad():
        expected = encoder(rows_BS, lengths_B)
        monkeypatch.setattr(audio, "shape_step", lambda _: 8_000)
        found = encoder(rows_BS, lengths_B)
    assert found.latents_BJL.shape[1] == (16_000 - 400) // 320 + 1
    assert torch.equal(found.valid_BJ.sum(1), expected.valid_BJ.sum(1))
    torch.testing.assert_close(
        found.frames_BJD[found.valid_BJ], expected.frames_BJD[expected.valid_BJ], atol=1e-4, rtol=0.0
    )


def test_the_group_norm_fix_is_needed() -> None:
    """The plain model fails where the encoder passes; if that ever changes, drop MaskedGroupNorm."""
    model = tiny("wav2vec2")
    waveforms_BS, lengths_B = beside(speech(2_000), speech(20_000, 1))
    mask_BS = torch.arange(20_000) < lengths_B[:, None]
    with torch.no_grad():
        alone_JD = model(waveforms_BS[:1, :2_000]).last_hidden_state[0]
        beside_JD = model(waveforms_BS, attention_mask=mask_BS.long()).last_hidden_state[0]
    assert float((alone_JD - beside_JD[: len(alone_JD)]).abs().max()) > 1e-2


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("normalise", [True, False])
def test_unpadded_output_is_that_of_transformers(family: str, normalise: bool) -> None:
    plain = tiny(family)
    encoder = WaveformEncoder(copy.deepcopy(plain), normalise=normalise, freeze="none").eval()
    waveform_S = speech(6_000)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=normalise)
    inputs = extractor(waveform_S.numpy(), sampling_rate=16_000, return_tensors="pt").input_values
    with torch.no_grad():
        expected_1JD = plain(inputs).last_hidden_state
        found_1JD, valid_1J, *_ = encoder(waveform_S[None], torch.tensor([6_000]))
    assert bool(valid_1J.all())
    torch.testing.assert_close(found_1JD, expected_1JD, atol=1e-5, rtol=1e-5)


def test_layer_norm_models_do_not_depend_on_the_batch() -> None:
    """wav2vec2-large normalises each frame separately and needs no fix."""
    model = tiny("wav2vec2", feat_extract_norm="layer", do_stable_layer_norm=True)
    assert_the_batch_does_not_matter(WaveformEncoder(model, normalise=True, freeze="none").eval(), rtol=0.0)


def test_ten_samples_are_one_frame_of_the_utterance_and_zeros() -> None:
    plain = tiny("wav2vec2")
    encoder = WaveformEncoder(copy.deepcopy(plain), normalise=True, freeze="none").eval()
    waveform_S = speech(10)
    unit_S = (waveform_S - waveform_S.mean()) / waveform_S.std(correction=0)
    with torch.no_grad():
        found_11D, valid_11, *_ = encoder(waveform_S[None], torch.tensor([10]))
        expected_11D = plain(nn.functional.pad(unit_S, (0, 390))[None]).last_hidden_state
    assert valid_11.tolist() == [[True]]
    torch.testing.assert_close(found_11D, expected_11D, atol=1e-4, rtol=1e-4)


def test_silence_is_finite() -> None:
    encoder = WaveformEncoder(tiny("wav2vec2"), normalise=True, freeze="none").train()
    frames_BJD, *_ = encoder(torch.zeros(2, 3_000), torch.tensor([3_000, 700]))
    frames_BJD.square().sum().backward()
    assert bool(frames_BJD.isfinite().all())
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is None or bool(parameter.grad.isfinite().all()), name


@pytest.mark.parametrize("n_samples", [400, 719, 720, 1_039, 1_040, 16_000])
def test_as_many_frames_as_transformers_own(n_samples: int) -> None:
    plain = tiny("wav2vec2")
    encoder = WaveformEncoder(copy.deepcopy(plain), normalise=False, freeze="none").eval()
    with torch.no_grad():
        _, valid_BJ, *_ = encoder(*beside(speech(n_samples), speech(17_000, 1)))
        n_frames = plain(speech(n_samples)[None]).last_hidden_state.shape[1]
    assert int(valid_BJ[0].sum()) == n_frames == (n_samples - 400) // 320 + 1


def test_normalised_over_its_own_samples() -> None:
    waveforms_BS, lengths_B = beside(speech(500), speech(3_000, 1))
    mask_BS = torch.arange(3_000) < lengths_B[:, None]
    normal_BS = normalise_waveforms(waveforms_BS, mask_BS)
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True)
    for row, length in enumerate(lengths_B.tolist()):
        expected = extractor(waveforms_BS[row, :length].numpy(), sampling_rate=16_000)
        expected_S = torch.from_numpy(np.asarray(expected.input_values[0]))
        torch.testing.assert_close(normal_BS[row, :length], expected_S, atol=1e-4, rtol=1e-4)
    assert not normal_BS[~mask_BS].any()


def test_masked_group_norm_is_group_norm_where_nothing_is_padded() -> None:
    torch.manual_seed(0)
    masked, plain = MaskedGroupNorm(4, 4), nn.GroupNorm(4, 4)
    nn.init.normal_(masked.weight)
    plain.load_state_dict(masked.state_dict())
    x_BCT = torch.randn(2, 4, 9) + 3
    masked.valid_B = torch.tensor([9, 9])
    torch.testing.assert_close(masked(x_BCT), plain(x_BCT), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_frozen_convolutions_have_no_gradient(family: str) -> None:
    encoder = WaveformEncoder(tiny(family), normalise=True, freeze="cnn").train()
    encoder(speech(8_000)[None], torch.tensor([8_000])).frames_BJD.square().sum().backward()
    graded = {n for n, p in encoder.named_parameters() if p.grad is not None}
    assert graded and not [name for name in graded if "feature_extractor" in name]


def test_wholly_frozen_encoder_has_no_gradient_and_no_dropout() -> None:
    encoder = WaveformEncoder(tiny("wav2vec2"), normalise=True, freeze="all")
    assert not [n for n, p in encoder.named_parameters() if p.requires_grad]
    waveforms_BS, lengths_B = speech(8_000)[None], torch.tensor([8_000])
    expected_BJD, *_ = encoder.eval()(waveforms_BS, lengths_B)
    found_BJD, *_ = encoder.train()(waveforms_BS, lengths_B)
    assert torch.equal(found_BJD, expected_BJD)
    assert not found_BJD.requires_grad


def test_randomness_in_training_is_torchs_alone() -> None:
    """transformers draws masks and skips layers using generators that our runs do not seed."""
    model = tiny("wav2vec2", mask_feature_prob=0.5, mask_feature_length=4, layerdrop=0.5)
    encoder = WaveformEncoder(model, normalise=True, freeze="none").train()
    found = []
    for numpy_seed in range(3):
        np.random.seed(numpy_seed)
        before = np.random.get_state()[1].copy()
        torch.manual_seed(0)
        found.append(encoder(speech(16_000)[None], torch.tensor([16_000]))[0])
        assert np.array_equal(np.random.get_state()[1], before)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    assert not torch.equal(encoder(speech(16_000)[None], torch.tensor([16_000]))[0], found[0])


def test_spans_hide_valid_frames_only() -> None:
    lengths_B = torch.tensor([4, 5, 30, 200])
    torch.manual_seed(0)
    mask_BJ = span_mask(lengths_B, 200, probability=0.3, span=5, at_least=1)
    assert not mask_BJ[torch.arange(200) >= lengths_B[:, None]].any()
    assert mask_BJ.sum(dim=1)[:2].tolist() == [0, 5]
    for row in mask_BJ.int().tolist():
        runs = "".join(map(str, row)).split("0")
        assert all(len(run) == 0 or len(run) >= 5 for run in runs)


def test_spans_are_as_many_as_asked_for() -> None:
    """At least `at_least`; else probability x length / span on average, preserved by the rounding."""
    torch.manual_seed(0)
    few_BJ = span_mask(torch.full((50,), 100), 100, probability=0.0, span=10, at_least=2)
    assert int(few_BJ.sum(dim=1).min()) > 10 and int(few_BJ.sum(dim=1).max()) <= 20
    # Spans of one frame: 0.25 spans in a row of ten on average, times ten.
    many_BJ = span_mask(torch.full((2_000,), 10), 10, probability=0.025, span=1, at_least=0)
    assert float(many_BJ.sum(dim=1).float().mean()) == pytest.approx(0.25, abs=0.05)


MASKS = {"probability": 0.05, "span": 10, "at_least": 2}
"""wav2vec2-base's."""


def test_spans_are_as_many_as_transformers_draws_at_every_length(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []

    def recorded(starts: np.ndarray, n: int, replace: bool) -> np.ndarray:
        drawn.append(n)
        return starts[:n]

    monkeypatch.setattr(np.random, "choice", recorded)
    for rounding in (0.0, 0.4, 0.999):
        monkeypatch.setattr(np.random, "rand", lambda n, rounding=rounding: np.array([rounding]))
        for length in range(10, 401):
            drawn.clear()
            _compute_mask_indices((1, length), 0.05, 10, min_masks=2)
            assert drawn == [n_spans(length, rounding=rounding, **MASKS)], length  # type: ignore[arg-type]
    # transformers refuses an utterance shorter than a span; ours is left as it is.
    assert [n_spans(length, rounding=0.999, **MASKS) for length in (5, 9)] == [0, 0]  # type: ignore[arg-type]


@pytest.mark.parametrize("length", [10, 12, 15, 19, 20, 25, 40, 100, 400])
def test_as_many_frames_are_masked_as_by_transformers(length: int) -> None:
    """Also where spans overlap, and in short utterances: the mean, the fewest and the most of 1,500 draws."""
    torch.manual_seed(0)
    np.random.seed(0)
    own = span_mask(torch.full((1_500,), length), length, **MASKS).sum(dim=1).double().numpy()  # type: ignore[arg-type]
    theirs = np.array([_compute_mask_indices((1, length), 0.05, 10, min_masks=2).sum() for _ in range(1_500)])
    error = np.sqrt((own.var() + theirs.var()) / 1_500)
    assert abs(own.mean() - theirs.mean()) <= 4 * error
    assert own.max() == theirs.max() and (own.min() == theirs.min() or length == 400)


def test_a_short_utterance_is_not_hidden_by_the_spans_of_a_longer_one() -> None:
    """Its spans are those that it gets alone, whatever it is batched with."""
    torch.manual_seed(0)
    mask_BJ = span_mask(torch.tensor([15] * 200 + [400]), 400, **MASKS)  # type: ignore[arg-type]
    assert mask_BJ[:-1].sum(dim=1).tolist() == [10] * 200


def test_spans_come_from_torchs_generator() -> None:
    masks = []
    for seed in (7, 7, 8):
        torch.manual_seed(seed)
        masks.append(span_mask(torch.full((4,), 60), 60, probability=0.3, span=5, at_least=1))
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def data2vec(**overrides: object) -> PreTrainedModel:
    """An encoder that is not among those known to be safe to pad."""
    torch.manual_seed(0)
    sizes = {name: value for name, value in SIZES.items() if name != "num_conv_pos_embeddings"}
    built: PreTrainedModel = Data2VecAudioModel(
        Data2VecAudioConfig(**(sizes | {"conv_pos_kernel_size": 5} | overrides))
    )
    return built.eval()


@pytest.mark.parametrize("layer", ["cnn", "weighted_sum"])
@pytest.mark.parametrize("family", FAMILIES)
def test_other_layers_do_not_depend_on_the_batch(family: str, layer: Literal["cnn", "weighted_sum"]) -> None:
    assert_the_batch_does_not_matter(WaveformEncoder(tiny(family), normalise=True, freeze="none", layer=layer).eval())


@pytest.mark.parametrize("family", FAMILIES)
def test_weighted_sum_is_a_softmax_over_transformers_hidden_states(family: str) -> None:
    """Each brought to mean 0 and variance 1 first."""
    model = tiny(family)
    encoder = WaveformEncoder(copy.deepcopy(model), normalise=False, freeze="none", layer="weighted_sum").eval()
    logits_K = torch.tensor([0.5, -1.0, 2.0])
    weigh = WeightedSum(encoder.states)
    with torch.no_grad():
        weigh.logits.copy_(logits_K)
        states = model(speech(4_000)[None], output_hidden_states=True).hidden_states
        found = weigh(encoder(speech(4_000)[None], torch.tensor([4_000])).frames_BJD)
    scaled = [(s - s.mean(-1, keepdim=True)) / (s.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt() for s in states]
    expected = sum(w * state for w, state in zip(logits_K.softmax(0), scaled, strict=True))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_convolutions_alone_leave_out_the_transformer(family: str) -> None:
    model = tiny(family)
    encoder = WaveformEncoder(copy.deepcopy(model), normalise=False, freeze="none", layer="cnn").train()
    assert not [name for name, _ in encoder.named_parameters() if "encoder.layers" in name or "spec_embed" in name]
    heard = encoder(speech(4_000)[None], torch.tensor([4_000]))
    heard.frames_BJD.sum().backward()
    assert not [name for name, p in encoder.named_parameters() if p.grad is None]
    with torch.no_grad():
        latents = model.feature_extractor(speech(4_000)[None]).transpose(1, 2)
        projected = model.feature_projection(latents)
    torch.testing.assert_close(heard.latents_BJL, latents, atol=1e-5, rtol=1e-5)
    expected = projected[0] if isinstance(projected, tuple) else projected
    torch.testing.assert_close(encoder.eval()(speech(4_000)[None], torch.tensor([4_000])).frames_BJD, expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_probe_finds_the_fixed_encoders_safe(family: str) -> None:
    assert not padding_moves(WaveformEncoder(tiny(family), normalise=True, freeze="none"))


def test_the_probe_finds_features_that_padding_changes() -> None:
    model = tiny("wav2vec2")
    plain_norm = copy.deepcopy(model.feature_extractor.conv_layers[0].layer_norm)
    encoder = WaveformEncoder(model, normalise=True, freeze="none").eval()
    encoder.model.feature_extractor.conv_layers[0].layer_norm = plain_norm
    assert padding_moves(encoder)
    encoder.padded = False
    assert_the_batch_does_not_matter(encoder, atol=1e-6, rtol=1e-6)


def test_encoders_of_another_family_work_too() -> None:
    encoder = WaveformEncoder(data2vec(), normalise=True, freeze="none").eval()
    encoder.padded = not padding_moves(encoder)
    assert_the_batch_does_not_matter(encoder)


@pytest.mark.parametrize("family", FAMILIES)
def test_in_training_without_dropout_and_masks_the_batch_does_not_matter_either(family: str) -> None:
    still = dict.fromkeys(
        ("hidden_dropout", "activation_dropout", "attention_dropout", "feat_proj_dropout", "mask_time_prob"), 0.0
    )
    assert_the_batch_does_not_matter(WaveformEncoder(tiny(family, **still), normalise=True, freeze="none").train())


@pytest.mark.parametrize("frames", [1, 2, 3, 49, 50, 649])
def test_frames_need_so_many_samples_and_not_one_less(frames: int) -> None:
    model = Wav2Vec2Model(Wav2Vec2Config(**SIZES))
    samples = samples_of(torch.tensor([frames]), model.config)
    assert int(samples) == 400 + 320 * (frames - 1)
    count = model._get_feat_extract_output_lengths
    assert (int(count(samples)), int(count(samples - 1))) == (frames, frames - 1)
