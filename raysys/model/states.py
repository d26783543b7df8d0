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
    width = int(states[0].shape[-1])
    return torch.cat([functional.layer_norm(state.float(), (width,)) for state in states], dim=-1)


class Standardised(nn.Module):
    """Mean and deviation of each number of the frames over a training part, for `WeightedSum`.

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


class WeightedSum(nn.Module):
    """A softmax-weighted sum of K states with learned weights (Yang et al. 2021, SUPERB): BJ(KD) -> BJD.

    Its logits are no part of an encoder: at an encoder's learning rate they would stay a plain mean.
    """

    def __init__(self, n_states: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(n_states))

    def forward(
        self, joined_BJE: Tensor, standardise: Standardised | None = None, kept_BE: Tensor | None = None
    ) -> Tensor:
        """The sum of (joined_BJE - mean_E) / deviation_E * kept_BE, without storing any of these.

        All states are by far the largest tensor of a small network: what passes over it takes most of a step.

        Args:
            standardise: None: the states as they are.
            kept_BE: of dropped channels, see `FrameMasking.drawn`; None: all are kept.
        """
        weights_K1 = self.logits.softmax(dim=0).to(joined_BJE.dtype)[:, None]
        n_states = len(weights_K1)
        scale_KD = weights_K1.expand(-1, joined_BJE.shape[-1] // n_states)
        if standardise is not None:
            scale_KD = scale_KD / standardise.deviation_E.unflatten(0, (n_states, -1))
        scale_BKD = scale_KD[None] if kept_BE is None else scale_KD * kept_BE.unflatten(1, (n_states, -1))
        first_BJD, *others = joined_BJE.chunk(n_states, dim=-1)
        sum_BJD = first_BJD * scale_BKD[:, None, 0]
        for k, state_BJD in enumerate(others, 1):
            sum_BJD = torch.addcmul(sum_BJD, state_BJD, scale_BKD[:, None, k])
        if standardise is None:
            return sum_BJD
        return sum_BJD - (scale_BKD * standardise.mean_E.unflatten(0, (n_states, -1))).sum(dim=1)[:, None]


def pooled_in_time(frames_BJE: Tensor, valid_BJ: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """The mean of every n frames, of the valid ones among them, and which of these have any."""
    if n == 1:
        return frames_BJE, valid_BJ
    more = -frames_BJE.shape[1] % n
    n_rows, width = frames_BJE.shape[0], frames_BJE.shape[2]
    frames_BGnE = functional.pad(frames_BJE, (0, 0, 0, more)).reshape(n_rows, -1, n, width)
    valid_BGn1 = functional.pad(valid_BJ, (0, more)).reshape(n_rows, -1, n, 1)
    counts_BG1 = valid_BGn1.sum(dim=2)
    means_BGE = (frames_BGnE * valid_BGn1).sum(dim=2) / counts_BG1.clamp_min(1)
    return means_BGE, counts_BG1[..., 0] > 0


_SMALLEST_DEVIATION = 1e-3
"""Of frames whose numbers have a variance of 1, see `joined_states`."""
