"""The temporal predictor of contrastive predictive coding."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_STEPS = 12
"""Number of future frames to predict (van den Oord et al. 2018, section 3.1)."""
_CONTEXT = 256


class TemporalPredictor(nn.Module):
    """A causal GRU over the convolutions' latents, and one linear map for each of the next 12 frames."""

    def __init__(self, latent_width: int) -> None:
        super().__init__()
        self.context = nn.GRU(latent_width, _CONTEXT, batch_first=True)
        self.steps = nn.ModuleList(nn.Linear(_CONTEXT, latent_width, bias=False) for _ in range(_STEPS))

    def forward(self, latents_BJL: Tensor) -> Tensor:
        """Returns: W_k c_j as KBJL; padding after an utterance does not affect its frames."""
        context_BJH, _ = self.context(latents_BJL)
        return torch.stack([step(context_BJH) for step in self.steps])
