"""From an encoder's hidden states to one sequence of frames: all states on one scale, weighted, pooled in time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


def joined_states(states: Sequence[Tensor]) -> Tensor:
    """K hidden states (BJD) side by side as BJ(KD), each frame of each normalised to mean 0 and variance 1.

    The last state usually comes after a layer norm and the others before one, at scales that differ a hundredfold: a
    weighted sum of them as they are would be a choice of the largest.
    """
    return torch.cat([functional.layer_norm(state.float(), state.shape[-1:]) for state in states], dim=-1)


class Standardised(nn.Module):
    """Each number of the frames less its mean over a training part, divided by its deviation: BJE -> BJE.

    A Transformer's states have a few numbers far larger than the others, in every frame: a norm over a frame's numbers
    keeps them so, and what tells one emotion from another is small beside them. Until `set`, frames are returned as
    they are.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean_E", torch.zeros(width))
        self.register_buffer("deviation_E", torch.ones(width))
        self.mean_E: Tensor
        self.deviation_E: Tensor

    def set(self, frames: Iterable[np.ndarray]) -> None:
        """Take mean and deviation over all frames of some utterances (JE each), in float64."""
        n, sum_E, squares_E = 0, torch.zeros_like(self.mean_E).double(), torch.zeros_like(self.mean_E).double()
        for frames_JE in frames:
            exact_JE = torch.from_numpy(frames_JE.astype(np.float64))
            n += len(exact_JE)
            sum_E += exact_JE.sum(dim=0)
            squares_E += exact_JE.square().sum(dim=0)
        mean_E = sum_E / n
        deviation_E = (squares_E / n - mean_E.square()).clamp_min(0).sqrt()
        self.mean_E.copy_(mean_E)
        # What never changes in training says nothing: it is not blown up where it does in a test.
        self.deviation_E.copy_(deviation_E.clamp_min(_SMALLEST_DEVIATION))

    def forward(self, frames_BJE: Tensor) -> Tensor:
        return (frames_BJE - self.mean_E) / self.deviation_E


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


_SMALLEST_DEVIATION = 1e-3
"""Of frames whose numbers have a variance of 1, see `joined_states`."""
