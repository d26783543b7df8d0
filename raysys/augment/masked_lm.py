"""A masked language model that also reads a text's label: random initialisation, loading, and logits at the masks."""

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
    """A masked language model with an embedding of the text's label added to its input embeddings.

    x_m = E_token[token_m] + E_label[label]; positions and the rest are the model's own. Without `n_classes` there is
    no E_label, and the model is unchanged.

    Attributes:
        label_bias: C x vocabulary, added to the logits (see `label_bias.LabelBias`); None for none.
    """

    label_bias: Tensor | None

    def __init__(self, model: PreTrainedModel | DistilBertForMaskedLM, n_classes: int | None) -> None:
        super().__init__()
        self.model = model
        width = model.get_input_embeddings().embedding_dim
        self.label_embedding = None if n_classes is None else nn.Embedding(n_classes, width)
        if self.label_embedding is not None:
            nn.init.normal_(self.label_embedding.weight, std=_LABEL_STD)
        self.register_buffer("label_bias", None)

    def forward(self, tokens_BM: Tensor, valid_BM: Tensor, labels_B: Tensor, is_mask_BM: Tensor) -> Tensor:
        """Logits at the N masked positions, row by row: float, N x vocabulary."""
        embeddings_BME = self.model.get_input_embeddings()(tokens_BM)
        if self.label_embedding is not None:
            embeddings_BME = embeddings_BME + self.label_embedding(labels_B)[:, None]
        # The vocabulary takes most of a small model's time and all of its memory: only project the masked positions.
        head: nn.Module = self.model.get_output_embeddings()
        hook = head.register_forward_pre_hook(lambda _, hidden: (hidden[0][is_mask_BM],))
        try:
            logits_NV: Tensor = self.model(inputs_embeds=embeddings_BME, attention_mask=valid_BM).logits
        finally:
            hook.remove()
        if self.label_bias is None:
            return logits_NV
        return logits_NV + self.label_bias[labels_B[:, None].expand_as(is_mask_BM)[is_mask_BM]]


def light_masked_lm(tokenizer: PreTrainedTokenizerBase, *, width: int = 96, seed: int = 0) -> DistilBertForMaskedLM:
    """A small DistilBERT for the tokenizer's vocabulary, initialised from `seed` alone; `width` is a multiple of 4."""
    with own_randomness(seed, torch.device("cpu")):
        return DistilBertForMaskedLM(vocab_size=len(tokenizer), width=width, dropout=0.1)


def load_masked_lm(name: str) -> PreTrainedModel:
    """A pretrained masked language model, float32, from the Hub or a folder written by save_pretrained.

    Raises:
        EncoderError: it cannot be loaded, or weights are missing (such as the head, in an encoder's checkpoint).
    """
    from transformers import AutoModelForMaskedLM

    advice = (
        "Give a complete masked language model, including its head: a name on the Hub that this machine can reach, or "
        "a folder written by save_pretrained that contains its tokenizer."
    )
    return load_pretrained(AutoModelForMaskedLM, name, _FLAG, advice).model


def mask_logits(
    lm: LabelledMaskedLM, tokenizer: PreTrainedTokenizerBase, rows: list[list[int]], labels: list[int]
) -> Tensor:
    """Logits at the masks of token rows. Padding is on the right, as RoBERTa's positions require."""
    device = next(lm.parameters()).device
    tokens_BM = pad_sequence([torch.tensor(row) for row in rows], True, tokenizer.pad_token_id or 0)
    lengths_B = torch.tensor([len(row) for row in rows])
    valid_BM = torch.arange(tokens_BM.shape[1]) < lengths_B[:, None]
    is_mask_BM = (tokens_BM == tokenizer.mask_token_id) & valid_BM
    labels_B = torch.tensor(labels)
    logits_NV: Tensor = lm(tokens_BM.to(device), valid_BM.to(device), labels_B.to(device), is_mask_BM.to(device))
    return logits_NV


def max_tokens(model: PreTrainedModel | DistilBertForMaskedLM, tokenizer: PreTrainedTokenizerBase) -> int:
    """Maximum number of tokens the model accepts, at most LONGEST."""
    embeddings = getattr(model.base_model, "embeddings", None)
    padding_position = getattr(getattr(embeddings, "position_embeddings", None), "padding_idx", None)
    # RoBERTa numbers its positions from the one after the padding position.
    lost = 0 if padding_position is None else padding_position + 1
    positions = getattr(getattr(model, "config", None), "max_position_embeddings", LONGEST)
    # XLNet, which has no limit, says -1.
    positions = positions - lost if positions > 0 else LONGEST
    return int(min(tokenizer.model_max_length, positions, LONGEST))


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel | DistilBertForMaskedLM) -> None:
    """Raises: EncoderError: the tokenizer does not belong to this model, or has no mask token."""
    if tokenizer.mask_token_id is None:
        raise EncoderError(
            f"{_FLAG} {model.name_or_path}: its tokenizer has no mask token; give a masked language model."
        )
    n_rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > n_rows:
        raise EncoderError(
            f"{_FLAG} {model.name_or_path}: its tokenizer has {len(tokenizer)} tokens, but the model has embeddings "
            f"for {n_rows}. Give a folder in which both were saved together."
        )


@contextmanager
def own_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's default generators with `seed`, and restore their state afterwards."""
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        # Not torch.manual_seed: it would seed all devices, but only one was saved.
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
