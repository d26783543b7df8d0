"""Spans of frames that pretrained encoders mask in training (wav2vec 2.0, section 3.1), as transformers draws them."""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from raysys.data.pinned import sent

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def masks_time(config: PreTrainedConfig) -> bool:
    """Whether a model masks frames in training."""
    return bool(getattr(config, "apply_spec_augment", False) and config.mask_time_prob > 0)


def mask_without_waiting(model: Any) -> None:
    """Let a transformers model write masked frames by torch.where.

    It would write them at an index, and a GPU would have to tell the host first how many there are.
    """
    if hasattr(model, "_mask_hidden_states"):
        model._mask_hidden_states = MethodType(_masked, model)


def _masked(
    model: Any, hidden_BJD: Tensor, mask_time_indices: Tensor | None = None, attention_mask: Tensor | None = None
) -> Tensor:
    if mask_time_indices is None:
        return hidden_BJD
    return torch.where(mask_time_indices[..., None], model.masked_spec_embed.to(hidden_BJD.dtype), hidden_BJD)


def time_mask(config: PreTrainedConfig, valid_BJ: Tensor, frames_host_B: Tensor | None) -> Tensor:
    """SpecAugment time masks, drawn from torch's generator (transformers would use numpy's).

    Args:
        frames_host_B: number of valid frames, on the CPU; None: it is asked from the device.
    """
    mask_BJ = span_mask(
        valid_BJ.sum(dim=1).cpu() if frames_host_B is None else frames_host_B,
        valid_BJ.shape[1],
        probability=config.mask_time_prob,
        span=config.mask_time_length,
        at_least=config.mask_time_min_masks,
    )
    return sent(mask_BJ, valid_BJ.device)


def span_mask(lengths_B: Tensor, n_frames: int, *, probability: float, span: int, at_least: int) -> Tensor:
    """Random spans of frames to mask (wav2vec 2.0, section 3.1), as a bool mask B x n_frames.

    Each row gets `n_spans` different first frames within its valid ones. Drawn as transformers'
    `_compute_mask_indices` draws them for an utterance alone, but from torch's default generator, on the CPU.
    In a batch, transformers fits the spans of a short row to the longest row's length: up to all its frames are masked.
    """
    mask_BJ = torch.zeros(len(lengths_B), n_frames, dtype=torch.bool)
    for row, length in zip(mask_BJ, lengths_B.tolist(), strict=True):
        if length < span:
            continue
        rounding = torch.rand(()).item()
        n = n_spans(length, probability=probability, span=span, at_least=at_least, rounding=rounding)
        starts = torch.randperm(length - span + 1)[:n]
        row[(starts[:, None] + torch.arange(span)).flatten()] = True
    return mask_BJ


def n_spans(length: int, *, probability: float, span: int, at_least: int, rounding: float) -> int:
    """How many spans an utterance of `length` frames gets.

    probability x length / span, rounded down after `rounding` (0 to 1) is added, and at least `at_least`; never more
    than fit side by side, so that none are masked in an utterance shorter than a span.
    """
    wanted = int(probability * length / span + rounding)
    return min(max(wanted, at_least), length // span)
