"""Word replacement in transcripts: conditional contextual augmentation by a masked language model (CBCA)."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raysys.adamw import AdamW
from raysys.augment.label_bias import STRENGTHS, LabelBias, likelihoods
from raysys.augment.masked_lm import LabelledMaskedLM, check_tokenizer, mask_logits, max_tokens, own_randomness
from raysys.augment.masked_words import Example, batches_of, examples_of, masked_words
from raysys.augment.words import draw_word, encode, in_case_of, tokens_of_words, whole_words

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from raysys.distilbert import DistilBertForMaskedLM

LIGHT_EPOCHS, LIGHT_LR = 10, 2e-3
"""For `light_masked_lm`, which learns the language from these texts alone. On another session of the demo corpus, half
this rate leaves 0.7 nats more a masked word, and twice this rate changes nothing."""
PRETRAINED_EPOCHS, PRETRAINED_LR = 10, 5e-5
"""For a pretrained model."""
BATCH_SIZE = 16

_CLIP_NORM = 1.0
_WEIGHT_DECAY = 0.01
_WARM_UP = 0.1
"""Fraction of all steps. Without it, a model from scratch may only learn word frequencies, ignoring text and label."""
_BATCH = 64


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
    counted: bool = False,
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
        counted: if conditional, also add to the logits which words go with which label, see `_counted_bias`. For a
            model from scratch: by its label embedding alone it ranks nearly the same words for every label.

    Returns: the model on `device`, in evaluation mode; untrained if no text contains a word that is a token.

    Raises: EncoderError: the tokenizer does not belong to this model, or has no mask token.

    Source: Wu et al., "Conditional BERT contextual augmentation", 2019. They replace BERT's segment embedding by the
        label; adding it instead also works for models without segments.
    """
    check_tokenizer(tokenizer, model)
    with own_randomness(seed, device):
        lm = LabelledMaskedLM(copy.deepcopy(model), n_classes if conditional else None).to(device)
        examples = examples_of(tokenizer, texts, labels, longest=max_tokens(model, tokenizer))
        if examples and epochs > 0:
            lm.train()
            _train(lm, tokenizer, examples, epochs=epochs, batch_size=batch_size, lr=lr, seed=seed)
        if examples and counted and conditional:
            lm.label_bias = _counted_bias(lm.eval(), tokenizer, examples, n_classes=n_classes, seed=seed).to(device)
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


def _train(
    lm: LabelledMaskedLM,
    tokenizer: PreTrainedTokenizerBase,
    examples: list[Example],
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
        for batch in batches_of(examples, batch_size, generator):
            optimizer.param_groups[0]["lr"] = lr * min((step + 1) / n_warm, (n_steps - step) / (n_steps - n_warm + 1))
            if kept := masked_words(tokenizer, batch, generator, longest):
                logits_NV, targets_N = _predicted(lm, tokenizer, kept)
                optimizer.zero_grad()
                F.cross_entropy(logits_NV, targets_N).backward()
                nn.utils.clip_grad_norm_(lm.parameters(), _CLIP_NORM)
                optimizer.step()
            step += 1


def _predicted(
    lm: LabelledMaskedLM, tokenizer: PreTrainedTokenizerBase, kept: list[tuple[list[int], Example, list[int]]]
) -> tuple[Tensor, Tensor]:
    """Logits (N x vocabulary) and targets (N) of all masked words of a batch."""
    logits_NV = mask_logits(lm, tokenizer, [row for row, _, _ in kept], [example.label for _, example, _ in kept])
    return logits_NV, torch.tensor([t for _, _, targets in kept for t in targets], device=logits_NV.device)


@torch.inference_mode()
def _counted_bias(
    lm: LabelledMaskedLM, tokenizer: PreTrainedTokenizerBase, examples: list[Example], *, n_classes: int, seed: int
) -> Tensor:
    """Which words go with which label (`LabelBias`), as strongly as predicts masked words best: C x vocabulary.

    Each text's words are predicted by the counts of the other texts: by its own, a word seen once would seem certain.
    """
    bias = LabelBias(
        [e.tokens for e in examples],
        [e.label for e in examples],
        n_classes,
        lm.model.get_input_embeddings().num_embeddings,
    )
    generator, longest = torch.Generator().manual_seed(seed), max_tokens(lm.model, tokenizer)
    found = torch.zeros(len(STRENGTHS), dtype=torch.float64)
    for batch in batches_of(examples, _BATCH, generator):
        if kept := masked_words(tokenizer, batch, generator, longest):
            logits_NV, targets_N = _predicted(lm, tokenizer, kept)
            rows = [(bias.without(e.tokens, e.label), len(targets)) for _, e, targets in kept]
            bias_NV = torch.stack([row_V for row_V, n in rows for _ in range(n)])
            found += likelihoods(logits_NV.float().cpu(), bias_NV, targets_N.cpu())
    return STRENGTHS[int(found.argmax())] * bias.table()


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
