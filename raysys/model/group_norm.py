"""Group norm that an utterance's padding does not reach."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
