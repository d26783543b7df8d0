"""Which words go with which label, counted: a small language model learns little of it from a few hundred texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

_PRIOR = 1.0
"""Imagined occurrences of each word, spread over the labels as all words are: a word that was seen once says little."""
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
"""Among which `likelihoods` decides. 1 would be right if a text's other words said nothing about its label."""


class LabelBias:
    """Logarithm of how much likelier a label makes a word, from counts.

    With n_cv occurrences of word v in texts of label c, n_v in all texts, and p_c the share of c's words in all words:

        b_cv = log((n_cv + p_c) / (n_v + 1)) - log p_c

    the smoothed log p(c | v) - log p(c), which by Bayes is log p(v | c) - log p(v). It is 0 for words that never occur
    or occur with all labels alike.

    Args:
        words: for each text the tokens of its words.
        labels: class of each text, from 0.
        n_classes: C.
        vocab_size: V.
    """

    def __init__(self, words: Sequence[Sequence[int]], labels: Sequence[int], n_classes: int, vocab_size: int) -> None:
        self._counts_CV = torch.zeros(n_classes, vocab_size)
        for tokens, label in zip(words, labels, strict=True):
            for token, n in Counter(tokens).items():
                self._counts_CV[label, token] += n
        self._totals_V = self._counts_CV.sum(dim=0)
        # A label without a word would make the share 0.
        shares_C = self._counts_CV.sum(dim=1) + _PRIOR
        self._shares_C = shares_C / shares_C.sum()

    def table(self) -> Tensor:
        """b: float32, C x V."""
        return _log_ratio(self._counts_CV, self._totals_V, self._shares_C[:, None])

    def without(self, tokens: Sequence[int], label: int) -> Tensor:
        """The label's row of b, had its text with these words not been counted: float32, V."""
        own_V = torch.bincount(torch.tensor(tokens), minlength=len(self._totals_V))
        return _log_ratio(self._counts_CV[label] - own_V, self._totals_V - own_V, self._shares_C[label])


def likelihoods(logits_NV: Tensor, bias_NV: Tensor, targets_N: Tensor) -> Tensor:
    """Log-likelihood of the targets, added up, with the bias at each of `STRENGTHS` added to the logits: float64."""
    at_strengths = [
        (logits_NV + strength * bias_NV).log_softmax(dim=1).gather(1, targets_N[:, None]) for strength in STRENGTHS
    ]
    return torch.cat(at_strengths, dim=1).double().sum(dim=0)


def _log_ratio(counts: Tensor, totals: Tensor, shares: Tensor) -> Tensor:
    return ((counts + _PRIOR * shares) / (totals + _PRIOR) / shares).log()
