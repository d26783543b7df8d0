"""AST, the Audio Spectrogram Transformer: patches of a log-mel spectrogram of fixed length.

Letters: B utterances, S samples, T mel frames (10 ms), F mel bands, W windows, N windows that hold speech, G mel frames
of a window, P patches of a window (all bands), K patches in time, J frames out, D width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from raysys.config import SAMPLE_RATE_HZ
from raysys.data.pinned import sent
from raysys.model.adapt import set_modes
from raysys.model.audio import Heard
from raysys.model.fast import speed_up_dropout
from raysys.model.kaldi import HOP, KaldiMel, n_frames
from raysys.model.states import joined_states

if TYPE_CHECKING:
    from transformers import ASTFeatureExtractor, PreTrainedModel


class AstEncoder(nn.Module):
    """An AST (Gong et al. 2021): its input is filled up to the length that it was trained with, 10.24 s.

    Its two class tokens take part; a frame is the mean over frequency of the patches that begin at the same time, as
    many as cover the utterance. What fills the spectrogram up is not masked, since AST was trained with it. A longer
    utterance is read in windows whose patches continue at the same distance. No frame depends on the batch.

    Args:
        model: ASTModel.
        extractor: its preprocessor, which says how the spectrogram is made.
        freeze: parts that are not trained; cnn: the projection of patches.
        layer: last: after the final layer norm; cnn: the projected patches; weighted_sum: all states, `joined_states`.

    Attributes:
        drawn: names of weights that the checkpoint lacks.
        learning: layers that are trained although the rest is frozen.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        extractor: ASTFeatureExtractor,
        *,
        freeze: Literal["none", "cnn", "all"],
        layer: Literal["last", "cnn", "weighted_sum"] = "last",
    ) -> None:
        super().__init__()
        speed_up_dropout(model)
        self.model = model
        self.extractor = extractor
        config = model.config
        self.mel = KaldiMel(n_bands=extractor.num_mel_bins, window="hann", scale=1.0)
        self.grid: int = config.max_length
        self.patch: int = config.patch_size
        self.stride: int = config.time_stride
        self.patches_per_band: int = (self.grid - self.patch) // self.stride + 1
        self.width: int = config.hidden_size
        self.latent_width = self.width
        self.frames_per_s = SAMPLE_RATE_HZ / HOP / self.stride
        self.layer = layer
        self.states: int = config.num_hidden_layers + 1 if layer == "weighted_sum" else 1
        self.padded = True
        self.drawn: tuple[str, ...] = ()
        self.frozen = freeze == "all"
        self.learning: tuple[nn.Module, ...] = ()
        self._leave_out_unused(freeze)

    def _leave_out_unused(self, freeze: str) -> None:
        """Parameters that have no gradient are not there, or not trained."""
        model: Any = self.model
        if self.layer == "cnn":
            model.layers, model.layernorm = nn.ModuleList(), nn.Identity()
            model.embeddings.requires_grad_(False)
            model.embeddings.patch_embeddings.requires_grad_(True)
        if freeze == "cnn":
            model.embeddings.patch_embeddings.requires_grad_(False)
        elif freeze == "all":
            model.requires_grad_(False)

    @torch.no_grad()
    def log_mel(self, waveforms_BS: Tensor, lengths_B: Tensor, host_B: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Windows as ASTFeatureExtractor makes them (BWGF), and how many patches in time each utterance needs (B).

        These numbers are on the CPU, which is not to wait for a device: they decide how many windows there are.
        The window after the first begins where the patches of the first end, a little before its own end.
        """
        mel_BTF, _ = self.mel(waveforms_BS, lengths_B)
        needed_B = self._needed(lengths_B.cpu() if host_B is None else host_B)
        n_windows = -(-int(needed_B.max()) // self.patches_per_band)
        step = self.patches_per_band * self.stride
        n_frames = (n_windows - 1) * step + self.grid
        mel_BTF = functional.pad(mel_BTF, (0, 0, 0, n_frames - mel_BTF.shape[1]))
        if self.extractor.do_normalize:
            mel_BTF = (mel_BTF - self.extractor.mean) / (2 * self.extractor.std)
        return mel_BTF.unfold(1, self.grid, step).transpose(2, 3), needed_B

    def _needed(self, lengths_B: Tensor) -> Tensor:
        return ((n_frames(lengths_B) - self.patch).clamp_min(0) + self.stride - 1) // self.stride + 1

    def forward(self, waveforms_BS: Tensor, lengths_B: Tensor, host_B: Tensor | None = None) -> Heard:
        """Args:
            waveforms_BS: float32, 16 kHz, zero-padded.
            lengths_B: valid samples.
            host_B: the same, on the CPU; None: the device is asked.

        Returns: one frame per 100 ms.
        """
        set_modes(self)
        windows_BWGF, needed_B = self.log_mel(waveforms_BS, lengths_B, host_B)
        n_rows, n_windows = windows_BWGF.shape[:2]
        longest = int(needed_B.max())
        begins_W = torch.arange(n_windows) * self.patches_per_band
        # Windows after an utterance's end are not worth computing.
        used_N = sent((begins_W < needed_B[:, None]).flatten().nonzero()[:, 0], lengths_B.device)
        latents_NKD, frames_NKE = self._encoded(windows_BWGF.flatten(0, 1)[used_N])

        def by_utterance(parts_NKE: Tensor) -> Tensor:
            spread_MKE = parts_NKE.new_zeros(n_rows * n_windows, *parts_NKE.shape[1:])
            spread_MKE[used_N] = parts_NKE
            return spread_MKE.unflatten(0, (n_rows, n_windows)).flatten(1, 2)[:, :longest]

        valid_BJ = torch.arange(longest, device=lengths_B.device) < self._needed(lengths_B)[:, None]
        return Heard(by_utterance(frames_NKE), valid_BJ, by_utterance(latents_NKD), needed_B)

    def _encoded(self, windows_NGF: Tensor) -> tuple[Tensor, Tensor]:
        """Projected patches, and frames or joined states, of full windows."""
        model: Any = self.model
        latents_NKD = self._over_frequency(model.embeddings.patch_embeddings(windows_NGF))
        if self.layer == "cnn":
            return latents_NKD, latents_NKD
        output = model(windows_NGF, output_hidden_states=self.layer == "weighted_sum")
        if self.layer == "last":
            return latents_NKD, self._over_frequency(output.last_hidden_state[:, 2:])
        states = [*output.hidden_states[:-1], output.last_hidden_state]
        return latents_NKD, joined_states([self._over_frequency(state[:, 2:]) for state in states])

    def _over_frequency(self, patches_NPD: Tensor) -> Tensor:
        return patches_NPD.unflatten(1, (-1, self.patches_per_band)).mean(dim=1)
