"""mp(.) of equation 2: pool a sequence of vectors into one."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn


def masked_max(sequence_BTD: Tensor, valid_BT: Tensor) -> Tensor:
    """Maximum over the valid positions (BD); every row has at least one."""
    lowest = torch.finfo(sequence_BTD.dtype).min
    return sequence_BTD.masked_fill(~valid_BT[..., None], lowest).amax(dim=1)


def masked_mean(sequence_BTD: Tensor, valid_BT: Tensor) -> Tensor:
    """Mean over the valid positions (BD); every row has at least one."""
    weights_BT1 = valid_BT[..., None].to(sequence_BTD.dtype)
    return (sequence_BTD * weights_BT1).sum(dim=1) / weights_BT1.sum(dim=1)


class Pooling(nn.Module):
    """Masked pooling over time: BTD -> BD.

    max is the paper's "maximum pooled"; attention is its "attention-pooling": a softmax of a learned linear score.
    statistics: attentive mean and standard deviation (Okabe et al. 2018) and the plain mean, projected back to D.
    """

    def __init__(self, kind: Literal["max", "attention", "mean", "statistics"], width: int) -> None:
        super().__init__()
        self.kind = kind
        self.score = nn.Linear(width, 1, bias=False) if kind in ("attention", "statistics") else None
        self.project = nn.Linear(3 * width, width) if kind == "statistics" else None

    def forward(self, sequence_BTD: Tensor, valid_BT: Tensor) -> Tensor:
        if self.kind == "max":
            return masked_max(sequence_BTD, valid_BT)
        if self.kind == "mean":
            return masked_mean(sequence_BTD, valid_BT)
        assert self.score is not None
        score_BT = self.score(sequence_BTD).squeeze(-1).float().masked_fill(~valid_BT, -torch.inf)
        weights_BT1 = score_BT.softmax(dim=1)[..., None].to(sequence_BTD.dtype)
        mean_BD = (sequence_BTD * weights_BT1).sum(dim=1)
        if self.project is None:
            return mean_BD
        variance_BD = ((sequence_BTD - mean_BD[:, None]).square() * weights_BT1).sum(dim=1)
        # The square root's slope is infinite at 0, where there is one frame.
        deviation_BD = (variance_BD + _SMALLEST_VARIANCE).sqrt()
        pooled_BD: Tensor = self.project(
            torch.cat([mean_BD, deviation_BD, masked_mean(sequence_BTD, valid_BT)], dim=-1)
        )
        return pooled_BD


_SMALLEST_VARIANCE = 1e-5
