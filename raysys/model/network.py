"""The bi-modal bi-task network: views of utterances to logits, embeddings and cross-modal predictions."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from raysys.config import ModelConfig
from raysys.data.batch import View
from raysys.model.encoders import build_audio_encoder, build_text_encoder
from raysys.model.fusion import ModalFusion
from raysys.model.pooling import Pooling


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """What the losses and the report read; N rows, all views one below the other.

    Attributes:
        logits_NC: of equation 2.
        embeddings_NE: projection of [mp(A); mp(M)] for the contrastive terms.
        features_NF: [mp(A); mp(M)], F = 2D.
        audio_ND, text_ND: mp(A) and mp(T), CPC's targets.
        audio_predicted_ND, text_predicted_ND: W mp(M), the fused vector's predictions of them.
        has_text_N: bool, rows whose text was there.
    """

    logits_NC: Tensor
    embeddings_NE: Tensor
    features_NF: Tensor
    audio_ND: Tensor
    text_ND: Tensor
    audio_predicted_ND: Tensor
    text_predicted_ND: Tensor
    has_text_N: Tensor

    def rows(self, start: int, end: int) -> Outputs:
        return Outputs(**{f.name: getattr(self, f.name)[start:end] for f in dataclasses.fields(self)})


class Network(nn.Module):
    """wav2vec 2.0 (or another audio encoder) and DistilBERT (or another text encoder), the modal fusion module,
    the head of equation 2 and the projections of the auxiliary tasks.

    Args:
        config: sizes and names.
        n_classes: C.
        vocab_size: the tokenizer's.
        modalities: a modality that is not used has no encoder; a single learned vector stands in for it.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        n_classes: int,
        vocab_size: int,
        modalities: Literal["both", "audio", "text"] = "both",
    ) -> None:
        super().__init__()
        width = config.width
        self.modalities = modalities
        self.audio_encoder = None if modalities == "text" else build_audio_encoder(config)
        self.text_encoder = None if modalities == "audio" else build_text_encoder(config, vocab_size)
        self.audio_projection = _projection(self.audio_encoder, width)
        self.text_projection = _projection(self.text_encoder, width)
        self.no_audio_D = nn.Parameter(torch.randn(width) * 0.02) if modalities == "text" else None
        self.no_text_D = nn.Parameter(torch.randn(width) * 0.02) if modalities != "text" else None
        self.fusion = ModalFusion(
            width=width,
            heads=config.heads,
            feed_forward=config.feed_forward,
            dropout=config.dropout,
            ccb1=config.ccb1,
            ccb2=config.ccb2,
        )
        self.pool_audio = Pooling(config.pooling, width)
        self.pool_text = Pooling(config.pooling, width)
        self.pool_fused = Pooling(config.pooling, width)
        self.head = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(2 * width, n_classes))
        self.project = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, width))
        # CPC's bilinear scores c^T W x; they exist where there are two modalities.
        self.predict_audio = nn.Linear(width, width, bias=False) if modalities == "both" else None
        self.predict_text = nn.Linear(width, width, bias=False) if modalities == "both" else None

    def forward(self, views: tuple[View, ...]) -> Outputs:
        """All views in one pass, their rows one below the other."""
        view = stack_views(views)
        frames_NJD, frames_valid_NJ = self._audio(view)
        tokens_NMD, tokens_valid_NM, has_text_N = self._text(view, len(frames_NJD))
        if len(frames_NJD) != len(tokens_NMD):
            frames_NJD = frames_NJD.expand(len(tokens_NMD), -1, -1)
            frames_valid_NJ = frames_valid_NJ.expand(len(tokens_NMD), -1)
        fused_NUD, fused_valid_NU = self.fusion(frames_NJD, frames_valid_NJ, tokens_NMD, tokens_valid_NM)
        audio_ND = self.pool_audio(frames_NJD, frames_valid_NJ)
        fused_ND = self.pool_fused(fused_NUD, fused_valid_NU)
        text_ND = self.pool_text(tokens_NMD, tokens_valid_NM)
        features_NF = torch.cat([audio_ND, fused_ND], dim=-1)
        return Outputs(
            logits_NC=self.head(features_NF),
            embeddings_NE=self.project(features_NF),
            features_NF=features_NF,
            audio_ND=audio_ND,
            text_ND=text_ND,
            audio_predicted_ND=fused_ND if self.predict_audio is None else self.predict_audio(fused_ND),
            text_predicted_ND=fused_ND if self.predict_text is None else self.predict_text(fused_ND),
            has_text_N=has_text_N,
        )

    def _audio(self, view: View) -> tuple[Tensor, Tensor]:
        if self.audio_encoder is None:
            assert self.no_audio_D is not None
            valid_11 = torch.ones(1, 1, dtype=torch.bool, device=self.no_audio_D.device)
            return self.no_audio_D[None, None], valid_11
        frames_NJW, valid_NJ = self.audio_encoder(view.waveforms_BS, view.lengths_B)
        return self.audio_projection(frames_NJW), valid_NJ

    def _text(self, view: View, n_rows: int) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens, their mask, and who has text; a row without text becomes the learned token alone."""
        if self.text_encoder is None:
            assert self.no_text_D is not None
            token_N1D = self.no_text_D.expand(n_rows, 1, -1)
            valid_N1 = torch.ones(n_rows, 1, dtype=torch.bool, device=token_N1D.device)
            return token_N1D, valid_N1, torch.zeros_like(valid_N1[:, 0])
        assert view.tokens_BM is not None and view.token_valid_BM is not None
        assert view.has_text_B is not None
        encoded_NMD = self.text_projection(self.text_encoder(view.tokens_BM, view.token_valid_BM))
        if self.no_text_D is None:
            return encoded_NMD, view.token_valid_BM, view.has_text_B
        missing_N1 = ~view.has_text_B[:, None]
        first_M = torch.arange(view.tokens_BM.shape[1], device=missing_N1.device) == 0
        tokens_NMD = torch.where(missing_N1[..., None], self.no_text_D.to(encoded_NMD.dtype), encoded_NMD)
        valid_NM = torch.where(missing_N1, first_M, view.token_valid_BM)
        return tokens_NMD, valid_NM, view.has_text_B


def stack_views(views: tuple[View, ...]) -> View:
    """The rows of several views, one below the other, padded alike."""
    if len(views) == 1:
        return views[0]

    def stack(name: str) -> Tensor | None:
        parts = [getattr(view, name) for view in views]
        if parts[0] is None:
            return None
        longest = max(part.shape[-1] for part in parts)
        if parts[0].ndim == 2:
            parts = [nn.functional.pad(part, (0, longest - part.shape[-1])) for part in parts]
        return torch.cat(parts)

    return View(**{field.name: stack(field.name) for field in dataclasses.fields(View)})


def _projection(encoder: nn.Module | None, width: int) -> nn.Module:
    if encoder is None or encoder.width == width:
        return nn.Identity()
    return nn.Linear(int(encoder.width), width)  # type: ignore[arg-type]
