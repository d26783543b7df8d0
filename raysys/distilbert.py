"""A small DistilBERT (Sanh et al. 2019) for training from scratch: transformers' own takes seconds to import.

Parameters, their names, their initial values for a seed, and results match transformers' DistilBertModel and
DistilBertForMaskedLM bit for bit on a CPU. Letters: B texts, M tokens, D width, H heads, d head width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LONGEST = 512
"""Maximum number of tokens."""
N_LAYERS, N_HEADS = 2, 4
_STD = 0.02
_EPS = 1e-12

Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None, float], Tensor]
"""Maps queries, keys, values (BHMd), mask and dropout probability to BHMd."""


def attend_as_pytorch(q_BHMd: Tensor, k_BHMd: Tensor, v_BHMd: Tensor, mask: Tensor | None, p: float) -> Tensor:
    return F.scaled_dot_product_attention(q_BHMd, k_BHMd, v_BHMd, attn_mask=mask, dropout_p=p)


class DistilBert(nn.Module):
    """Learned positions, two post-norm Transformer layers of 4 heads, feed-forward layers 4 times as wide, GELU.

    Args:
        vocab_size: vocabulary size of the tokenizer, whose token 0 is padding.
        width: D, width of the vectors, a multiple of 4 (heads).
        dropout_layer, attend: implementations of dropout, and of attention with dropout.
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        width: int,
        dropout: float,
        dropout_layer: Callable[[float], nn.Module] = nn.Dropout,
        attend: Attend = attend_as_pytorch,
    ) -> None:
        super().__init__()
        self.embeddings = _Embeddings(vocab_size, width, dropout_layer(dropout))
        self.transformer = _Layers(_Layer(width, dropout, dropout_layer(dropout), attend) for _ in range(N_LAYERS))
        self.apply(draw)

    def forward(self, embeddings_BMD: Tensor, valid_BM: Tensor) -> Tensor:
        """Args:
            embeddings_BMD: word embeddings, without positions.
            valid_BM: bool.

        Returns: BMD.
        """
        hidden_BMD: Tensor = self.embeddings(embeddings_BMD)
        # Without a mask PyTorch uses another kernel, which rounds differently. Not checked on GPUs: it would sync.
        unmasked = not valid_BM.is_cuda and bool(valid_BM.all())
        mask = None if unmasked else valid_BM[:, None, None, :].expand(-1, 1, valid_BM.shape[1], -1)
        for layer in self.transformer.layer:
            hidden_BMD = layer(hidden_BMD, mask)
        return hidden_BMD


@dataclass(frozen=True, slots=True)
class Logits:
    """Output format of transformers' models."""

    logits: Tensor


class DistilBertForMaskedLM(nn.Module):
    """DistilBERT with a masked language modelling head; same interface as transformers' models.

    Args:
        vocab_size, width, dropout: see `DistilBert`.
    """

    name_or_path = "light"

    def __init__(self, *, vocab_size: int, width: int, dropout: float) -> None:
        super().__init__()
        self.distilbert = DistilBert(vocab_size=vocab_size, width=width, dropout=dropout)
        self.vocab_transform = nn.Linear(width, width)
        self.vocab_layer_norm = nn.LayerNorm(width, eps=_EPS)
        self.vocab_projector = nn.Linear(width, vocab_size)
        self.vocab_transform.apply(draw)
        self.vocab_projector.apply(draw)
        self.vocab_projector.weight = self.distilbert.embeddings.word_embeddings.weight

    @property
    def base_model(self) -> DistilBert:
        return self.distilbert

    def get_input_embeddings(self) -> nn.Embedding:
        return self.distilbert.embeddings.word_embeddings

    def get_output_embeddings(self) -> nn.Linear:
        return self.vocab_projector

    def forward(self, *, inputs_embeds: Tensor, attention_mask: Tensor) -> Logits:
        """Args:
        inputs_embeds: BMD, word embeddings, without positions.
        attention_mask: BM, bool.
        """
        hidden_BMD = self.vocab_transform(self.distilbert(inputs_embeds, attention_mask))
        hidden_BMD = self.vocab_layer_norm(F.gelu(hidden_BMD))
        return Logits(self.vocab_projector(hidden_BMD))


class _Layers(nn.Module):
    def __init__(self, layers: Iterable[_Layer]) -> None:
        super().__init__()
        self.layer = nn.ModuleList(layers)


class _Embeddings(nn.Module):
    def __init__(self, vocab_size: int, width: int, dropout: nn.Module) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocab_size, width, padding_idx=0)
        self.position_embeddings = nn.Embedding(LONGEST, width)
        self.LayerNorm = nn.LayerNorm(width, eps=_EPS)
        self.dropout = dropout

    def forward(self, words_BMD: Tensor) -> Tensor:
        positions_M = torch.arange(words_BMD.shape[1], device=words_BMD.device)
        hidden_BMD = words_BMD + self.position_embeddings(positions_M[None])
        dropped: Tensor = self.dropout(self.LayerNorm(hidden_BMD))
        return dropped


class _Attention(nn.Module):
    def __init__(self, width: int, dropout: float, attend: Attend) -> None:
        super().__init__()
        self.p, self.attend = dropout, attend
        self.q_lin, self.k_lin = nn.Linear(width, width), nn.Linear(width, width)
        self.v_lin, self.out_lin = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, hidden_BMD: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = (self._split(layer(hidden_BMD)) for layer in (self.q_lin, self.k_lin, self.v_lin))
        mixed_BHMd = self.attend(q, k, v, mask, self.p if self.training else 0.0)
        mixed_BMD: Tensor = self.out_lin(mixed_BHMd.transpose(1, 2).flatten(2))
        return mixed_BMD

    def _split(self, x_BMD: Tensor) -> Tensor:
        return x_BMD.unflatten(-1, (N_HEADS, -1)).transpose(1, 2)


class _FeedForward(nn.Module):
    def __init__(self, width: int, dropout: nn.Module) -> None:
        super().__init__()
        self.dropout = dropout
        self.lin1, self.lin2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, hidden_BMD: Tensor) -> Tensor:
        dropped: Tensor = self.dropout(self.lin2(F.gelu(self.lin1(hidden_BMD))))
        return dropped


class _Layer(nn.Module):
    def __init__(self, width: int, dropout: float, dropout_layer: nn.Module, attend: Attend) -> None:
        super().__init__()
        self.attention = _Attention(width, dropout, attend)
        self.sa_layer_norm = nn.LayerNorm(width, eps=_EPS)
        self.ffn = _FeedForward(width, dropout_layer)
        self.output_layer_norm = nn.LayerNorm(width, eps=_EPS)

    def forward(self, hidden_BMD: Tensor, mask: Tensor | None) -> Tensor:
        hidden_BMD = self.sa_layer_norm(self.attention(hidden_BMD, mask) + hidden_BMD)
        output_BMD: Tensor = self.output_layer_norm(self.ffn(hidden_BMD) + hidden_BMD)
        return output_BMD


def draw(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=_STD)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
    if isinstance(module, nn.Embedding) and module.padding_idx is not None:
        nn.init.zeros_(module.weight[module.padding_idx])
