"""The bi-modal bi-task network: views of utterances to logits, embeddings and cross-modal predictions."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from raysys.config import LossConfig, ModelConfig
from raysys.data.view import HostLengths, View
from raysys.losses.cpc import temporal_cpc
from raysys.model.audio import Heard
from raysys.model.dropout import Dropout
from raysys.model.encoders import build_audio_encoder, build_text_encoder
from raysys.model.fusion import ModalFusion
from raysys.model.masking import FrameMasking
from raysys.model.pooling import Pooling
from raysys.model.prediction import TemporalPredictor
from raysys.model.states import Standardised, WeightedSum, pooled_in_time


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """Inputs to the losses and the report; N rows, the views concatenated.

    Attributes:
        logits_NC: logits of equation 2.
        embeddings_NE: projection of [mp(A); mp(M)] for the contrastive terms; None if they are off.
        acl_embeddings_NE: the same by ACL's own head; None if both terms share one.
        features_NF: [mp(A); mp(M)], F = 2D.
        audio_ND: mp(A).
        text_ND: mp(T), which only these two forms of CPC read; None if they are off.
        audio_predicted_ND, text_predicted_ND: predictions of mp(A) and mp(T): W_a mp(T) and W_t mp(A), or, of the
            fused form, W_a mp(M) and W_t mp(M); None if both forms are off.
        has_text_N: bool, rows that have text.
        temporal_N, temporal_pairs_N: temporal CPC summed over frames, and its number of terms, by row; None if it is
            off.
    """

    logits_NC: Tensor
    embeddings_NE: Tensor | None
    acl_embeddings_NE: Tensor | None
    features_NF: Tensor
    audio_ND: Tensor
    text_ND: Tensor | None
    audio_predicted_ND: Tensor | None
    text_predicted_ND: Tensor | None
    has_text_N: Tensor
    temporal_N: Tensor | None
    temporal_pairs_N: Tensor | None

    def rows(self, start: int, end: int) -> Outputs:
        def cut(value: Tensor | None) -> Tensor | None:
            return None if value is None else value[start:end]

        return Outputs(**{f.name: cut(getattr(self, f.name)) for f in dataclasses.fields(self)})  # type: ignore[arg-type]


class Network(nn.Module):
    """wav2vec 2.0 (or another audio encoder) and DistilBERT (or another text encoder), the modal fusion module,
    the head of equation 2 and the projections of the auxiliary tasks.

    Args:
        config: sizes and names.
        n_classes: C.
        vocab_size: vocabulary size of the tokenizer.
        loss: auxiliary terms that are off have no parameters.
        modalities: an unused modality has no encoder; a single learned vector replaces it.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        n_classes: int,
        vocab_size: int,
        loss: LossConfig,
        modalities: Literal["both", "audio", "text"] = "both",
    ) -> None:
        super().__init__()
        width = config.width
        self.modalities = modalities
        self.audio_encoder = None if modalities == "text" else build_audio_encoder(config)
        self.text_encoder = None if modalities == "audio" else build_text_encoder(config, vocab_size)
        n_states = int(getattr(self.audio_encoder, "states", 1))
        self.weigh_states = WeightedSum(n_states) if n_states > 1 else None
        # Only where the encoder never changes are its features what they were when they were measured.
        fixed = n_states > 1 and config.freeze_audio == "all"
        self.standardise = Standardised(n_states * int(self.audio_encoder.width)) if fixed else None  # type: ignore[union-attr,arg-type]
        self.mask = FrameMasking(longest=config.mask_frames, channels=config.drop_channels)
        self.pool_frames = config.pool_frames
        self.wholly_frozen = config.freeze_audio == "all"
        self.audio_projection = _projection(self.audio_encoder, width)
        self.text_projection = _projection(self.text_encoder, width)
        self.no_audio_D = nn.Parameter(torch.randn(width) * 0.02) if modalities == "text" else None
        self.no_text_D = nn.Parameter(torch.randn(width) * 0.02) if modalities != "text" else None
        self.fusion = ModalFusion(config)
        crossed = loss.active_cpc in ("cross_modal", "fused") and modalities == "both"
        self.predicts_from_fused = loss.active_cpc == "fused"
        self.pool_audio = Pooling(config.pooling, width)
        # Drawn in any case, so that what follows starts from the same weights with and without CPC. Kept only where the
        # loss reads it: DDP ends a trial in which a parameter that a forward pass used has no gradient.
        pool_text = Pooling(config.pooling, width)
        self.pool_text = pool_text if crossed else None
        self.pool_fused = Pooling(config.pooling, width)
        self.head = nn.Sequential(Dropout(config.dropout), nn.Linear(2 * width, n_classes))
        self.project = _projection_head(width) if loss.contrasts else None
        # CPC's bilinear scores c^T W x, named after x; they exist where there are two modalities.
        self.predict_audio = nn.Linear(width, width, bias=False) if crossed else None
        self.predict_text = nn.Linear(width, width, bias=False) if crossed else None
        self.predict_ahead: TemporalPredictor | None = None
        if loss.active_cpc == "temporal":
            assert self.audio_encoder is not None, "temporal CPC needs audio"
            self.predict_ahead = TemporalPredictor(int(self.audio_encoder.latent_width))  # type: ignore[arg-type]
        # Drawn last, so that everything else starts from the same weights with one head and with two.
        self.project_acl = _projection_head(width) if loss.heads_used == 2 else None
        self.temperature = loss.temperature

    def forward(self, views: tuple[View, ...]) -> Outputs:
        """All views in one pass, with their rows concatenated."""
        view = stack_views(views)
        frames_NJD, frames_valid_NJ, frames_host_N, temporal = self._audio(view, n_clean=len(views[0]))
        tokens_NMD, tokens_valid_NM, has_text_N = self._text(view, frames_NJD.shape[0])
        if len(frames_NJD) != len(tokens_NMD):
            # shape[0], unlike len(), is not a constant in an exported graph.
            frames_NJD = frames_NJD.expand(tokens_NMD.shape[0], -1, -1)
            frames_valid_NJ = frames_valid_NJ.expand(tokens_NMD.shape[0], -1)
        fused_NUD, fused_valid_NU = self.fusion(
            frames_NJD, frames_valid_NJ, tokens_NMD, tokens_valid_NM, self._host_lengths(view, frames_host_N)
        )
        audio_ND = self.pool_audio(frames_NJD, frames_valid_NJ)
        fused_ND = self.pool_fused(fused_NUD, fused_valid_NU)
        features_NF = torch.cat([audio_ND, fused_ND], dim=-1)
        text_ND = None if self.pool_text is None else self.pool_text(tokens_NMD, tokens_valid_NM)
        audio_predicted_ND, text_predicted_ND = self._predicted(audio_ND, text_ND, fused_ND)
        return Outputs(
            logits_NC=_in_float32(self.head, features_NF),
            embeddings_NE=None if self.project is None else _in_float32(self.project, features_NF),
            acl_embeddings_NE=None if self.project_acl is None else _in_float32(self.project_acl, features_NF),
            features_NF=features_NF,
            audio_ND=audio_ND,
            text_ND=text_ND,
            audio_predicted_ND=audio_predicted_ND,
            text_predicted_ND=text_predicted_ND,
            has_text_N=has_text_N,
            temporal_N=temporal[0],
            temporal_pairs_N=temporal[1],
        )

    def _predicted(
        self, audio_ND: Tensor, text_ND: Tensor | None, fused_ND: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        """CPC's predictions of mp(A) and mp(T).

        Through its residual connections the fused vector contains what it predicts; across the modalities nothing does.
        """
        if self.predict_audio is None or self.predict_text is None:
            return None, None
        assert text_ND is not None
        if self.predicts_from_fused:
            return self.predict_audio(fused_ND), self.predict_text(fused_ND)
        return self.predict_audio(text_ND), self.predict_text(audio_ND)

    def _audio(
        self, view: View, n_clean: int
    ) -> tuple[Tensor, Tensor, Tensor | None, tuple[Tensor | None, Tensor | None]]:
        """Frames, their mask and their number on the host, and temporal CPC for the clean rows, which come first."""
        if self.audio_encoder is None:
            assert self.no_audio_D is not None
            valid_11 = torch.ones(1, 1, dtype=torch.bool, device=self.no_audio_D.device)
            return self.no_audio_D[None, None], valid_11, None, (None, None)
        heard: Heard
        host_B = None if view.host is None else view.host.lengths_B
        if view.frames_BJE is None:
            heard = self.audio_encoder(view.waveforms_BS, view.lengths_B, host_B)
        elif self.wholly_frozen:
            # Precomputed features.
            assert view.lengths_B is not None
            ahead_J = torch.arange(view.frames_BJE.shape[1], device=view.lengths_B.device)
            valid_BJ = ahead_J < view.lengths_B[:, None]
            return self._projected(view.frames_BJE, valid_BJ), valid_BJ, host_B, (None, None)
        else:
            # Precomputed latents of its frozen convolutions.
            heard = self.audio_encoder.from_latents(view.frames_BJE, view.lengths_B, host_B)  # type: ignore[operator]
        temporal: tuple[Tensor | None, Tensor | None] = (None, None)
        if self.predict_ahead is not None and self.training:
            latents_BJL, valid_BJ = heard.latents_BJL[:n_clean], heard.valid_BJ[:n_clean]
            temporal = temporal_cpc(
                self.predict_ahead(latents_BJL), latents_BJL, valid_BJ, temperature=self.temperature
            )
        frames_BJE, valid_BJ = pooled_in_time(heard.frames_BJD, heard.valid_BJ, self.pool_frames)
        host_B = heard.frames_host_B
        if host_B is not None:
            host_B = (host_B + self.pool_frames - 1) // self.pool_frames
        return self._projected(frames_BJE, valid_BJ), valid_BJ, host_B, temporal

    def _host_lengths(self, view: View, frames_host_B: Tensor | None) -> tuple[Tensor, Tensor] | None:
        """Numbers of valid frames and tokens, on the host; None if it does not know them."""
        if view.host is None:
            return None
        tokens_B = view.host.tokens_B
        if tokens_B is None:
            tokens_B = torch.ones(len(view), dtype=torch.int64)
        elif self.no_text_D is not None:
            assert view.host.has_text_B is not None
            tokens_B = torch.where(view.host.has_text_B, tokens_B, 1)
        if frames_host_B is None:
            frames_host_B = torch.ones(len(view), dtype=torch.int64)
        return frames_host_B, tokens_B

    def _projected(self, frames_BJE: Tensor, valid_BJ: Tensor) -> Tensor:
        """The audio encoder's frames at the fusion's width; several states are standardised and weighted."""
        if self.weigh_states is None:
            frames_BJD = self.mask(frames_BJE, valid_BJ)
        else:
            hidden_BJ, kept_BE = self.mask.drawn(frames_BJE, valid_BJ)
            frames_BJD = self.weigh_states(frames_BJE, self.standardise, kept_BE)
            if hidden_BJ is not None:
                frames_BJD = frames_BJD.masked_fill(hidden_BJ[..., None], 0.0)
        projected_BJD: Tensor = self.audio_projection(frames_BJD)
        return projected_BJD

    def _text(self, view: View, n_rows: int) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens, their mask, and which rows have text; a row without text becomes the single learned token."""
        if self.text_encoder is None:
            assert self.no_text_D is not None
            token_N1D = self.no_text_D.expand(n_rows, 1, -1)
            valid_N1 = torch.ones(n_rows, 1, dtype=torch.bool, device=token_N1D.device)
            return token_N1D, valid_N1, torch.zeros_like(valid_N1[:, 0])
        assert view.token_valid_BM is not None and view.has_text_B is not None
        encoded_NME = view.token_features_BME
        if encoded_NME is None:
            encoded_NME = self.text_encoder(view.tokens_BM, view.token_valid_BM)
        encoded_NMD = self.text_projection(encoded_NME)
        if self.no_text_D is None:
            return encoded_NMD, view.token_valid_BM, view.has_text_B
        missing_N1 = ~view.has_text_B[:, None]
        first_M = torch.arange(view.token_valid_BM.shape[1], device=missing_N1.device) == 0
        tokens_NMD = torch.where(missing_N1[..., None], self.no_text_D.to(encoded_NMD.dtype), encoded_NMD)
        # Not torch.where, which ONNX Runtime has for numbers alone.
        valid_NM = (missing_N1 & first_M) | (~missing_N1 & view.token_valid_BM)
        return tokens_NMD, valid_NM, view.has_text_B


def stack_views(views: tuple[View, ...]) -> View:
    """Concatenate the rows of several views, padded to a common length."""
    if len(views) == 1:
        return views[0]

    def stack(name: str) -> Tensor | None:
        parts: list[Tensor] = [getattr(view, name) for view in views]
        if parts[0] is None:
            return None
        if parts[0].ndim == 1 or len({part.shape[1] for part in parts}) == 1:
            return torch.cat(parts)
        # Written once: all states of a frozen encoder are large beside the network that reads them.
        longest = max(part.shape[1] for part in parts)
        stacked = parts[0].new_empty(sum(map(len, parts)), longest, *parts[0].shape[2:])
        for part, rows in zip(parts, stacked.split([len(part) for part in parts]), strict=True):
            rows[:, : part.shape[1]] = part
            rows[:, part.shape[1] :] = 0
        return stacked

    known = [view.host for view in views if view.host is not None]
    host = HostLengths.joined(known) if len(known) == len(views) else None
    return View(**{name: stack(name) for name in View.tensors()}, host=host)


def _in_float32(part: nn.Module, features_NF: Tensor) -> Tensor:
    """Apply a part outside autocast: logits in bfloat16 have three digits, and tie."""
    with torch.autocast(features_NF.device.type, enabled=False):
        output: Tensor = part(features_NF.float())
    return output


def _projection_head(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, width))


def _projection(encoder: nn.Module | None, width: int) -> nn.Module:
    if encoder is None or encoder.width == width:
        return nn.Identity()
    return nn.Linear(int(encoder.width), width)  # type: ignore[arg-type]
