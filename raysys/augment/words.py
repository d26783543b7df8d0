"""Words of a text and their tokens, for any tokenizer: WordPiece, byte-level BPE or sentencepiece."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


_LETTER = r"[^\W\d_][\u0300-\u036f]*"
WORD = re.compile(rf"(?<!\w)(?:{_LETTER})+(?:['\u2019](?:{_LETTER})+)*(?!\w)")
"""Letters, including their accents, with inner apostrophes; not part of 'mp3' or 'snake_case'."""


def draw_word(text: str, label: int, seed: int) -> re.Match[str] | None:
    words = list(WORD.finditer(text))
    if not words:
        return None
    key = json.dumps([int(seed), int(label), text]).encode()
    return words[int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") % len(words)]


def in_case_of(old: str, new: str) -> str:
    """`new` in lower case, Capitalised or in ALL CAPS, like `old`; a single capital letter counts as capitalised."""
    if len(old) > 1 and old.isupper():
        return new.upper()
    new = new.lower()
    return new[0].upper() + new[1:] if old[0].isupper() else new


def whole_words(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """Tokens that are whole words, of letters only.

    WordPiece marks word continuations ('##ing'); byte-level BPE ('Ġ') and sentencepiece ('▁') mark word beginnings.
    The mark that most tokens have tells them apart.
    """
    vocabulary, special = tokenizer.get_vocab(), set(tokenizer.all_special_ids)
    mark = max(("##", "Ġ", "▁"), key=lambda m: sum(token.startswith(m) for token in vocabulary))
    words = {}
    for token, i in vocabulary.items():
        if mark == "##":
            word = token
        else:
            word = tokenizer.convert_tokens_to_string([token]).strip() if token.startswith(mark) else ""
        if word.isalpha() and i not in special:
            words[i] = word
    return words


def tokens_of_words(
    tokenizer: PreTrainedTokenizerBase, words: Iterable[str], vocabulary: dict[int, str]
) -> dict[str, int]:
    """The token of each word that is a single token."""
    distinct = sorted(set(words))
    # The space: byte-level BPE tokenizes a word at the start of a text differently.
    rows = encode(tokenizer, [f" {word}" for word in distinct], add_special_tokens=False)
    return {word: row[0] for word, row in zip(distinct, rows, strict=True) if len(row) == 1 and row[0] in vocabulary}


def encode(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, add_special_tokens: bool = True
) -> list[list[int]]:
    if not texts:
        return []
    # verbose=False: texts beyond the limit are handled here.
    tokens: list[list[int]] = tokenizer(list(texts), add_special_tokens=add_special_tokens, verbose=False)["input_ids"]
    return tokens
