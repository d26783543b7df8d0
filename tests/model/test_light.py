"""The light audio encoder: padding has no effect, short input works, every parameter learns."""

import pytest
import torch

from raysys.model.fast import speed_up_dropout
from raysys.model.light import LightAudioEncoder


def make_encoder() -> LightAudioEncoder:
    torch.manual_seed(0)
    return LightAudioEncoder()


@pytest.mark.parametrize("length_samples", [399, 400, 401, 4_000, 8_077, 16_123])
def test_frames_do_not_depend_on_the_batch(length_samples: int) -> None:
    encoder = make_encoder().eval()
    generator = torch.Generator().manual_seed(1)
    waveform_S = torch.randn(length_samples, generator=generator) * 0.1
    lengths_B = torch.tensor([length_samples, 10 * length_samples])
    batch_BS = torch.zeros(2, 10 * length_samples)
    batch_BS[0, :length_samples] = waveform_S
    batch_BS[1] = torch.randn(10 * length_samples, generator=generator)
    with torch.no_grad():
        alone_BJD, alone_BJ, *_ = encoder(waveform_S[None], lengths_B[:1])
        beside_BJD, beside_BJ, *_ = encoder(batch_BS, lengths_B)
    n_frames = int(alone_BJ.sum())
    assert n_frames == int(beside_BJ[0].sum()) >= 1
    assert bool(alone_BJ[0, :n_frames].all())
    assert bool(beside_BJ[0, :n_frames].all())
    torch.testing.assert_close(alone_BJD[0, :n_frames], beside_BJD[0, :n_frames], atol=1e-4, rtol=0.0)


def test_padding_content_is_ignored() -> None:
    encoder = make_encoder().eval()
    waveforms_BS = torch.randn(1, 9_000) * 0.1
    dirty_BS = torch.cat([waveforms_BS, torch.randn(1, 5_000)], dim=1)
    lengths_B = torch.tensor([9_000])
    with torch.no_grad():
        clean_BJD, clean_BJ, *_ = encoder(waveforms_BS, lengths_B)
        frames_BJD, valid_BJ, *_ = encoder(dirty_BS, lengths_B)
    assert int(valid_BJ.sum()) == int(clean_BJ.sum())
    torch.testing.assert_close(frames_BJD[valid_BJ], clean_BJD[clean_BJ], atol=1e-4, rtol=0.0)


@pytest.mark.parametrize("scale", [0.0, 0.1])
def test_ten_samples_make_a_finite_frame(scale: float) -> None:
    encoder = make_encoder().eval()
    frames_BJD, valid_BJ, *_ = encoder(torch.randn(1, 10) * scale, torch.tensor([10]))
    assert frames_BJD.shape == (1, 1, encoder.width)
    assert frames_BJD.dtype == torch.float32
    assert valid_BJ.tolist() == [[True]]
    assert bool(frames_BJD.isfinite().all())


def test_silence_has_finite_gradients() -> None:
    encoder = make_encoder().train()
    frames_BJD, *_ = encoder(torch.zeros(2, 8_000), torch.tensor([8_000, 5_000]))
    frames_BJD.square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), name


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="heads"):
        LightAudioEncoder(width=30, n_heads=4)
    with pytest.raises(ValueError, match="strides"):
        LightAudioEncoder(channels=(8, 8), strides=((2, 2),))


@pytest.mark.parametrize("training", [True, False])
def test_its_layer_is_pytorchs_to_the_bit(training: bool) -> None:
    torch.manual_seed(0)
    (ours,) = LightAudioEncoder(width=32).train(training).layers
    theirs = torch.nn.TransformerEncoderLayer(32, 4, 64, 0.2, "gelu", batch_first=True, norm_first=True)
    speed_up_dropout(theirs)
    theirs.load_state_dict(ours.state_dict())
    theirs.train(training)
    padding_BJ = torch.arange(40) >= torch.tensor([40, 13, 1])[:, None]
    given_BJD = torch.randn(3, 40, 32)
    found = []
    for layer in (ours, theirs):
        frames_BJD = given_BJD.clone().requires_grad_()
        torch.manual_seed(1)
        out_BJD = layer(frames_BJD, src_key_padding_mask=padding_BJ)
        out_BJD.square().sum().backward()
        assert frames_BJD.grad is not None
        found.append([out_BJD, frames_BJD.grad, *(p.grad for p in layer.parameters())])
    assert all(torch.equal(mine, reference) for mine, reference in zip(*found, strict=True))
