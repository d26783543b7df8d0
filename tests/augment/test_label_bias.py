"""Which words go with which label: counts by hand, and a strength that other texts' words decide."""

from __future__ import annotations

import math

import pytest
import torch

from raysys.augment.label_bias import STRENGTHS, LabelBias, likelihoods

A, B, UNSEEN = 0, 1, 2


@pytest.fixture
def bias() -> LabelBias:
    """Three words with label 0, one with label 1; with an imagined one each, shares of 2/3 and 1/3."""
    return LabelBias([[A, A, B], [B]], [0, 1], n_classes=2, vocab_size=3)


def test_the_table_by_hand(bias: LabelBias) -> None:
    # A: (2 + 2/3) / 3 / (2/3) = 4/3 and (0 + 1/3) / 3 / (1/3) = 1/3; B: 5/6 and 4/3.
    expected = torch.tensor([[4 / 3, 5 / 6, 1.0], [1 / 3, 4 / 3, 1.0]]).log()
    torch.testing.assert_close(bias.table(), expected)


def test_a_text_does_not_count_for_its_own_words(bias: LabelBias) -> None:
    # Without the first text A never occurs, and B once, with the other label.
    torch.testing.assert_close(bias.without([A, A, B], 0), torch.tensor([1.0, 1 / 2, 1.0]).log())
    torch.testing.assert_close(bias.table()[0, A], torch.tensor(4 / 3).log(), msg="the counts are changed")


def test_a_label_without_texts_has_no_say() -> None:
    table = LabelBias([[A], [B]], [0, 1], n_classes=3, vocab_size=2).table()
    assert table.isfinite().all()
    # log((0 + 1/5) / 2 / (1/5))
    torch.testing.assert_close(table[2], torch.full((2,), math.log(1 / 2)))


def test_the_likelihood_at_each_strength_by_hand() -> None:
    logits_NV = torch.zeros(2, 2)
    bias_NV = torch.tensor([[math.log(3), 0.0], [0.0, 0.0]])
    found = likelihoods(logits_NV, bias_NV, torch.tensor([0, 1]))
    assert found[STRENGTHS.index(0.0)] == pytest.approx(2 * math.log(1 / 2))
    assert found[STRENGTHS.index(1.0)] == pytest.approx(math.log(3 / 4) + math.log(1 / 2))
    assert found[STRENGTHS.index(2.0)] == pytest.approx(math.log(9 / 10) + math.log(1 / 2))
