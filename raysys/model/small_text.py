"""Text encoder trained from scratch: a small DistilBERT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch import Tensor, nn

from raysys.distilbert import N_HEADS, N_LAYERS, DistilBert
from raysys.model.dropout import Dropout, attend

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


class SmallTextEncoder(nn.Module):
    """Tokens to vectors: learned positions, post-norm Transformer layers with GELU.

    Args:
        vocab_size: vocabulary size of the tokenizer, whose token 0 is padding.
        width: width of the vectors, a multiple of 4 (heads); the feed-forward layers are 4 times as wide.
        freeze: all: no part is trained.
    """

    def __init__(self, *, vocab_size: int, width: int, dropout: float, freeze: Literal["none", "all"] = "none") -> None:
        super().__init__()
        self.width, self.dropout = width, dropout
        self.frozen = freeze == "all"
        # Named as in `TokenEncoder`, so that the weights of either load into the other.
        self.model = DistilBert(
            vocab_size=vocab_size, width=width, dropout=dropout, dropout_layer=Dropout, attend=attend
        )
        if self.frozen:
            self.requires_grad_(False)

    @property
    def config(self) -> PreTrainedConfig:
        """The equivalent transformers configuration, stored in a saved model's folder."""
        from transformers import DistilBertConfig

        return DistilBertConfig(
            vocab_size=self.model.embeddings.word_embeddings.num_embeddings,
            dim=self.width,
            n_layers=N_LAYERS,
            n_heads=N_HEADS,
            hidden_dim=4 * self.width,
            dropout=self.dropout,
            attention_dropout=self.dropout,
        )

    def forward(self, tokens_BM: Tensor, valid_BM: Tensor) -> Tensor:
        """Returns: BMD."""
        if self.frozen:
            self.model.eval()
        hidden_BMD: Tensor = self.model(self.model.embeddings.word_embeddings(tokens_BM), valid_BM)
        return hidden_BMD
