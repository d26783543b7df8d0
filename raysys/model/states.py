"""From an encoder's hidden states to one sequence of frames: all states on one scale, weighted, pooled in time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


def joined_states(states: Sequence[Tensor]) -> Tensor:
    """K hidden states (BJD) side by side as BJ(KD), each frame of each normalised to mean 0 and variance 1.

    The last state usually comes after a layer norm and the others before one, at scales that differ a hundredfold: a
    weighted sum of them as they are would be a choice of the largest.
    """
    return torch.cat([functional.layer_norm(state.float(), state.shape[-1:]) for state in states], dim=-1)


class WeightedSum(nn.Module):
    """A softmax-weighted sum of K states with learned weights (Yang et al. 2021, SUPERB): BJ(KD) -> BJD.

    Its logits are no part of an encoder: at an encoder's learning rate they would stay a plain mean.
    """

    def __init__(self, n_states: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(n_states))

    def forward(self, joined_BJE: Tensor) -> Tensor:
        states_BJKD = joined_BJE.unflatten(-1, (len(self.logits), -1))
        return torch.einsum("k,bjkd->bjd", self.logits.softmax(dim=0).to(joined_BJE.dtype), states_BJKD)


def pooled_in_time(frames_BJE: Tensor, valid_BJ: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """The mean of every n frames, of the valid ones among them, and which of these have any."""
    if n == 1:
        return frames_BJE, valid_BJ
    more = -frames_BJE.shape[1] % n
    frames_BGnE = functional.pad(frames_BJE, (0, 0, 0, more)).unflatten(1, (-1, n))
    valid_BGn1 = functional.pad(valid_BJ, (0, more)).unflatten(1, (-1, n))[..., None]
    counts_BG1 = valid_BGn1.sum(dim=2)
    means_BGE = (frames_BGnE * valid_BGn1).sum(dim=2) / counts_BG1.clamp_min(1)
    return means_BGE, counts_BG1[..., 0] > 0
