"""Faster dropout, and attention with it, inside modules of PyTorch and models of transformers."""

from __future__ import annotations

from torch import nn

from raysys.model.dropout import Dropout


def speed_up_dropout(module: nn.Module) -> None:
    """Replace every nn.Dropout below a module, and the attention of a transformers model if it is SDPA."""
    for parent in module.modules():
        for name, child in parent.named_children():
            if type(child) is nn.Dropout:
                setattr(parent, name, Dropout(child.p).train(child.training))
    if hasattr(module, "set_attn_implementation"):
        # Only a model of transformers has it: then transformers, which takes seconds to import, is imported already.
        from raysys.model.attention import speed_up_attention

        speed_up_attention(module)
