"""wav2vec 2.0 and its kin as an audio encoder: waveforms to frames and their mask."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from raysys.errors import EncoderError

_RECEPTIVE_FIELD = 400
"""Samples of one frame (25 ms); shorter waveforms are padded with zeros to it."""


class MaskedGroupNorm(nn.GroupNorm):
    """Group norm over time that sees valid frames only.

    wav2vec2-base normalises every channel over time in its first convolution, so that zero padding changes all that
    comes after. Mean and variance over the valid frames alone make an utterance's features independent of the batch.
    Set `valid_B` (valid frames of each row) before the forward pass. Computed in float32.
    """

    valid_B: Tensor | None = None

    def forward(self, input: Tensor) -> Tensor:
        assert self.valid_B is not None, "valid_B was not set"
        x_BCT = input.float()
        valid_B11 = self.valid_B.to(x_BCT.device)[:, None, None]
        mask_B1T = torch.arange(x_BCT.shape[-1], device=x_BCT.device) < valid_B11
        mean_BC1 = (x_BCT * mask_B1T).sum(-1, keepdim=True) / valid_B11
        centred_BCT = (x_BCT - mean_BC1) * mask_B1T
        variance_BC1 = centred_BCT.square().sum(-1, keepdim=True) / valid_B11
        scale_C1, shift_C1 = self.weight.float()[:, None], self.bias.float()[:, None]
        normal_BCT = centred_BCT * (variance_BC1 + self.eps).rsqrt() * scale_C1 + shift_C1
        return (normal_BCT * mask_B1T).to(input.dtype)


class WaveformEncoder(nn.Module):
    """A transformers audio model that reads raw waveforms (Wav2Vec2Model, HubertModel, WavLMModel, ...).

    Args:
        model: with its weights.
        normalise: bring every waveform to zero mean and unit variance over its own samples, as the model's
            preprocessor configuration says.
        freeze: parts that are not trained.
    """

    def __init__(self, model: PreTrainedModel, *, normalise: bool, freeze: Literal["none", "cnn", "all"]) -> None:
        super().__init__()
        config = model.config
        # A skipped layer has no gradient, which data parallelism does not forgive.
        config.layerdrop = 0.0
        # transformers would draw masks over the features from numpy's global generator.
        config.mask_feature_prob = 0.0
        self.model = model
        self.width: int = config.hidden_size
        self.normalise = normalise
        self.frozen = freeze == "all"
        self._group_norms: list[MaskedGroupNorm] = []
        if getattr(config, "feat_extract_norm", None) == "group":
            self._cure_group_norm()
        if freeze == "cnn":
            # Not model.freeze_feature_encoder(): HubertModel has none.
            model.feature_extractor._freeze_parameters()
        elif freeze == "all":
            model.requires_grad_(False)

    def _cure_group_norm(self) -> None:
        layer = self.model.feature_extractor.conv_layers[0]
        cured = MaskedGroupNorm(layer.layer_norm.num_groups, layer.layer_norm.num_channels)
        if layer.layer_norm.num_groups != layer.layer_norm.num_channels:
            raise EncoderError("The first convolution's group norm mixes channels; only one group a channel is known.")
        cured.eps = layer.layer_norm.eps
        cured.weight, cured.bias = layer.layer_norm.weight, layer.layer_norm.bias
        layer.layer_norm = cured
        self._group_norms.append(cured)

    def forward(self, waveforms_BS: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Args:
            waveforms_BS: float32, 16 kHz, zero-padded.
            lengths_B: valid samples.

        Returns: (frames_BJD, valid_BJ), one frame per 20 ms (stride 320 samples, receptive field 400).
        """
        if self.frozen:
            self.model.eval()
        if waveforms_BS.shape[1] < _RECEPTIVE_FIELD:
            waveforms_BS = F.pad(waveforms_BS, (0, _RECEPTIVE_FIELD - waveforms_BS.shape[1]))
        sample_mask_BS = torch.arange(waveforms_BS.shape[1], device=waveforms_BS.device) < lengths_B[:, None]
        if self.normalise:
            waveforms_BS = normalise_waveforms(waveforms_BS, sample_mask_BS)
        # Zeros up to the receptive field are part of a short utterance.
        heard_B = lengths_B.clamp_min(_RECEPTIVE_FIELD)
        frames_B = self.model._get_feat_extract_output_lengths(heard_B)
        for norm in self._group_norms:
            first = self.model.config
            norm.valid_B = (heard_B - first.conv_kernel[0]) // first.conv_stride[0] + 1
        heard_BS = torch.arange(waveforms_BS.shape[1], device=heard_B.device) < heard_B[:, None]
        n_frames = int(self.model._get_feat_extract_output_lengths(waveforms_BS.shape[1]))
        valid_BJ = torch.arange(n_frames, device=frames_B.device) < frames_B[:, None]
        hidden_BJD = self.model(
            waveforms_BS,
            attention_mask=heard_BS.long(),
            mask_time_indices=self._time_mask(valid_BJ),
        ).last_hidden_state
        return hidden_BJD, valid_BJ

    def _time_mask(self, valid_BJ: Tensor) -> Tensor | None:
        """SpecAugment's time masks, drawn from torch's generator (transformers would draw from numpy's)."""
        config = self.model.config
        wanted = self.training and not self.frozen and getattr(config, "apply_spec_augment", False)
        if not wanted or config.mask_time_prob == 0:
            return None
        return span_mask(
            valid_BJ.sum(dim=1).cpu(),
            valid_BJ.shape[1],
            probability=config.mask_time_prob,
            span=config.mask_time_length,
            at_least=config.mask_time_min_masks,
        ).to(valid_BJ.device)


def normalise_waveforms(waveforms_BS: Tensor, mask_BS: Tensor) -> Tensor:
    """Zero mean and unit variance of each row over its own samples; padding stays zero."""
    count_B1 = mask_BS.sum(dim=1, keepdim=True)
    mean_B1 = (waveforms_BS * mask_BS).sum(dim=1, keepdim=True) / count_B1
    centred_BS = (waveforms_BS - mean_B1) * mask_BS
    variance_B1 = centred_BS.square().sum(dim=1, keepdim=True) / count_B1
    return centred_BS * (variance_B1 + 1e-7).rsqrt()


def span_mask(lengths_B: Tensor, n_frames: int, *, probability: float, span: int, at_least: int) -> Tensor:
    """Random spans of frames to hide (wav2vec 2.0, section 3.1), as a bool mask B x n_frames.

    Each row gets round-at-random(probability x length / span) spans, at least `at_least`, within its valid frames;
    rows shorter than a span get none. Drawn on the CPU from torch's default generator.
    """
    mask_BJ = torch.zeros(len(lengths_B), n_frames, dtype=torch.bool)
    for row, length in zip(mask_BJ, lengths_B.tolist(), strict=True):
        if length < span:
            continue
        n_spans = max(int(probability * length / span + torch.rand(()).item()), at_least)
        starts = torch.randint(0, length - span + 1, (n_spans,))
        row[(starts[:, None] + torch.arange(span)).flatten()] = True
    return mask_BJ
