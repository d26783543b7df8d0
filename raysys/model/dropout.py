"""Dropout (Srivastava et al. 2014) with fast random numbers on a CPU.

PyTorch draws one 32-bit number per element on one core, which took 18 % of a training step of a small wav2vec 2.0.
Here each element uses 16 bits of a 64-bit number, so probabilities are multiples of 2^-16. GPUs use PyTorch's dropout.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_LEVELS = 1 << 16


def dropout(tensor: Tensor, p: float, training: bool) -> Tensor:
    """Zero each element with probability p (to 2^-16), else divide by 1 - p; uses torch's default generator."""
    if not training or p == 0:
        return tensor
    if tensor.is_cuda:
        return F.dropout(tensor, p)
    dropped = round(p * _LEVELS)
    numbers = torch.empty((tensor.numel() + 3) // 4, dtype=torch.int64, device=tensor.device)
    kept = numbers.random_(-(1 << 63), None).view(torch.int16)[: tensor.numel()] >= dropped - _LEVELS // 2
    return tensor * kept.to(tensor.dtype).mul_(_LEVELS / (_LEVELS - dropped)).view(tensor.shape)


class Dropout(nn.Dropout):
    """nn.Dropout implemented with `dropout`."""

    def forward(self, input: Tensor) -> Tensor:
        return dropout(input, self.p, self.training)


def attend(queries_BHQd: Tensor, keys_BHKd: Tensor, values_BHKd: Tensor, mask: Tensor | None, p: float) -> Tensor:
    """Attention with dropout on its weights (Vaswani et al. 2017, section 3.2.1).

    Args:
        mask: bool (True: may be attended to) or added to the scores; broadcast to B x heads x Q x K.
        p: dropout probability; 0 outside training.
    """
    if p == 0 or queries_BHQd.is_cuda:
        return F.scaled_dot_product_attention(queries_BHQd, keys_BHKd, values_BHKd, attn_mask=mask, dropout_p=p)
    scores_BHQK = (queries_BHQd / math.sqrt(queries_BHQd.shape[-1])) @ keys_BHKd.transpose(-2, -1)
    if mask is not None and mask.dtype == torch.bool:
        scores_BHQK = scores_BHQK.masked_fill_(~mask, -torch.inf)
    elif mask is not None:
        scores_BHQK = scores_BHQK + mask
    return dropout(scores_BHQK.softmax(dim=-1), p, True) @ values_BHKd
