"""CBCA on a fold: the language model only sees the training part, and its texts are cached by content."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from raysys.augment import cbca
from raysys.config import AugmentConfig, CorpusConfig, ExperimentConfig, LossConfig, ModelConfig, TrainConfig
from raysys.data import texts as texts_module
from raysys.data.folds import Fold
from raysys.data.manifest import Manifest, Utterance
from raysys.data.texts import FoldTexts, fold_texts, new_texts

TEXTS = {
    "joy": ("what a lovely happy day", "we are glad and happy today", "i love this happy song"),
    "fear": ("what a dark scary night", "we are afraid and scared today", "i fear this scary house"),
}
PARTS = ("train", "validation", "test")


def corpus(*, secret: str = "", swapped: bool = False) -> tuple[Manifest, Fold]:
    """Three speakers; `secret` and `swapped` change texts and labels outside the training part."""
    utterances, parts = [], {part: [] for part in PARTS}
    for part in PARTS:
        for emotion, texts in TEXTS.items():
            for i, text in enumerate(texts):
                held_out = part != "train"
                other = "fear" if emotion == "joy" else "joy"
                parts[part].append(f"{part}-{emotion}-{i}")
                utterances.append(
                    Utterance(
                        utterance_id=parts[part][-1],
                        audio_path="x.wav",
                        speaker=part,
                        emotion=other if held_out and swapped else emotion,
                        transcript=f"{secret} {text}".strip() if held_out else text,
                    )
                )
    # There is nothing to rewrite without a transcript.
    utterances.append(Utterance(utterance_id="train-mute", audio_path="x.wav", speaker="train", emotion="joy"))
    parts["train"].append("train-mute")
    fold = Fold(index=0, name="test", **{part: tuple(names) for part, names in parts.items()})
    return Manifest(corpus="table", classes=("joy", "fear"), utterances=tuple(utterances)), fold


def config(**augment: object) -> ExperimentConfig:
    return ExperimentConfig(augment=AugmentConfig(**({"cbca_texts": 3, "cbca_model": "light"} | augment)))  # type: ignore[arg-type]


def texts_of(**changes: object) -> FoldTexts:
    return fold_texts(config(), *corpus(**changes))  # type: ignore[arg-type]


def test_no_test_or_validation_transcript_or_label_reaches_the_language_model() -> None:
    plain = texts_of()
    assert set(plain.utterance_ids) == {f"train-{e}-{i}" for e in TEXTS for i in range(3)}
    assert texts_of(secret="xyzzy", swapped=True) == plain
    assert texts_of(secret="xyzzy").file_name == plain.file_name
    rewritten = new_texts(plain, torch.device("cpu"))
    assert rewritten == new_texts(texts_of(secret="xyzzy", swapped=True), torch.device("cpu"))
    assert "xyzzy" not in str(rewritten)


def test_training_transcripts_and_labels_do_reach_it() -> None:
    manifest, fold = corpus()
    leaky = dataclasses.replace(fold, train=fold.train + fold.validation, validation=())
    assert fold_texts(config(), manifest, leaky).file_name != texts_of().file_name


def test_every_new_text_differs_in_one_word() -> None:
    fold = texts_of()
    rewritten = new_texts(fold, torch.device("cpu"))
    assert len(rewritten) == len(fold.texts)
    for text, choices in zip(fold.texts, rewritten, strict=True):
        assert len(set(choices)) == 3
        for choice in choices:
            old, new = text.split(), choice.split()
            assert len(old) == len(new) and sum(a != b for a, b in zip(old, new, strict=True)) == 1


@pytest.mark.parametrize(
    "other",
    [
        config(cbca="unconditional"),
        config(cbca_texts=4),
        config(cbca_model="somewhere/else"),
        dataclasses.replace(config(), train=TrainConfig(seed=1)),
    ],
)
def test_cached_texts_depend_on_their_settings(other: ExperimentConfig) -> None:
    assert fold_texts(other, *corpus()).file_name != texts_of().file_name


def test_cached_texts_do_not_depend_on_other_settings() -> None:
    other = dataclasses.replace(config(), loss=LossConfig(alpha=1.0), train=TrainConfig(epochs=7))
    assert fold_texts(other, *corpus()).file_name == texts_of().file_name


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, True),
        ({"augment": AugmentConfig(cbca="none")}, False),
        ({"corpus": CorpusConfig(modalities="audio")}, False),
        ({"corpus": CorpusConfig(modalities="text")}, True),
        ({"loss": LossConfig(alpha=0, beta=0)}, False),
        ({"loss": LossConfig(alpha=0, beta=0), "augment": AugmentConfig(classify_augmented=True)}, True),
    ],
)
def test_texts_are_rewritten_if_a_second_view_uses_them(changes: dict[str, object], wanted: bool) -> None:
    assert ExperimentConfig(**changes).rewrites_text == wanted  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "asked", "expected"),
    [
        (ModelConfig(text="light"), None, "light"),
        (ModelConfig(text="tiny"), None, "light"),
        (ModelConfig(text="/some/bert"), None, "/some/bert"),
        (ModelConfig(text="/some/bert", weights="random"), None, "light"),
        (ModelConfig(text="light"), "/some/bert", "/some/bert"),
    ],
)
def test_the_language_model_is_the_text_encoder_if_that_is_pretrained(
    model: ModelConfig, asked: str | None, expected: str
) -> None:
    assert ExperimentConfig(model=model, augment=AugmentConfig(cbca_model=asked)).masked_lm == expected


def test_of_many_transcripts_some_are_learned_from_and_all_rewritten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fit on the 159,000 of a fold of MSP-Podcast took 25 minutes."""
    learned: list[tuple[str, ...]] = []
    fit = cbca.fit

    plain = texts_of()

    def noted(model: Any, tokenizer: Any, some: Sequence[str], labels: Sequence[int], **how: Any) -> Any:
        assert {*zip(some, labels, strict=True)} <= {*zip(plain.texts, plain.labels, strict=True)}
        learned.append(tuple(some))
        return fit(model, tokenizer, some, labels, **how)

    monkeypatch.setattr(cbca, "fit", noted)
    whole = new_texts(plain, torch.device("cpu"))
    monkeypatch.setattr(texts_module, "MOST_LEARNED", 4)
    for fold in (plain, plain, dataclasses.replace(plain, seed=1)):
        assert all(new_texts(fold, torch.device("cpu"))) and all(whole)
    assert [len(found) for found in learned] == [6, 4, 4, 4]
    assert learned[1] == learned[2] != learned[3]
