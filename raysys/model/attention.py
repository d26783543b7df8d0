"""Attention with fast dropout for transformers models."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from raysys.model.dropout import attend

_ATTENTION = "sdpa_with_fast_dropout"


def speed_up_attention(model: Any) -> None:
    """Replace the attention of a transformers model if it uses SDPA."""
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(_ATTENTION)


def _attention_of_transformers(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    usual = scaling is None or math.isclose(scaling, query.shape[-1] ** -0.5)
    special = others.get("position_bias") is not None or getattr(module, "is_causal", False)
    if dropout == 0 or query.is_cuda or special or not usual or key.shape[1] != query.shape[1]:
        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **others
        )
    return attend(query, key, value, attention_mask, dropout).transpose(1, 2).contiguous(), None


def _mask_of_transformers(
    *args: Any, attention_mask: Tensor | None = None, allow_is_bidirectional_skip: bool = False, **others: Any
) -> Tensor | None:
    """Of SDPA, which needs none where nothing is padded. A GPU is not asked whether anything is: it would sync."""
    asked = allow_is_bidirectional_skip and not (attention_mask is not None and attention_mask.is_cuda)
    mask: Tensor | None = sdpa_mask(*args, attention_mask=attention_mask, allow_is_bidirectional_skip=asked, **others)
    return mask


AttentionInterface.register(_ATTENTION, _attention_of_transformers)
AttentionMaskInterface.register(_ATTENTION, _mask_of_transformers)
