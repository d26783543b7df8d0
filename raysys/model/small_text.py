"""A small DistilBERT (Sanh et al. 2019), trained from scratch: importing transformers' own would take seconds.

Parameters, their first values from a seed, and results are those of transformers' DistilBertModel, to the bit on a CPU.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raysys.model.dropout import Dropout, attend

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_LAYERS, _HEADS = 2, 4
_STD = 0.02
_LONGEST = 512
_EPS = 1e-12


class SmallTextEncoder(nn.Module):
    """Tokens to vectors: learned positions, post-norm Transformer layers with GELU.

    Args:
        vocab_size: of the tokenizer, whose token 0 is padding.
        width: of the vectors; 4 heads divide it, and the feed-forward layers are 4 times as wide.
        freeze: all: nothing of it is trained.
    """

    def __init__(self, *, vocab_size: int, width: int, dropout: float, freeze: Literal["none", "all"] = "none") -> None:
        super().__init__()
        self.width, self.dropout = width, dropout
        self.frozen = freeze == "all"
        # Named as in `TokenEncoder`, so that the weights of either load into the other.
        self.model = _DistilBert(vocab_size, width, dropout)
        self.model.apply(_draw)
        if self.frozen:
            self.requires_grad_(False)

    @property
    def config(self) -> PreTrainedConfig:
        """What transformers builds the same model from: a saved model's folder keeps it."""
        from transformers import DistilBertConfig

        return DistilBertConfig(
            vocab_size=self.model.embeddings.word_embeddings.num_embeddings,
            dim=self.width,
            n_layers=_LAYERS,
            n_heads=_HEADS,
            hidden_dim=4 * self.width,
            dropout=self.dropout,
            attention_dropout=self.dropout,
        )

    def forward(self, tokens_BM: Tensor, valid_BM: Tensor) -> Tensor:
        """Returns: BMD."""
        if self.frozen:
            self.model.eval()
        hidden_BMD: Tensor = self.model(tokens_BM, valid_BM)
        return hidden_BMD


class _DistilBert(nn.Module):
    def __init__(self, vocab_size: int, width: int, dropout: float) -> None:
        super().__init__()
        self.embeddings = _Embeddings(vocab_size, width, dropout)
        self.transformer = _Layers(_Layer(width, dropout) for _ in range(_LAYERS))

    def forward(self, tokens_BM: Tensor, valid_BM: Tensor) -> Tensor:
        hidden_BMD: Tensor = self.embeddings(tokens_BM)
        # Without a mask PyTorch takes another kernel, which rounds in another way. A GPU is not waited for.
        unmasked = not valid_BM.is_cuda and bool(valid_BM.all())
        mask = None if unmasked else valid_BM[:, None, None, :].expand(-1, 1, valid_BM.shape[1], -1)
        for layer in self.transformer.layer:
            hidden_BMD = layer(hidden_BMD, mask)
        return hidden_BMD


class _Layers(nn.Module):
    def __init__(self, layers: Iterable[_Layer]) -> None:
        super().__init__()
        self.layer = nn.ModuleList(layers)


class _Embeddings(nn.Module):
    def __init__(self, vocab_size: int, width: int, dropout: float) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocab_size, width, padding_idx=0)
        self.position_embeddings = nn.Embedding(_LONGEST, width)
        self.LayerNorm = nn.LayerNorm(width, eps=_EPS)
        self.dropout = Dropout(dropout)

    def forward(self, tokens_BM: Tensor) -> Tensor:
        positions_M = torch.arange(tokens_BM.shape[1], device=tokens_BM.device)
        hidden_BMD = self.word_embeddings(tokens_BM) + self.position_embeddings(positions_M[None])
        dropped: Tensor = self.dropout(self.LayerNorm(hidden_BMD))
        return dropped


class _Attention(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.p = dropout
        self.q_lin, self.k_lin = nn.Linear(width, width), nn.Linear(width, width)
        self.v_lin, self.out_lin = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, hidden_BMD: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = (self._split(layer(hidden_BMD)) for layer in (self.q_lin, self.k_lin, self.v_lin))
        mixed_BHMd = attend(q, k, v, mask, self.p if self.training else 0.0)
        mixed_BMD: Tensor = self.out_lin(mixed_BHMd.transpose(1, 2).flatten(2))
        return mixed_BMD

    def _split(self, x_BMD: Tensor) -> Tensor:
        return x_BMD.unflatten(-1, (_HEADS, -1)).transpose(1, 2)


class _FeedForward(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.lin1, self.lin2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, hidden_BMD: Tensor) -> Tensor:
        dropped: Tensor = self.dropout(self.lin2(F.gelu(self.lin1(hidden_BMD))))
        return dropped


class _Layer(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.attention = _Attention(width, dropout)
        self.sa_layer_norm = nn.LayerNorm(width, eps=_EPS)
        self.ffn = _FeedForward(width, dropout)
        self.output_layer_norm = nn.LayerNorm(width, eps=_EPS)

    def forward(self, hidden_BMD: Tensor, mask: Tensor | None) -> Tensor:
        hidden_BMD = self.sa_layer_norm(self.attention(hidden_BMD, mask) + hidden_BMD)
        output_BMD: Tensor = self.output_layer_norm(self.ffn(hidden_BMD) + hidden_BMD)
        return output_BMD


def _draw(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=_STD)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
    if isinstance(module, nn.Embedding) and module.padding_idx is not None:
        nn.init.zeros_(module.weight[module.padding_idx])
