"""Word replacement in transcripts: conditional contextual augmentation by a masked language model (CBCA)."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from raysys.adamw import AdamW
from raysys.augment.masked_lm import LabelledMaskedLM, check_tokenizer, mask_logits, max_tokens, own_randomness
from raysys.augment.words import WORD, draw_word, encode, in_case_of, tokens_of_words, whole_words

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from raysys.distilbert import DistilBertForMaskedLM

LIGHT_EPOCHS, LIGHT_LR = 10, 1e-3
"""For `light_masked_lm`, which learns language and labels together."""
PRETRAINED_EPOCHS, PRETRAINED_LR = 10, 5e-5
"""For a pretrained model."""
BATCH_SIZE = 16

_SHARE = 0.15
"""Fraction of a text's words that are masked in training."""
_CLIP_NORM = 1.0
_WEIGHT_DECAY = 0.01
_WARM_UP = 0.1
"""Fraction of all steps. Without it, a model from scratch may only learn word frequencies, ignoring text and label."""
_BATCH = 64
_POOL = 16
"""Batches whose texts are sorted by length together, to reduce padding."""


def fit(
    model: PreTrainedModel | DistilBertForMaskedLM,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    labels: Sequence[int],
    *,
    n_classes: int,
    conditional: bool,
    epochs: int,
    batch_size: int,
    lr: float,
    seed: int,
    device: torch.device,
) -> LabelledMaskedLM:
    """Fine-tune a masked language model on the labelled texts of a training part.

    Each epoch masks different words, 15 % of each text and at least one; the loss is the mean cross-entropy of the
    masked words. Whole words are masked, in the text, as in `alternatives`; words that are not a single token are
    never masked. A masked word is always replaced by the mask token (BERT leaves a fifth of them unchanged or replaces
    them by another word), since that is how the model is used. AdamW, gradients clipped to norm 1; the learning rate
    rises linearly for a tenth of the steps and then decays linearly to 0.

    Args:
        model: any masked language model that accepts `inputs_embeds`; copied, not modified.
        texts: training utterances only, otherwise labels leak into the test part.
        labels: class of each text, from 0.
        conditional: add the label embedding; otherwise labels are ignored.
        epochs: 0 leaves the model unchanged, with a label embedding close to 0.
        seed: the only source of masks, order, dropout and label embedding; the global generators are left unchanged.

    Returns: the model on `device`, in evaluation mode; untrained if no text contains a word that is a token.

    Raises: EncoderError: the tokenizer does not belong to this model, or has no mask token.

    Source: Wu et al., "Conditional BERT contextual augmentation", 2019. They replace BERT's segment embedding by the
        label; adding it instead also works for models without segments.
    """
    check_tokenizer(tokenizer, model)
    with own_randomness(seed, device):
        lm = LabelledMaskedLM(copy.deepcopy(model), n_classes if conditional else None).to(device)
        examples = _examples(tokenizer, texts, labels, longest=max_tokens(model, tokenizer))
        if examples and epochs > 0:
            lm.train()
            _train(lm, tokenizer, examples, epochs=epochs, batch_size=batch_size, lr=lr, seed=seed)
    return lm.eval()


def alternatives(
    lm: LabelledMaskedLM,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    labels: Sequence[int],
    *,
    k: int,
    seed: int,
) -> list[tuple[str, ...]]:
    """For each text, the k texts in which one random word is replaced by the most likely other words, best first.

    The word is drawn from (seed, text, label) and masked as a whole, and the vocabulary's whole words are ranked by
    their logit, ties by token id. The new word takes the old one's case (lower, Capital, or ALL CAPS); everything else
    in the text is unchanged. Equal texts with equal labels get equal results; another seed gives different ones.

    A text longer than the model's limit is not shortened either: the model then reads the part around the word.

    Does not handle: scripts without spaces between words, vowels written as marks (Devanagari, Thai).

    Args:
        labels: class of each text; an unconditional model only uses them to choose the word, so that the same words
            are replaced with and without conditioning.

    Returns: for each text at most k different texts, none of them the text itself; fewer if the vocabulary has
        fewer words; () if the text has no word.
    """
    pairs = list(zip(texts, labels, strict=True))
    longest = max_tokens(lm.model, tokenizer)
    blanks = [
        _Blank(text, label, word.span(), _mask_one(tokenizer, text, word.span(), longest=longest))
        for text, label in dict.fromkeys(pairs)
        if (word := draw_word(text, label, seed)) is not None
    ]
    blanks.sort(key=lambda blank: len(blank.tokens))
    vocabulary = whole_words(tokenizer)
    own_tokens = tokens_of_words(tokenizer, (blank.word for blank in blanks), vocabulary)
    found: dict[tuple[str, int], tuple[str, ...]] = {}
    for i in range(0, len(blanks), _BATCH):
        batch = blanks[i : i + _BATCH]
        for blank, ranked in zip(batch, _rank(lm, tokenizer, batch, vocabulary), strict=True):
            found[blank.text, blank.label] = blank.fill(ranked, vocabulary, own_tokens.get(blank.word), k)
    return [found.get(pair, ()) for pair in pairs]


@dataclass(frozen=True)
class _Blank:
    """A text with one word masked."""

    text: str
    label: int
    span: tuple[int, int]
    tokens: list[int]

    @property
    def word(self) -> str:
        return self.text[slice(*self.span)]

    def fill(self, ranked: list[int], vocabulary: dict[int, str], own_token: int | None, k: int) -> tuple[str, ...]:
        """The text with its blank filled by the first k tokens of `ranked`, except other spellings of the word."""
        start, end = self.span
        taken = {self.word.casefold()}
        filled: list[str] = []
        for token in ranked:
            if len(filled) == k:
                break
            word = vocabulary[token]
            # Compare tokens too, not only letters: an uncased tokenizer reads 'café' as 'cafe'.
            if token != own_token and word.casefold() not in taken:
                taken.add(word.casefold())
                filled.append(self.text[:start] + in_case_of(self.word, word) + self.text[end:])
        return tuple(filled)


@dataclass(frozen=True)
class _Example:
    """A training text with the positions and tokens of the words that can be masked."""

    text: str
    label: int
    n_words: int
    words: list[tuple[int, int, int]]

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


def _examples(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], labels: Sequence[int], *, longest: int
) -> list[_Example]:
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
            examples.append(_Example(text, label, len(row), known))
    return examples


def _train(
    lm: LabelledMaskedLM,
    tokenizer: PreTrainedTokenizerBase,
    examples: list[_Example],
    *,
    epochs: int,
    batch_size: int,
    lr: float,
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    longest = max_tokens(lm.model, tokenizer)
    optimizer = AdamW([{"params": lm.parameters(), "lr": lr, "weight_decay": _WEIGHT_DECAY}])
    n_steps = epochs * math.ceil(len(examples) / batch_size)
    n_warm = math.ceil(_WARM_UP * n_steps)
    step = 0
    for _ in range(epochs):
        for batch in _batches(examples, batch_size, generator):
            optimizer.param_groups[0]["lr"] = lr * min((step + 1) / n_warm, (n_steps - step) / (n_steps - n_warm + 1))
            masked = [example.mask(tokenizer.mask_token, generator) for example in batch]
            rows = encode(tokenizer, [text for text, _ in masked])
            # A text that itself contains the mask token, or grew beyond the limit, would misalign the targets.
            kept = [
                (tokens, example.label, targets)
                for tokens, example, (_, targets) in zip(rows, batch, masked, strict=True)
                if tokens.count(tokenizer.mask_token_id) == len(targets) and len(tokens) <= longest
            ]
            if kept:
                logits_NV = mask_logits(lm, tokenizer, [row for row, _, _ in kept], [label for _, label, _ in kept])
                targets_N = torch.tensor([t for _, _, targets in kept for t in targets], device=logits_NV.device)
                optimizer.zero_grad()
                F.cross_entropy(logits_NV, targets_N).backward()
                nn.utils.clip_grad_norm_(lm.parameters(), _CLIP_NORM)
                optimizer.step()
            step += 1


def _batches(examples: list[_Example], batch_size: int, generator: torch.Generator) -> Iterator[list[_Example]]:
    """All examples in random batches of texts of similar length."""
    order = torch.randperm(len(examples), generator=generator).tolist()
    batches = []
    for i in range(0, len(order), _POOL * batch_size):
        pool = sorted(order[i : i + _POOL * batch_size], key=lambda j: len(examples[j].text))
        batches += [pool[j : j + batch_size] for j in range(0, len(pool), batch_size)]
    for b in torch.randperm(len(batches), generator=generator).tolist():
        yield [examples[j] for j in batches[b]]


@torch.inference_mode()
def _rank(
    lm: LabelledMaskedLM, tokenizer: PreTrainedTokenizerBase, batch: list[_Blank], vocabulary: dict[int, str]
) -> list[list[int]]:
    """The vocabulary's tokens for each blank, most likely first."""
    lm.eval()
    logits_BV = mask_logits(lm, tokenizer, [blank.tokens for blank in batch], [blank.label for blank in batch])
    words_C = torch.tensor(sorted(vocabulary), dtype=torch.long)
    # A stable sort keeps ids in order among equal logits.
    order_BC = logits_BV.float().cpu()[:, words_C].sort(dim=1, descending=True, stable=True).indices
    ranked: list[list[int]] = words_C[order_BC].tolist()
    return ranked


def _mask_one(tokenizer: PreTrainedTokenizerBase, text: str, span: tuple[int, int], *, longest: int) -> list[int]:
    """Tokens of the text with one word masked, or of as much around the word as fits the model."""
    start, end = span
    reach = len(text)
    while True:
        masked = text[max(0, start - reach) : start] + tokenizer.mask_token + text[end : end + reach]
        tokens = encode(tokenizer, [masked])[0]
        # A second mask token comes from the text itself.
        if reach == 0 or (len(tokens) <= longest and tokens.count(tokenizer.mask_token_id) == 1):
            return tokens
        reach //= 2
