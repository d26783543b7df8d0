"""Masks on an audio encoder's frames in training: SpecAugment (Park et al. 2019), applied to features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from raysys.model.dropout import dropout


class FrameMasking(nn.Module):
    """In training, zeroes a span of frames and a part of the numbers in all frames of each utterance: BJE -> BJE.

    Where frames are standardised, 0 is their mean. A frozen encoder gives the same features in every epoch, so without
    masks a small corpus is soon learned by heart.

    Args:
        longest: of a span, as a fraction of the utterance's frames; its length is uniform from 0 to that.
        channels: probability that a number is zeroed in all frames of an utterance; the others are divided by 1 - p.
    """

    def __init__(self, *, longest: float, channels: float) -> None:
        super().__init__()
        self.longest = longest
        self.channels = channels

    def forward(self, frames_BJE: Tensor, valid_BJ: Tensor) -> Tensor:
        if not self.training:
            return frames_BJE
        hidden_BJ, kept_BE = self.drawn(frames_BJE, valid_BJ)
        if hidden_BJ is not None:
            frames_BJE = frames_BJE.masked_fill(hidden_BJ[..., None], 0.0)
        return frames_BJE if kept_BE is None else frames_BJE * kept_BE[:, None]

    def drawn(self, frames_BJE: Tensor, valid_BJ: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Frames to be zeroed (BJ), and what numbers are multiplied with (BE): 0, or 1 / (1 - p). None where off."""
        if not self.training:
            return None, None
        hidden_BJ = self._span(valid_BJ) if self.longest else None
        if not self.channels:
            return hidden_BJ, None
        kept_BE = frames_BJE.new_ones(len(frames_BJE), frames_BJE.shape[-1])
        return hidden_BJ, dropout(kept_BE, self.channels, True)

    def _span(self, valid_BJ: Tensor) -> Tensor:
        """The frames of each row's span (BJ)."""
        n_B = valid_BJ.sum(dim=1)
        length_draw_B, start_draw_B = torch.rand(2, len(n_B), device=n_B.device)
        length_B = (length_draw_B * ((self.longest * n_B).floor() + 1)).floor()
        start_B = (start_draw_B * (n_B - length_B + 1)).floor()
        ahead_J = torch.arange(valid_BJ.shape[1], device=n_B.device)
        return (ahead_J >= start_B[:, None]) & (ahead_J < (start_B + length_B)[:, None])
