"""A transformers text model as a text encoder: tokens to vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch import Tensor, nn

from raysys.model.adapt import set_modes
from raysys.model.fast import speed_up_dropout

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TokenEncoder(nn.Module):
    """Tokens to vectors; the attention mask is always passed.

    Args:
        model: DistilBertModel, BertModel, RobertaModel, ..., with its weights.
        freeze: all: no part is trained.

    Attributes:
        drawn: names of weights that the checkpoint lacks.
        learning: layers that are trained although the rest is frozen.
    """

    def __init__(self, model: PreTrainedModel, *, freeze: Literal["none", "all"]) -> None:
        super().__init__()
        speed_up_dropout(model)
        self.model = model
        self.config = model.config
        self.width: int = model.config.hidden_size
        self.frozen = freeze == "all"
        self.learning: tuple[nn.Module, ...] = ()
        self.drawn: tuple[str, ...] = ()
        if self.frozen:
            model.requires_grad_(False)
        elif getattr(model, "pooler", None) is not None:
            # Of BERT and its relatives; unused: it would have no gradient.
            model.pooler.requires_grad_(False)

    def forward(self, tokens_BM: Tensor, valid_BM: Tensor) -> Tensor:
        """Returns: BMD."""
        set_modes(self)
        hidden: Tensor = self.model(input_ids=tokens_BM, attention_mask=valid_BM.long()).last_hidden_state
        return hidden
