"""Texts with some of their words masked, to train a masked language model on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from raysys.augment.words import WORD, encode, tokens_of_words, whole_words

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SHARE = 0.15
"""Fraction of a text's words that are masked in training."""
_POOL = 16
"""Batches whose texts are sorted by length together, to reduce padding."""


@dataclass(frozen=True)
class Example:
    """A training text with the positions and tokens of the words that can be masked."""

    text: str
    label: int
    n_words: int
    words: list[tuple[int, int, int]]

    @property
    def tokens(self) -> list[int]:
        return [token for _, _, token in self.words]

    def mask(self, mask_token: str, generator: torch.Generator) -> tuple[str, list[int]]:
        """The text with a random share of its words masked, and their tokens, in order."""
        n_masked = max(1, round(_SHARE * self.n_words))
        chosen = torch.randperm(len(self.words), generator=generator)[:n_masked].sort().values.tolist()
        pieces, targets, done = [], [], 0
        for start, end, token in (self.words[i] for i in chosen):
            pieces += [self.text[done:start], mask_token]
            targets.append(token)
            done = end
        return "".join([*pieces, self.text[done:]]), targets


def examples_of(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], labels: Sequence[int], *, longest: int
) -> list[Example]:
    """Texts with a word to mask; of a text beyond the model's limit, its beginning."""
    cut = []
    for text, tokens in zip(texts, encode(tokenizer, texts), strict=True):
        while len(tokens) > longest and text:
            text = text[: len(text) // 2]
            tokens = encode(tokenizer, [text])[0]
        cut.append(text)
    words = [list(WORD.finditer(text)) for text in cut]
    token_of = tokens_of_words(tokenizer, (w.group() for row in words for w in row), whole_words(tokenizer))
    examples = []
    for text, label, row in zip(cut, labels, words, strict=True):
        known = [(*w.span(), token_of[w.group()]) for w in row if w.group() in token_of]
        if known:
            examples.append(Example(text, label, len(row), known))
    return examples


def masked_words(
    tokenizer: PreTrainedTokenizerBase, batch: list[Example], generator: torch.Generator, longest: int
) -> list[tuple[list[int], Example, list[int]]]:
    """Tokens of each text with some words masked, the text, and the tokens of these words."""
    masked = [example.mask(tokenizer.mask_token, generator) for example in batch]
    rows = encode(tokenizer, [text for text, _ in masked])
    # A text that itself contains the mask token, or grew beyond the limit, would misalign the targets.
    return [
        (tokens, example, targets)
        for tokens, example, (_, targets) in zip(rows, batch, masked, strict=True)
        if tokens.count(tokenizer.mask_token_id) == len(targets) and len(tokens) <= longest
    ]


def batches_of(examples: list[Example], batch_size: int, generator: torch.Generator) -> Iterator[list[Example]]:
    """All examples in random batches of texts of similar length."""
    order = torch.randperm(len(examples), generator=generator).tolist()
    batches = []
    for i in range(0, len(order), _POOL * batch_size):
        pool = sorted(order[i : i + _POOL * batch_size], key=lambda j: len(examples[j].text))
        batches += [pool[j : j + batch_size] for j in range(0, len(pool), batch_size)]
    for b in torch.randperm(len(batches), generator=generator).tolist():
        yield [examples[j] for j in batches[b]]
