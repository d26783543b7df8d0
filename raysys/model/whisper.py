"""Whisper's encoder: log-mel spectrograms of utterances at their own length, not filled up to 30 s.

Letters: B utterances, S samples, T mel frames (10 ms), F mel bands, W windows of 30 s, J frames out (20 ms), D width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from raysys.model.adapt import set_modes
from raysys.model.audio import Heard
from raysys.model.fast import speed_up_dropout
from raysys.model.mel import MelPower
from raysys.model.states import joined_states

if TYPE_CHECKING:
    from transformers import PreTrainedModel, WhisperFeatureExtractor


class WhisperEncoder(nn.Module):
    """The encoder of a Whisper model (Radford et al. 2022); its decoder is never loaded.

    Whisper was trained on 30 s, mostly filled up with silence, and its layers attend to that too. Here an utterance has
    the positions of its own length, and padding is masked everywhere: its frames do not depend on the batch, and a
    short one costs a tenth. The frames are not those at 30 s (they differ by 0.02 of their norm in the first state and
    0.3 in the last); what a probe finds in them is the same. Longer utterances are read in windows of 30 s.

    Args:
        model: transformers' WhisperEncoder.
        extractor: its preprocessor, which says how the spectrogram is made.
        freeze: parts that are not trained; cnn: the convolutions. Positions never are.
        layer: last: after the final layer norm; cnn: the output of the convolutions; weighted_sum: all states,
            `joined_states`.

    Attributes:
        at_30_s: fill up every window to 30 s, as transformers does. The reference for tests.
        drawn: names of weights that the checkpoint lacks.
        learning: layers that are trained although the rest is frozen.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        extractor: WhisperFeatureExtractor,
        *,
        freeze: Literal["none", "cnn", "all"],
        layer: Literal["last", "cnn", "weighted_sum"] = "last",
    ) -> None:
        super().__init__()
        # A skipped layer has no gradient, which DDP does not allow.
        model.layerdrop = 0.0
        speed_up_dropout(model)
        self.model = model
        self.extractor = extractor
        self.width: int = model.config.d_model
        self.latent_width = self.width
        self.frames_per_s = extractor.sampling_rate / extractor.hop_length / 2
        self.layer = layer
        self.states = model.config.encoder_layers + 1 if layer == "weighted_sum" else 1
        self.at_30_s = False
        self.padded = True
        self.drawn: tuple[str, ...] = ()
        self.frozen = freeze == "all"
        self.learning: tuple[nn.Module, ...] = ()
        filters = torch.as_tensor(extractor.mel_filters, dtype=torch.float32, device="cpu")
        self.hop: int = extractor.hop_length
        self.mel_power = MelPower(torch.hann_window(extractor.n_fft), filters, hop=self.hop)
        self.longest: int = 2 * model.config.max_source_positions
        model.embed_positions.requires_grad_(False)
        if layer == "cnn":
            # Unused: its parameters would have no gradient.
            model.layers, model.layer_norm = nn.ModuleList(), nn.Identity()
        if freeze == "cnn":
            model.conv1.requires_grad_(False)
            model.conv2.requires_grad_(False)
        elif freeze == "all":
            model.requires_grad_(False)

    @torch.no_grad()
    def log_mel(self, waveforms_BS: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Log-mel spectrogram (BFT), as WhisperFeatureExtractor makes it, and its number of frames (B).

        A frame is centred on every 160th sample of the utterance. Samples beyond it are zeros, those before it mirror
        its beginning. The floor is 80 dB below the utterance's loudest frame. Padding is 0. In float32.
        """
        half = self.extractor.n_fft // 2
        if waveforms_BS.shape[1] <= half:
            waveforms_BS = functional.pad(waveforms_BS, (0, half + 1 - waveforms_BS.shape[1]))
        n_samples = waveforms_BS.shape[1]
        inside_BS = torch.arange(n_samples, device=lengths_B.device) < lengths_B[:, None]
        own_BS = waveforms_BS.float() * inside_BS
        n_frames = (n_samples + self.hop - 1) // self.hop
        # As many as the last frame needs.
        after = half + (n_frames - 1) * self.hop - n_samples
        around_BS = torch.cat([own_BS[:, 1 : half + 1].flip(1), functional.pad(own_BS, (0, after))], dim=1)
        with torch.autocast(waveforms_BS.device.type, enabled=False):
            power_BTF = self.mel_power(around_BS)
        log_BTF = power_BTF.clamp_min(1e-10).log10()
        frames_B = (lengths_B + self.hop - 1) // self.hop
        valid_BT1 = (torch.arange(n_frames, device=frames_B.device) < frames_B[:, None])[..., None]
        loudest_B11 = log_BTF.masked_fill(~valid_BT1, -torch.inf).amax(dim=(1, 2), keepdim=True)
        scaled_BTF = (torch.maximum(log_BTF, loudest_B11 - 8.0) + 4.0) / 4.0
        return (scaled_BTF * valid_BT1).transpose(1, 2), frames_B

    def forward(self, waveforms_BS: Tensor, lengths_B: Tensor, host_B: Tensor | None = None) -> Heard:
        """Args:
            waveforms_BS: float32, 16 kHz, zero-padded.
            lengths_B: valid samples.
            host_B: the same, on the CPU, if known.

        Returns: one frame per 20 ms.
        """
        set_modes(self)
        heard_B = lengths_B
        if self.at_30_s:
            heard_B = lengths_B + -lengths_B % (self.longest * self.hop)
            waveforms_BS = functional.pad(waveforms_BS, (0, int(heard_B.max()) - waveforms_BS.shape[1]))
        mel_BFT, mels_B = self.log_mel(waveforms_BS, heard_B)
        n_rows, n_mels = len(mel_BFT), mel_BFT.shape[2]
        n_windows = (n_mels + self.longest - 1) // self.longest
        if n_windows > 1:
            mel_BFT = functional.pad(mel_BFT, (0, n_windows * self.longest - n_mels))
            mel_BFT = mel_BFT.unflatten(2, (n_windows, self.longest)).transpose(1, 2).flatten(0, 1)
            begins_W = torch.arange(n_windows, device=mels_B.device) * self.longest
            mels_B = (mels_B[:, None] - begins_W).clamp(0, self.longest).flatten()
        latents_BJD, frames_BJD, valid_BJ = self._encoded(mel_BFT, mels_B)
        if n_windows > 1:
            latents_BJD, frames_BJD, valid_BJ = (
                part.unflatten(0, (n_rows, n_windows)).flatten(1, 2) for part in (latents_BJD, frames_BJD, valid_BJ)
            )
        if self.at_30_s:
            own_B = self._n_frames(lengths_B)
            valid_BJ = torch.arange(valid_BJ.shape[1], device=own_B.device) < own_B[:, None]
        n_host_B = None if host_B is None else self._n_frames(host_B)
        return Heard(frames_BJD=frames_BJD, valid_BJ=valid_BJ, latents_BJL=latents_BJD, frames_host_B=n_host_B)

    def _n_frames(self, lengths_B: Tensor) -> Tensor:
        """Valid frames of so many samples, over all windows: each but the last has whole pairs of mel frames."""
        return ((lengths_B + self.hop - 1) // self.hop - 1) // 2 + 1

    def _encoded(self, mel_BFT: Tensor, mels_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Output of the convolutions, frames or joined states, and which are valid, of windows of at most 30 s."""
        model: Any = self.model
        inside_B1T = torch.arange(mel_BFT.shape[2], device=mels_B.device) < mels_B[:, None, None]
        first_BDT = functional.gelu(model.conv1(mel_BFT)) * inside_B1T
        latents_BJD = functional.gelu(model.conv2(first_BDT)).transpose(1, 2)
        frames_B = torch.where(mels_B > 0, (mels_B - 1) // 2 + 1, 0)
        valid_BJ = torch.arange(latents_BJD.shape[1], device=frames_B.device) < frames_B[:, None]
        if self.layer == "cnn":
            return latents_BJD, latents_BJD, valid_BJ
        hidden_BJD = latents_BJD + model.embed_positions.weight[: latents_BJD.shape[1]]
        hidden_BJD = functional.dropout(hidden_BJD, p=model.dropout, training=model.training)
        # A window without frames attends to everything: a softmax over nothing is not a number.
        keys_B11J = (valid_BJ | (frames_B == 0)[:, None])[:, None, None]
        states = [hidden_BJD]
        for layer in model.layers:
            hidden_BJD = layer(hidden_BJD, keys_B11J)
            states.append(hidden_BJD)
        states[-1] = model.layer_norm(hidden_BJD)
        return latents_BJD, joined_states(states) if self.layer == "weighted_sum" else states[-1], valid_BJ
