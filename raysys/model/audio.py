"""wav2vec 2.0 and similar models as audio encoders: waveforms to frames and their mask."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from raysys.config import SAMPLE_RATE_HZ
from raysys.errors import EncoderError
from raysys.model.adapt import set_modes
from raysys.model.fast import speed_up_dropout
from raysys.model.states import joined_states

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_RECEPTIVE_FIELD = 400
"""Samples per frame (25 ms); shorter waveforms are zero-padded to this length."""


_SAME_FEATURES = 1e-3
"""Smaller differences between features, relative to the largest, are treated as rounding."""


class MaskedGroupNorm(nn.GroupNorm):
    """Group norm over time that uses only valid frames.

    wav2vec2-base normalises every channel over time in its first convolution, so zero padding changes everything
    after it. Mean and variance over valid frames only make an utterance's features independent of the batch.
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
        # Padding values do not matter: the convolutions are unpadded, so valid frames only depend on valid samples.
        return normal_BCT.to(input.dtype)


class Heard(NamedTuple):
    """Output of an audio encoder.

    Attributes:
        frames_BJD: features; K states of each frame side by side, if a weighted sum follows.
        valid_BJ: bool; every row has at least one valid frame.
        latents_BJL: output of the convolutions, before any frame depends on later ones.
    """

    frames_BJD: Tensor
    valid_BJ: Tensor
    latents_BJL: Tensor


class WaveformEncoder(nn.Module):
    """A transformers audio model that reads raw waveforms (Wav2Vec2Model, HubertModel, WavLMModel, ...).

    Args:
        model: the model with its weights.
        normalise: normalise every waveform to zero mean and unit variance over its own samples, as set in the model's
            preprocessor configuration.
        freeze: parts that are not trained.
        layer: last: the last hidden state; cnn: the projected output of the convolutions, without the Transformer;
            weighted_sum: all hidden states, `joined_states`.

    Attributes:
        states: K, the number of states that a frame holds side by side.
        padded: whether a batch is processed as one padded tensor; otherwise utterance by utterance.
        drawn: names of weights that the checkpoint lacks.
        learning: layers that are trained although the rest is frozen.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        normalise: bool,
        freeze: Literal["none", "cnn", "all"],
        layer: Literal["last", "cnn", "weighted_sum"] = "last",
    ) -> None:
        super().__init__()
        config = model.config
        # A skipped layer has no gradient, which DDP does not allow.
        config.layerdrop = 0.0
        # transformers would draw feature masks from numpy's global generator.
        config.mask_feature_prob = 0.0
        speed_up_dropout(model)
        self.model = model
        self.width: int = config.hidden_size
        self.latent_width: int = config.conv_dim[-1]
        self.frames_per_s = SAMPLE_RATE_HZ / math.prod(config.conv_stride)
        self.layer = layer
        self.padded = True
        self.drawn: tuple[str, ...] = ()
        self.normalise = normalise
        self.frozen = freeze == "all"
        self.learning: tuple[nn.Module, ...] = ()
        self._group_norms: list[MaskedGroupNorm] = []
        if getattr(config, "feat_extract_norm", None) == "group":
            self._cure_group_norm()
        self._latents_BLJ: Tensor | None = None
        model.feature_extractor.register_forward_hook(self._keep_latents)
        if layer == "cnn":
            # Unused: its parameters would have no gradient.
            model.encoder = nn.Identity()
            model.masked_spec_embed = None
        self.states: int = config.num_hidden_layers + 1 if layer == "weighted_sum" else 1
        if not self._masks and getattr(model, "masked_spec_embed", None) is not None:
            # Unused: it would have no gradient.
            model.masked_spec_embed.requires_grad_(False)
        if freeze == "cnn":
            # Not model.freeze_feature_encoder(): HubertModel has none.
            model.feature_extractor._freeze_parameters()
        elif freeze == "all":
            model.requires_grad_(False)

    def _cure_group_norm(self) -> None:
        layer = self.model.feature_extractor.conv_layers[0]
        cured = MaskedGroupNorm(layer.layer_norm.num_groups, layer.layer_norm.num_channels)
        if layer.layer_norm.num_groups != layer.layer_norm.num_channels:
            raise EncoderError("The first convolution's group norm mixes channels; only one group per channel works.")
        cured.eps = layer.layer_norm.eps
        cured.weight, cured.bias = layer.layer_norm.weight, layer.layer_norm.bias
        layer.layer_norm = cured
        self._group_norms.append(cured)

    @property
    def extractor(self) -> Any:
        """The preprocessor that a saved model needs."""
        from transformers import Wav2Vec2FeatureExtractor

        return Wav2Vec2FeatureExtractor(do_normalize=self.normalise)

    def forward(self, waveforms_BS: Tensor, lengths_B: Tensor) -> Heard:
        """Args:
            waveforms_BS: float32, 16 kHz, zero-padded.
            lengths_B: valid samples.

        Returns: one frame per 20 ms (stride 320 samples, receptive field 400).
        """
        set_modes(self)
        if self.padded and (more := -waveforms_BS.shape[1] % shape_step(waveforms_BS.device)):
            waveforms_BS = F.pad(waveforms_BS, (0, more))
        if self.padded or len(waveforms_BS) == 1:
            return self._hear(waveforms_BS, lengths_B)
        alone = [
            self._hear(waveforms_BS[i : i + 1, :length], lengths_B[i : i + 1])
            for i, length in enumerate(lengths_B.tolist())
        ]
        return Heard(
            frames_BJD=pad_sequence([h.frames_BJD[0] for h in alone], batch_first=True),
            valid_BJ=pad_sequence([h.valid_BJ[0] for h in alone], batch_first=True),
            latents_BJL=pad_sequence([h.latents_BJL[0] for h in alone], batch_first=True),
        )

    def _hear(self, waveforms_BS: Tensor, lengths_B: Tensor) -> Heard:
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
        frames_BJD = self._frames(waveforms_BS, heard_BS, valid_BJ)
        assert self._latents_BLJ is not None
        latents_BJL, self._latents_BLJ = self._latents_BLJ.transpose(1, 2), None
        return Heard(frames_BJD=frames_BJD, valid_BJ=valid_BJ, latents_BJL=latents_BJL)

    def _frames(self, waveforms_BS: Tensor, heard_BS: Tensor, valid_BJ: Tensor) -> Tensor:
        if self.layer == "cnn":
            projected = self.model.feature_projection(self.model.feature_extractor(waveforms_BS).transpose(1, 2))
            # HuBERT returns only the projected features, the others also those before the projection.
            frames_BJD: Tensor = projected[0] if isinstance(projected, tuple) else projected
            return frames_BJD
        output = self.model(
            waveforms_BS,
            attention_mask=heard_BS.long(),
            mask_time_indices=self._time_mask(valid_BJ),
            output_hidden_states=self.layer == "weighted_sum",
        )
        last_BJD: Tensor = output.last_hidden_state
        return joined_states(output.hidden_states) if self.layer == "weighted_sum" else last_BJD

    @property
    def _masks(self) -> bool:
        return not self.frozen and masks_time(self.model.config)

    def _keep_latents(self, module: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
        self._latents_BLJ = output

    def _time_mask(self, valid_BJ: Tensor) -> Tensor | None:
        return time_mask(self.model.config, valid_BJ) if self.training and self._masks else None


def masks_time(config: PreTrainedConfig) -> bool:
    """Whether a model masks frames in training."""
    return bool(getattr(config, "apply_spec_augment", False) and config.mask_time_prob > 0)


def time_mask(config: PreTrainedConfig, valid_BJ: Tensor) -> Tensor:
    """SpecAugment time masks, drawn from torch's generator (transformers would use numpy's)."""
    return span_mask(
        valid_BJ.sum(dim=1).cpu(),
        valid_BJ.shape[1],
        probability=config.mask_time_prob,
        span=config.mask_time_length,
        at_least=config.mask_time_min_masks,
    ).to(valid_BJ.device)


def shape_step(device: torch.device) -> int:
    """Batches are padded to a multiple of this many samples: 0.5 s on a GPU, about 30 shapes instead of one per batch.

    cuDNN tunes each shape when it first occurs. On an H100 a step of 16 utterances took 0.17 s, and 0.4 to 0.6 s more
    on a new shape.
    """
    return 8_000 if device.type == "cuda" else 1


@torch.no_grad()
def padding_moves(encoder: WaveformEncoder) -> bool:
    """Whether an utterance's features change when it is batched with one ten times as long."""
    generator = torch.Generator().manual_seed(0)
    device = next(encoder.parameters()).device
    lengths_B = torch.tensor([4_000, 40_000])
    waveforms_BS = torch.randn(2, 40_000, generator=generator) * 0.1
    waveforms_BS[0, 4_000:] = 0
    was_training = encoder.training
    encoder.eval()
    together = encoder._hear(waveforms_BS.to(device), lengths_B.to(device))
    alone = encoder._hear(waveforms_BS[:1, :4_000].to(device), lengths_B[:1].to(device))
    encoder.train(was_training)
    features_JD = together.frames_BJD[0][together.valid_BJ[0]]
    expected_JD = alone.frames_BJD[0][alone.valid_BJ[0]]
    if features_JD.shape != expected_JD.shape:
        return True
    return float((features_JD - expected_JD).abs().max()) > _SAME_FEATURES * float(expected_JD.abs().max())


def normalise_waveforms(waveforms_BS: Tensor, mask_BS: Tensor) -> Tensor:
    """Zero mean and unit variance of each row over its own samples; padding stays zero."""
    count_B1 = mask_BS.sum(dim=1, keepdim=True)
    mean_B1 = (waveforms_BS * mask_BS).sum(dim=1, keepdim=True) / count_B1
    centred_BS = (waveforms_BS - mean_B1) * mask_BS
    variance_B1 = centred_BS.square().sum(dim=1, keepdim=True) / count_B1
    return centred_BS * (variance_B1 + 1e-7).rsqrt()


def span_mask(lengths_B: Tensor, n_frames: int, *, probability: float, span: int, at_least: int) -> Tensor:
    """Random spans of frames to mask (wav2vec 2.0, section 3.1), as a bool mask B x n_frames.

    Each row gets `n_spans` different first frames within its valid ones. Drawn as transformers'
    `_compute_mask_indices` draws them for an utterance alone, but from torch's default generator, on the CPU.
    In a batch, transformers fits the spans of a short row to the longest row's length: up to all its frames are masked.
    """
    mask_BJ = torch.zeros(len(lengths_B), n_frames, dtype=torch.bool)
    for row, length in zip(mask_BJ, lengths_B.tolist(), strict=True):
        if length < span:
            continue
        rounding = torch.rand(()).item()
        n = n_spans(length, probability=probability, span=span, at_least=at_least, rounding=rounding)
        starts = torch.randperm(length - span + 1)[:n]
        row[(starts[:, None] + torch.arange(span)).flatten()] = True
    return mask_BJ


def n_spans(length: int, *, probability: float, span: int, at_least: int, rounding: float) -> int:
    """How many spans an utterance of `length` frames gets.

    probability x length / span, rounded down after `rounding` (0 to 1) is added, and at least `at_least`; never more
    than fit side by side, so that none are masked in an utterance shorter than a span.
    """
    wanted = int(probability * length / span + rounding)
    return min(max(wanted, at_least), length // span)
