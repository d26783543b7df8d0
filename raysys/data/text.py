"""Tokenize transcripts."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

import tokenizers
import torch
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor

from raysys.errors import EncoderError
from raysys.pretrained import first_line, load_part

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_LONGEST = 512


def train_wordpiece(texts: Sequence[str], vocab_size: int = 4000) -> PreTrainedTokenizerFast:
    """Train a lower-casing WordPiece tokenizer (Schuster and Nakajima 2012) on the transcripts of a training part.

    The same texts give the same tokenizer. Without any text, it only has the special tokens.
    """
    normalizer = normalizers.BertNormalizer(lowercase=True)
    splitter = pre_tokenizers.BertPreTokenizer()
    texts = sorted(set(texts))
    words = {word for t in texts for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(t))}
    # The trainer numbers letters in the order of its hash map, which varies, and breaks ties between merges by number.
    # Letters given as special tokens are numbered as given; only the vocabulary is kept, in which they are not special.
    letters = sorted({c for word in words for c in word}) + sorted({f"##{c}" for word in words for c in word[1:]})
    trained = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    trained.normalizer, trained.pre_tokenizer = normalizer, splitter
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size, min_frequency=2, special_tokens=_SPECIAL + letters, show_progress=False
    )
    trained.train_from_iterator(texts, trainer)
    tokenizer = tokenizers.Tokenizer(models.WordPiece(trained.get_vocab(), unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.add_special_tokens(_SPECIAL)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    return wrap_tokenizer(tokenizer.to_str())


def wrap_tokenizer(serialised: str) -> PreTrainedTokenizerFast:
    """A tokenizer from its JSON, with the interface of a pretrained one."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer.from_str(serialised),
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=_LONGEST,
    )


def load_tokenizer(name: str, *, flag: str = "--model.text") -> PreTrainedTokenizerBase:
    """The tokenizer of a pretrained text encoder, from the Hub or a folder.

    Raises:
        EncoderError: it cannot be loaded.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer: PreTrainedTokenizerBase = load_part(AutoTokenizer, name)
        return tokenizer
    except (OSError, ValueError) as error:
        raise EncoderError(
            f"{flag} {name}: its tokenizer cannot be loaded ({first_line(error)}). Give a name on the Hub "
            f"that this machine can reach, or a folder written by save_pretrained that contains its tokenizer."
        ) from error


def tokenize(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str | None]) -> tuple[Tensor, Tensor, Tensor]:
    """Tokenize a batch.

    Args:
        texts: B transcripts; None for a missing one.

    Returns:
        tokens_BM: int64, padded; texts are truncated to the encoder's limit of 512 tokens.
        valid_BM: bool; the row of a missing text has the tokens of an empty one and must be ignored.
        has_text_B: bool.
    """
    encoded = tokenizer(
        [text or "" for text in texts],
        padding=True,
        truncation=True,
        max_length=min(_LONGEST, tokenizer.model_max_length),
        return_tensors="pt",
    )
    has_text_B = torch.tensor([text is not None for text in texts])
    return encoded["input_ids"], encoded["attention_mask"].bool(), has_text_B


def normalise_transcript(text: str) -> str:
    """Lower case, letters with their marks and digits only, single spaces: equal for equal transcripts.

    Marks are vowels in Hindi and tones in Thai. A text without words is reduced to its symbols: two emoji differ.
    """
    composed = unicodedata.normalize("NFKC", text).casefold()
    kept = " "
    for c in composed:
        is_mark = unicodedata.category(c).startswith("M") and kept[-1] != " "
        kept += c if c.isalnum() or is_mark else " "
    return " ".join(kept.split()) or "".join(c for c in composed if unicodedata.category(c).startswith("S"))
