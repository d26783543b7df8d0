"""Tokenize transcripts."""

from __future__ import annotations

import importlib.util
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
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
_ODD, _UNUSABLE = 0.05, 0.9
"""Fractions of unknown words: noted, and refused."""


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
        EncoderError: it cannot be loaded, has no files in the folder, or cannot pad.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer: PreTrainedTokenizerBase = load_part(AutoTokenizer, name)
    except (OSError, ValueError) as error:
        # What transformers says when it falls back on another reader of a SentencePiece file.
        if "tiktoken" in str(error) and importlib.util.find_spec("sentencepiece") is None:
            raise EncoderError(
                f"{flag} {name}: its tokenizer is a SentencePiece file (as that of microsoft/deberta-v3-base), which "
                f"needs the package sentencepiece. Install it on every node (uv pip install sentencepiece), or save "
                f"the tokenizer once where it is: AutoTokenizer.from_pretrained(...).save_pretrained(folder)."
            ) from error
        raise EncoderError(
            f"{flag} {name}: its tokenizer cannot be loaded ({first_line(error)}). Give a name on the Hub "
            f"that this machine can reach, or a folder written by save_pretrained that contains its tokenizer."
        ) from error
    # Without its files, transformers makes a tokenizer that knows no word.
    files = sorted({*tokenizer.vocab_files_names.values()})
    if (folder := Path(name)).is_dir() and files and not any(_found(folder, files)):
        raise EncoderError(
            f"{flag} {name}: contains no tokenizer (none of {', '.join(files)}). Save the model's tokenizer in the "
            f"same folder: AutoTokenizer.from_pretrained(...).save_pretrained({name!r})."
        )
    if tokenizer.pad_token_id is None:
        raise EncoderError(
            f"{flag} {name}: its tokenizer has no padding token, as those of language models that only continue a "
            f"text (GPT-2); give an encoder such as BERT, RoBERTa or MiniLM."
        )
    limit, marks = tokenizer.model_max_length, tokenizer.num_special_tokens_to_add()
    if type(limit) is not int or limit <= marks:
        raise EncoderError(
            f"{flag} {name}: tokenizer_config.json has a model_max_length of {str(limit)[:40]}, expected a number of "
            f"tokens above {marks}. Correct the file, or remove this key."
        )
    return tokenizer


def _found(folder: Path, files: Sequence[str]) -> Iterator[Path]:
    """Files of a tokenizer, under its class's names or as other versions of transformers name them."""
    for pattern in (*files, "tokenizer*.json", "*.model"):
        yield from (path for path in folder.glob(pattern) if path.name != "tokenizer_config.json")


def read_by(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], what: str) -> list[str]:
    """Notes on how a pretrained tokenizer reads a corpus's transcripts: words it does not know, texts it cuts.

    Args:
        texts: not empty.
        what: flag and name of the encoder, for messages.

    Raises:
        EncoderError: it knows next to none of the words.
    """
    rows = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    tokens = sum(len(row) for row in rows)
    unknown = sum(row.count(tokenizer.unk_token_id) for row in rows) / max(tokens, 1)
    if not tokens or unknown > _UNUSABLE:
        raise EncoderError(
            f"{what}: its tokenizer knows {'none' if not tokens else f'only {1 - unknown:.0%}'} of the words in "
            f"{len(texts)} transcripts, such as {texts[0][:40]!r}. Give an encoder of the corpus's language, in a "
            f"folder with its own tokenizer."
        )
    notes = []
    if unknown > _ODD:
        notes.append(f"{what}: {unknown:.1%} of the transcripts' words are unknown to its tokenizer")
    limit = longest_text(tokenizer)
    room = limit - tokenizer.num_special_tokens_to_add()
    if cut := sum(len(row) > room for row in rows):
        notes.append(f"{what}: {cut} of {len(texts)} transcripts are longer than {limit} tokens; their end is not read")
    return notes


def longest_text(tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens to which a text is cut, special ones included."""
    return min(_LONGEST, int(tokenizer.model_max_length))


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
        max_length=longest_text(tokenizer),
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
