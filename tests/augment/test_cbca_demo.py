"""CBCA's light model on the demo corpus, half of whose sentences name the emotion: its words depend on the label."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch

from raysys.augment import cbca
from raysys.augment.masked_lm import LabelledMaskedLM, light_masked_lm, mask_logits
from raysys.augment.words import whole_words
from raysys.corpora.demo_script import _FEELINGS, EMOTIONS, demo_script
from raysys.data.text import train_wordpiece

torch.set_num_threads(1)

LINES = [line for line in demo_script() if line.session > 2]
TEXTS, LABELS = [line.transcript for line in LINES], [EMOTIONS.index(line.emotion) for line in LINES]
TOKENIZER = train_wordpiece(TEXTS)
TELLING = [
    (text.replace(word, TOKENIZER.mask_token), label)
    for text, label in dict.fromkeys(zip(TEXTS, LABELS, strict=True))
    for word in _FEELINGS[EMOTIONS[label]]
    if f" {word}" in text
]
"""Texts with a word masked that tells the label, and the label."""


@pytest.fixture(scope="module")
def lm() -> LabelledMaskedLM:
    return cbca.fit(
        light_masked_lm(TOKENIZER),
        TOKENIZER,
        TEXTS,
        LABELS,
        n_classes=len(EMOTIONS),
        conditional=True,
        epochs=cbca.LIGHT_EPOCHS,
        batch_size=cbca.BATCH_SIZE,
        lr=cbca.LIGHT_LR,
        seed=0,
        device=torch.device("cpu"),
        counted=True,
    )


def top_five(lm: LabelledMaskedLM, label: int) -> list[set[str]]:
    """The likeliest five words in each blank, given a label."""
    words = whole_words(TOKENIZER)
    tokens = torch.tensor(sorted(words))
    rows = [TOKENIZER(text)["input_ids"] for text, _ in TELLING]
    with torch.inference_mode():
        best = mask_logits(lm, TOKENIZER, rows, [label] * len(rows))[:, tokens].topk(5).indices
    return [{words[token] for token in row} for row in tokens[best].tolist()]


def test_where_a_word_tells_the_label_another_label_gives_other_words(lm: LabelledMaskedLM) -> None:
    assert len(TELLING) > 200
    by_label = [top_five(lm, label) for label in range(len(EMOTIONS))]
    pairs = [len(one & other) / 5 for blank in zip(*by_label, strict=True) for one, other in combinations(blank, 2)]
    # By the label embedding alone this is 0.73.
    assert sum(pairs) / len(pairs) < 0.4
    own = [len(by_label[label][i] & {*_FEELINGS[EMOTIONS[label]]}) / 5 for i, (_, label) in enumerate(TELLING)]
    assert sum(own) / len(own) > 0.5, "most words are those of the label itself"


def test_each_emotions_words_are_likeliest_with_it(lm: LabelledMaskedLM) -> None:
    assert lm.label_bias is not None and lm.label_bias.shape == (len(EMOTIONS), len(TOKENIZER))
    tokens = [TOKENIZER.convert_tokens_to_ids(word) for word in ("angry", "happy", "calm", "sad")]
    assert lm.label_bias[:, tokens].argmax(dim=0).tolist() == [0, 1, 2, 3]


def test_without_labels_nothing_is_counted() -> None:
    plain = cbca.fit(
        light_masked_lm(TOKENIZER),
        TOKENIZER,
        TEXTS[:20],
        LABELS[:20],
        n_classes=len(EMOTIONS),
        conditional=False,
        epochs=0,
        batch_size=cbca.BATCH_SIZE,
        lr=cbca.LIGHT_LR,
        seed=0,
        device=torch.device("cpu"),
        counted=True,
    )
    assert plain.label_bias is None and plain.label_embedding is None
