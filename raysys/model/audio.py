"""wav2vec 2.0 and similar models as audio encoders: waveforms to frames and their mask."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from raysys.config import SAMPLE_RATE_HZ
from raysys.errors import EncoderError
from raysys.model.adapt import set_modes
from raysys.model.fast import speed_up_dropout
from raysys.model.group_norm import MaskedGroupNorm
from raysys.model.spans import mask_without_waiting, masks_time, time_mask
from raysys.model.states import joined_states

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_RECEPTIVE_FIELD = 400
"""Samples per frame (25 ms); shorter waveforms are zero-padded to this length."""


_SAME_FEATURES = 1e-3
"""Smaller differences between features, relative to the largest, are treated as rounding."""


class Heard(NamedTuple):
    """Output of an audio encoder.

    Attributes:
        frames_BJD: features; K states of each frame side by side, if a weighted sum follows.
        valid_BJ: bool; every row has at least one valid frame.
        latents_BJL: output of the convolutions, before any frame depends on later ones.
        frames_host_B: number of valid frames, on the CPU; None if only the device knows it.
    """

    frames_BJD: Tensor
    valid_BJ: Tensor
    latents_BJL: Tensor
    frames_host_B: Tensor | None = None


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
        mask_without_waiting(model)
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

    def forward(self, waveforms_BS: Tensor, lengths_B: Tensor, host_B: Tensor | None = None) -> Heard:
        """Args:
            waveforms_BS: float32, 16 kHz, zero-padded.
            lengths_B: valid samples.
            host_B: the same, on the CPU; None: where the host needs them, it asks the device.

        Returns: one frame per 20 ms (stride 320 samples, receptive field 400).
        """
        set_modes(self)
        if self.padded and (more := -waveforms_BS.shape[1] % shape_step(waveforms_BS.device)):
            waveforms_BS = F.pad(waveforms_BS, (0, more))
        if self.padded or len(waveforms_BS) == 1:
            return self._hear(waveforms_BS, lengths_B, host_B)
        on_host_B = lengths_B.cpu() if host_B is None else host_B
        return _together(
            [
                self._hear(waveforms_BS[i : i + 1, :length], lengths_B[i : i + 1], on_host_B[i : i + 1])
                for i, length in enumerate(on_host_B.tolist())
            ]
        )

    def from_latents(self, latents_BJL: Tensor, lengths_B: Tensor, host_B: Tensor | None = None) -> Heard:
        """What `forward` gives for the speech whose `latents` these are; the convolutions do not run.

        Args:
            latents_BJL: zero-padded.
            lengths_B: valid frames.
            host_B: see `forward`.
        """
        set_modes(self)
        if self.padded or len(latents_BJL) == 1:
            return self._continue(latents_BJL, lengths_B, host_B)
        on_host_B = lengths_B.cpu() if host_B is None else host_B
        return _together(
            [
                self._continue(latents_BJL[i : i + 1, :length], lengths_B[i : i + 1], on_host_B[i : i + 1])
                for i, length in enumerate(on_host_B.tolist())
            ]
        )

    def latents(self, waveforms_BS: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Output of the convolutions (BJL) and its valid frames (B), of waveforms as in `forward`.

        Convolutions are unpadded, so that those of a valid frame do not depend on the padding, whatever the model.
        """
        prepared_BS, heard_B = self._prepared(waveforms_BS, lengths_B)
        latents_BLJ: Tensor = self.model.feature_extractor(prepared_BS)
        self._latents_BLJ = None
        return latents_BLJ.transpose(1, 2), self.model._get_feat_extract_output_lengths(heard_B)

    def _continue(self, latents_BJL: Tensor, frames_B: Tensor, host_B: Tensor | None) -> Heard:
        """The layers after the convolutions, whose place the latents take."""
        valid_BJ = torch.arange(latents_BJL.shape[1], device=frames_B.device) < frames_B[:, None]
        # transformers derives the mask of frames from one of samples.
        samples_B = samples_of(frames_B, self.model.config)
        longest = samples_of((frames_B if host_B is None else host_B).max(), self.model.config)
        heard_BS = torch.arange(int(longest), device=frames_B.device) < samples_B[:, None]
        convolutions = self.model.feature_extractor
        self.model.feature_extractor = nn.Identity()
        try:
            frames_BJD = self._frames(latents_BJL.transpose(1, 2), heard_BS, valid_BJ, host_B)
        finally:
            self.model.feature_extractor = convolutions
        return Heard(frames_BJD=frames_BJD, valid_BJ=valid_BJ, latents_BJL=latents_BJL, frames_host_B=host_B)

    def _prepared(self, waveforms_BS: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Waveforms as the convolutions read them, and how much of each they read; sets the norms' valid frames."""
        if waveforms_BS.shape[1] < _RECEPTIVE_FIELD:
            waveforms_BS = F.pad(waveforms_BS, (0, _RECEPTIVE_FIELD - waveforms_BS.shape[1]))
        sample_mask_BS = torch.arange(waveforms_BS.shape[1], device=waveforms_BS.device) < lengths_B[:, None]
        if self.normalise:
            waveforms_BS = normalise_waveforms(waveforms_BS, sample_mask_BS)
        # Zeros up to the receptive field are part of a short utterance.
        heard_B = lengths_B.clamp_min(_RECEPTIVE_FIELD)
        for norm in self._group_norms:
            first = self.model.config
            norm.valid_B = (heard_B - first.conv_kernel[0]) // first.conv_stride[0] + 1
        return waveforms_BS, heard_B

    def _hear(self, waveforms_BS: Tensor, lengths_B: Tensor, host_B: Tensor | None) -> Heard:
        waveforms_BS, heard_B = self._prepared(waveforms_BS, lengths_B)
        frames_B = self.model._get_feat_extract_output_lengths(heard_B)
        heard_BS = torch.arange(waveforms_BS.shape[1], device=heard_B.device) < heard_B[:, None]
        n_frames = self.model._get_feat_extract_output_lengths(waveforms_BS.shape[1])
        valid_BJ = torch.arange(n_frames, device=frames_B.device) < frames_B[:, None]
        if host_B is not None:
            host_B = self.model._get_feat_extract_output_lengths(host_B.clamp_min(_RECEPTIVE_FIELD))
        frames_BJD = self._frames(waveforms_BS, heard_BS, valid_BJ, host_B)
        assert self._latents_BLJ is not None
        latents_BJL, self._latents_BLJ = self._latents_BLJ.transpose(1, 2), None
        return Heard(frames_BJD=frames_BJD, valid_BJ=valid_BJ, latents_BJL=latents_BJL, frames_host_B=host_B)

    def _frames(self, waveforms_BS: Tensor, heard_BS: Tensor, valid_BJ: Tensor, frames_host_B: Tensor | None) -> Tensor:
        if self.layer == "cnn":
            projected = self.model.feature_projection(self.model.feature_extractor(waveforms_BS).transpose(1, 2))
            # HuBERT returns only the projected features, the others also those before the projection.
            frames_BJD: Tensor = projected[0] if isinstance(projected, tuple) else projected
            return frames_BJD
        output = self.model(
            waveforms_BS,
            attention_mask=heard_BS.long(),
            mask_time_indices=self._time_mask(valid_BJ, frames_host_B),
            output_hidden_states=self.layer == "weighted_sum",
        )
        last_BJD: Tensor = output.last_hidden_state
        return joined_states(output.hidden_states) if self.layer == "weighted_sum" else last_BJD

    @property
    def _masks(self) -> bool:
        return not self.frozen and masks_time(self.model.config)

    def _keep_latents(self, module: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
        self._latents_BLJ = output

    def _time_mask(self, valid_BJ: Tensor, frames_host_B: Tensor | None) -> Tensor | None:
        return time_mask(self.model.config, valid_BJ, frames_host_B) if self.training and self._masks else None


def samples_of(frames_B: Tensor, config: PreTrainedConfig) -> Tensor:
    """The fewest samples that a model's convolutions make so many frames of; the inverse of its own count."""
    samples_B = frames_B
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        samples_B = (samples_B - 1) * stride + kernel
    return samples_B


def _together(alone: Sequence[Heard]) -> Heard:
    """Utterances heard one by one, as a batch; how many frames each has is known on the host."""
    counts = [part.frames_host_B for part in alone if part.frames_host_B is not None]
    parts = zip(*(part[:3] for part in alone), strict=True)
    frames_BJD, valid_BJ, latents_BJL = (pad_sequence([row[0] for row in rows], batch_first=True) for rows in parts)
    return Heard(frames_BJD, valid_BJ, latents_BJL, torch.cat(counts))


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
    together = encoder._hear(waveforms_BS.to(device), lengths_B.to(device), lengths_B)
    alone = encoder._hear(waveforms_BS[:1, :4_000].to(device), lengths_B[:1].to(device), lengths_B[:1])
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
