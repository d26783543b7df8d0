"""A masked language model that reads a text's label too: drawn, loaded, and its logits at the masks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from raysys.distilbert import LONGEST, DistilBertForMaskedLM
from raysys.errors import EncoderError
from raysys.pretrained import load_pretrained

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_FLAG = "--augment.cbca-model"
_LABEL_STD = 0.02


class LabelledMaskedLM(nn.Module):
    """A masked language model whose input embeddings carry an embedding of the text's label.

    x_m = E_token[token_m] + E_label[label]; positions and the rest are the model's own. Without `n_classes` there is
    no E_label, and the model is the plain one.
    """

    def __init__(self, model: PreTrainedModel | DistilBertForMaskedLM, n_classes: int | None) -> None:
        super().__init__()
        self.model = model
        width = model.get_input_embeddings().embedding_dim
        self.label_embedding = None if n_classes is None else nn.Embedding(n_classes, width)
        if self.label_embedding is not None:
            nn.init.normal_(self.label_embedding.weight, std=_LABEL_STD)

    def forward(self, tokens_BM: Tensor, valid_BM: Tensor, labels_B: Tensor, is_mask_BM: Tensor) -> Tensor:
        """Logits at the N masked places, row after row: float, N x vocabulary."""
        embeddings_BME = self.model.get_input_embeddings()(tokens_BM)
        if self.label_embedding is not None:
            embeddings_BME = embeddings_BME + self.label_embedding(labels_B)[:, None]
        # The vocabulary is most of a small model's work and all of its memory: only masked places go through it.
        head: nn.Module = self.model.get_output_embeddings()
        hook = head.register_forward_pre_hook(lambda _, hidden: (hidden[0][is_mask_BM],))
        try:
            logits_NV: Tensor = self.model(inputs_embeds=embeddings_BME, attention_mask=valid_BM).logits
        finally:
            hook.remove()
        return logits_NV


def light_masked_lm(tokenizer: PreTrainedTokenizerBase, *, width: int = 96, seed: int = 0) -> DistilBertForMaskedLM:
    """A small DistilBERT for the tokenizer's vocabulary, its weights drawn from `seed` alone; 4 divides `width`."""
    with own_randomness(seed, torch.device("cpu")):
        return DistilBertForMaskedLM(vocab_size=len(tokenizer), width=width, dropout=0.1)


def load_masked_lm(name: str) -> PreTrainedModel:
    """A pretrained masked language model, float32, from the Hub or a folder written by save_pretrained.

    Raises:
        EncoderError: it cannot be loaded, or weights are missing (its head's, say, in an encoder's checkpoint).
    """
    from transformers import AutoModelForMaskedLM

    advice = (
        "Give a complete masked language model, head included: a name on the Hub that this machine can reach, or a "
        "folder written by save_pretrained with its tokenizer beside it."
    )
    return load_pretrained(AutoModelForMaskedLM, name, _FLAG, advice)


def mask_logits(
    lm: LabelledMaskedLM, tokenizer: PreTrainedTokenizerBase, rows: list[list[int]], labels: list[int]
) -> Tensor:
    """Logits at the masks of rows of tokens. Padding is on the right, where RoBERTa's positions need it."""
    device = next(lm.parameters()).device
    tokens_BM = pad_sequence([torch.tensor(row) for row in rows], True, tokenizer.pad_token_id or 0)
    lengths_B = torch.tensor([len(row) for row in rows])
    valid_BM = torch.arange(tokens_BM.shape[1]) < lengths_B[:, None]
    is_mask_BM = (tokens_BM == tokenizer.mask_token_id) & valid_BM
    labels_B = torch.tensor(labels)
    logits_NV: Tensor = lm(tokens_BM.to(device), valid_BM.to(device), labels_B.to(device), is_mask_BM.to(device))
    return logits_NV


def max_tokens(model: PreTrainedModel | DistilBertForMaskedLM, tokenizer: PreTrainedTokenizerBase) -> int:
    """Most tokens that the model takes."""
    embeddings = getattr(model.base_model, "embeddings", None)
    padding_position = getattr(getattr(embeddings, "position_embeddings", None), "padding_idx", None)
    # RoBERTa numbers its positions from the one after padding's.
    lost = 0 if padding_position is None else padding_position + 1
    positions = getattr(getattr(model, "config", None), "max_position_embeddings", LONGEST)
    return int(min(tokenizer.model_max_length, positions - lost, LONGEST))


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel | DistilBertForMaskedLM) -> None:
    """Raises: EncoderError: the tokenizer is not this model's, or has no mask token."""
    if tokenizer.mask_token_id is None:
        raise EncoderError(
            f"{_FLAG} {model.name_or_path}: its tokenizer has no mask token; give a masked language model."
        )
    n_rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > n_rows:
        raise EncoderError(
            f"{_FLAG} {model.name_or_path}: its tokenizer has {len(tokenizer)} tokens, the model embeddings for "
            f"{n_rows}. Give a folder in which both were saved together."
        )


@contextmanager
def own_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """torch's default generators from `seed`, and afterwards as they were."""
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        # Not torch.manual_seed: it would seed all devices, of which one was set aside.
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
