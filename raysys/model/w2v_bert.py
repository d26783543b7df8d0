"""w2v-BERT 2.0: log-mel frames, two at a time, through a conformer.

Letters: B utterances, S samples, T mel frames (10 ms), F mel bands, J frames out (20 ms), D width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from raysys.model.adapt import set_modes
from raysys.model.audio import Heard
from raysys.model.fast import speed_up_dropout
from raysys.model.kaldi import KaldiMel, n_frames
from raysys.model.spans import mask_without_waiting, masks_time, time_mask
from raysys.model.states import joined_states

if TYPE_CHECKING:
    from transformers import PreTrainedModel, SeamlessM4TFeatureExtractor


class W2vBertEncoder(nn.Module):
    """A w2v-BERT 2.0 (Chung et al. 2021; Barrault et al. 2023).

    Its convolutions look back only, and padding is masked in them and in attention: an utterance's frames do not depend
    on the batch.

    Args:
        model: Wav2Vec2BertModel.
        extractor: its preprocessor, which says how the spectrogram is made.
        freeze: parts that are not trained; cnn: the projection of mel frames, which stands where others have
            convolutions.
        layer: last; cnn: the projected mel frames; weighted_sum: all states, `joined_states`.

    Attributes:
        drawn: names of weights that the checkpoint lacks.
        learning: layers that are trained although the rest is frozen.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        extractor: SeamlessM4TFeatureExtractor,
        *,
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
        self.extractor = extractor
        self.stride: int = extractor.stride
        self.mel = KaldiMel(n_bands=extractor.num_mel_bins, window="povey", scale=2.0**15)
        self.width: int = config.hidden_size
        self.latent_width = self.width
        self.frames_per_s = 100 / self.stride
        self.layer = layer
        self.states: int = config.num_hidden_layers + 1 if layer == "weighted_sum" else 1
        self.padded = True
        self.drawn: tuple[str, ...] = ()
        self.frozen = freeze == "all"
        self.learning: tuple[nn.Module, ...] = ()
        self._latents_BJD: Tensor | None = None
        model.feature_projection.register_forward_hook(self._keep_latents)
        self._leave_out_unused(freeze)

    def _leave_out_unused(self, freeze: str) -> None:
        """Parameters that have no gradient are not there, or not trained."""
        model: Any = self.model
        if self.layer == "cnn":
            model.encoder = nn.Identity()
            model.masked_spec_embed = None
        masks = masks_time(model.config) and not self.frozen
        if not masks and getattr(model, "masked_spec_embed", None) is not None:
            model.masked_spec_embed.requires_grad_(False)
        if freeze == "cnn":
            model.feature_projection.requires_grad_(False)
        elif freeze == "all":
            model.requires_grad_(False)

    @torch.no_grad()
    def log_mel(self, waveforms_BS: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """What the model reads (BJE, E = stride x F), as SeamlessM4TFeatureExtractor makes it, and which are valid.

        Every mel band has mean 0 and variance 1 over the utterance's own frames. A last frame without a partner is not
        read. Padding is 0.
        """
        mel_BTF, frames_B = self.mel(waveforms_BS, lengths_B, at_least=max(self.stride, 2))
        frames_B11 = frames_B[:, None, None]
        inside_BT1 = (torch.arange(mel_BTF.shape[1], device=frames_B.device) < frames_B[:, None])[..., None]
        centred_BTF = (mel_BTF - mel_BTF.sum(dim=1, keepdim=True) / frames_B11) * inside_BT1
        variance_B1F = centred_BTF.square().sum(dim=1, keepdim=True) / (frames_B11 - 1)
        normal_BTF = centred_BTF * (variance_B1F + 1e-7).rsqrt()
        n_read = normal_BTF.shape[1] // self.stride
        read_BJE = normal_BTF[:, : n_read * self.stride].unflatten(1, (n_read, self.stride)).flatten(2)
        valid_BJ = torch.arange(n_read, device=frames_B.device) < (frames_B // self.stride)[:, None]
        return read_BJE * valid_BJ[..., None], valid_BJ

    def forward(self, waveforms_BS: Tensor, lengths_B: Tensor, host_B: Tensor | None = None) -> Heard:
        """Args:
            waveforms_BS: float32, 16 kHz, zero-padded.
            lengths_B: valid samples.
            host_B: the same, on the CPU, if known.

        Returns: one frame per 20 ms.
        """
        set_modes(self)
        read_BJE, valid_BJ = self.log_mel(waveforms_BS, lengths_B)
        n_host_B = None
        if host_B is not None:
            n_host_B = n_frames(host_B, at_least=max(self.stride, 2)) // self.stride
        if self.layer == "cnn":
            projected_BJD, _ = self.model.feature_projection(read_BJE)
            frames_BJD: Tensor = projected_BJD
        else:
            masked = masks_time(self.model.config) and self.model.training
            output = self.model(
                read_BJE,
                attention_mask=valid_BJ.long(),
                mask_time_indices=time_mask(self.model.config, valid_BJ, n_host_B) if masked else None,
                output_hidden_states=self.layer == "weighted_sum",
            )
            weighted = self.layer == "weighted_sum"
            frames_BJD = joined_states(output.hidden_states) if weighted else output.last_hidden_state
        assert self._latents_BJD is not None
        latents_BJD, self._latents_BJD = self._latents_BJD, None
        return Heard(frames_BJD=frames_BJD, valid_BJ=valid_BJ, latents_BJL=latents_BJD, frames_host_B=n_host_B)

    def _keep_latents(self, module: nn.Module, args: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
        self._latents_BJD = output[0]
