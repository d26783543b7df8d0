"""Batches: padding, missing and dropped text, an empty share, the second view."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from raysys.data.batch import Batch, Collator, TextFeatures
from raysys.data.manifest import Utterance
from raysys.data.mixing import Mix
from raysys.data.targets import Targets
from raysys.data.text import train_wordpiece
from raysys.data.view import View, pad_waveforms
from raysys.storage import Folder
from tests.data.test_views import write_store

TRANSCRIPTS = {"a": "Kids are talking.", "b": None, "c": "kids  are TALKING", "d": "Dogs sit."}
LABELS = {"a": 2, "b": 0, "c": 1, "d": 2}


def waveforms(*lengths: int) -> list[np.ndarray]:
    return [np.full(n, i + 1, np.float32) for i, n in enumerate(lengths)]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_wordpiece([text for text in TRANSCRIPTS.values() if text] * 2)


@pytest.fixture
def collator(tokenizer: PreTrainedTokenizerFast) -> Collator:
    return collator_of(tokenizer)


def collator_of(tokenizer: PreTrainedTokenizerFast | None, **values: Any) -> Collator:
    utterances = {
        name: Utterance(utterance_id=name, audio_path="x.wav", speaker="S", emotion="joy", transcript=text)
        for name, text in TRANSCRIPTS.items()
    }
    defaults: dict[str, Any] = {"text_dropout": 0.0, "second_view": True, "seed": 0}
    return Collator(utterances=utterances, labels=LABELS, tokenizer=tokenizer, **{**defaults, **values})


def test_waveforms_are_padded_with_zeros_at_their_end() -> None:
    padded_BS, lengths_B = pad_waveforms(waveforms(2, 3, 1))
    assert padded_BS.tolist() == [[1, 1, 0], [2, 2, 2], [3, 0, 0]]
    assert padded_BS.dtype == torch.float32
    assert lengths_B.tolist() == [2, 3, 1]


def test_a_padded_waveform_does_not_share_memory_with_the_store() -> None:
    waveform_S = np.ones(4, np.float32)
    waveform_S.setflags(write=False)
    padded_BS, _ = pad_waveforms([waveform_S])
    padded_BS += 1
    assert waveform_S.tolist() == [1, 1, 1, 1]


def test_rows_follow_the_ids(collator: Collator) -> None:
    batch = collator(["d", "a", "b"], waveforms(5, 6, 7), waveforms(4, 5, 6), epoch=0)
    assert batch.utterance_ids == ("d", "a", "b")
    assert batch.labels_B.tolist() == [2, 2, 0]
    assert batch.clean.lengths_B is not None and batch.clean.lengths_B.tolist() == [5, 6, 7]
    assert batch.augmented is not None and batch.augmented.lengths_B is not None
    assert batch.augmented.lengths_B.tolist() == [4, 5, 6]


def test_numbers_distinguish_utterances_and_transcripts(collator: Collator) -> None:
    """Equal words are not negatives of each other; missing words equal nothing."""
    batch = collator(["a", "b", "c", "d"], waveforms(5, 5, 5, 5), None, epoch=None)
    assert len(set(batch.utterance_B.tolist())) == 4
    first, without, same, other = batch.transcript_B.tolist()
    assert first == same != other
    assert without == -1
    again = collator(["d"], waveforms(5), None, epoch=3)
    assert again.utterance_B[0] == batch.utterance_B[3]


def test_an_utterance_without_a_transcript_is_marked_in_training_and_evaluation(collator: Collator) -> None:
    for epoch in (None, 0):
        batch = collator(["a", "b"], waveforms(5, 5), waveforms(5, 5), epoch=epoch)
        assert batch.clean.has_text_B is not None
        assert batch.clean.has_text_B.tolist() == [True, False]


def dropped(collator: Collator, epoch: int | None) -> list[str]:
    batch = collator(["a", "c", "d"], waveforms(5, 5, 5), waveforms(5, 5, 5), epoch=epoch)
    assert batch.clean.has_text_B is not None
    present = batch.clean.has_text_B.tolist()
    assert (batch.transcript_B >= 0).tolist() == present
    return [n for n, has in zip(batch.utterance_ids, present, strict=True) if not has]


def test_text_is_dropped_by_seed_epoch_and_utterance_alone(tokenizer: PreTrainedTokenizerFast) -> None:
    collator = collator_of(tokenizer, text_dropout=0.5)
    seen = [dropped(collator, epoch) for epoch in range(200)]
    assert seen == [dropped(collator, epoch) for epoch in range(200)]
    reseeded = collator_of(tokenizer, text_dropout=0.5, seed=1)
    assert seen != [dropped(reseeded, epoch) for epoch in range(200)]
    # 600 draws of 1/2: five standard deviations are 61.
    assert abs(sum(map(len, seen)) - 300) < 61
    alone = collator(["d"], waveforms(5), waveforms(5), epoch=7).clean.has_text_B
    assert alone is not None and alone.item() == ("d" not in seen[7])


def test_text_is_never_dropped_in_evaluation(tokenizer: PreTrainedTokenizerFast) -> None:
    assert dropped(collator_of(tokenizer, text_dropout=1.0), None) == []
    assert dropped(collator_of(tokenizer, text_dropout=1.0), 0) == ["a", "c", "d"]


def test_both_views_carry_the_same_text(tokenizer: PreTrainedTokenizerFast) -> None:
    batch = collator_of(tokenizer, text_dropout=0.5)(["a", "c", "d"], waveforms(5, 5, 5), waveforms(4, 4, 4), epoch=1)
    assert batch.augmented is not None and batch.augmented.has_text_B is not None
    assert batch.clean.has_text_B is not None
    assert torch.equal(batch.clean.has_text_B, batch.augmented.has_text_B)


@pytest.mark.parametrize(("second_view", "epoch", "has_it"), [(True, 0, True), (True, None, False), (False, 0, False)])
def test_there_is_a_second_view_only_in_training_and_if_a_loss_needs_it(
    tokenizer: PreTrainedTokenizerFast, second_view: bool, epoch: int | None, has_it: bool
) -> None:
    batch = collator_of(tokenizer, second_view=second_view)(["a"], waveforms(5), waveforms(5), epoch=epoch)
    assert (batch.augmented is not None) == has_it


def test_text_alone_has_no_waveforms_and_its_second_view_is_the_text(collator: Collator) -> None:
    batch = collator(["a", "d"], None, None, epoch=0)
    assert batch.clean.waveforms_BS is None and batch.clean.lengths_B is None
    assert batch.augmented is not None and batch.augmented.tokens_BM is not None
    assert batch.clean.tokens_BM is not None
    assert torch.equal(batch.augmented.tokens_BM, batch.clean.tokens_BM)


def test_audio_alone_has_no_text() -> None:
    batch = collator_of(None)(["a", "d"], waveforms(5, 6), waveforms(5, 6), epoch=0)
    assert batch.clean.tokens_BM is None and batch.clean.has_text_B is None
    assert batch.transcript_B.tolist() == [-1, -1]


@pytest.mark.parametrize("modalities", ["both", "audio", "text"])
def test_an_empty_share_is_one_silent_row_of_the_usual_shape(
    tokenizer: PreTrainedTokenizerFast, modalities: str
) -> None:
    """Every worker takes part in every collective operation, even without an utterance."""
    collator = collator_of(None if modalities == "audio" else tokenizer)
    none, some = (None, None) if modalities == "text" else ([], waveforms(900))
    empty = collator([], none, none, epoch=0)
    full = collator(["a"], some, some, epoch=0)
    assert empty.utterance_ids == ()
    assert len(empty.labels_B) == len(empty.utterance_B) == len(empty.transcript_B) == 1
    assert empty.transcript_B.item() == -1
    assert shape_of(empty) == shape_of(full)
    if empty.clean.waveforms_BS is not None:
        assert not empty.clean.waveforms_BS.any()
        # wav2vec 2.0's receptive field: fewer samples give no frame.
        assert empty.clean.waveforms_BS.shape == (1, 400)
    if empty.clean.has_text_B is not None:
        assert empty.clean.has_text_B.tolist() == [False]


def shape_of(batch: Batch) -> list[tuple[torch.dtype, int, int] | None]:
    """Type, dimensions and number of rows of each tensor; which ones are None."""
    assert batch.augmented is not None
    return [
        None if (t := getattr(view, name)) is None else (t.dtype, t.ndim, len(t))
        for view in (batch.clean, batch.augmented)
        for name in ("waveforms_BS", "lengths_B", "tokens_BM", "token_valid_BM", "has_text_B")
    ]


NEW_TEXTS = {"a": ("Cats are talking.", "Kids were talking."), "d": ("Dogs stand.",)}


def text_of(collator: Collator, view: View | None, row: int) -> str:
    assert collator.tokenizer is not None and view is not None and view.tokens_BM is not None
    return collator.tokenizer.decode(view.tokens_BM[row], skip_special_tokens=True).replace(" ##", "")


def test_the_augmented_view_reads_one_of_the_new_texts_and_the_clean_view_its_own(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    collator = collator_of(train_wordpiece([*sum(NEW_TEXTS.values(), ()), "Kids are talking. Dogs sit."] * 2))
    plain = dataclasses.replace(collator)
    collator = dataclasses.replace(collator, new_texts=NEW_TEXTS)
    seen = set()
    for epoch in range(12):
        batch = collator(["a", "b", "c"], waveforms(5, 5, 5), waveforms(5, 5, 5), epoch=epoch)
        assert text_of(collator, batch.clean, 0) == "kids are talking ."
        seen.add(text_of(collator, batch.augmented, 0))
        # Utterances without new texts keep their own, and a missing text stays missing.
        assert text_of(collator, batch.augmented, 2) == text_of(plain, batch.clean, 2)
        assert batch.augmented is not None and batch.augmented.has_text_B is not None
        assert batch.augmented.has_text_B.tolist() == [True, False, True]
    assert seen == {"cats are talking .", "kids were talking ."}
    assert collator(["a"], waveforms(5), None, epoch=None).augmented is None


def test_new_texts_follow_the_variant_and_dropped_text_stays_dropped(tokenizer: PreTrainedTokenizerFast) -> None:
    collator = collator_of(tokenizer, new_texts={"a": tuple(f"{word} are" for word in ("kids", "dogs", "talking"))})
    cycle = dataclasses.replace(collator, variants=2)

    def tokens(which: Collator, epoch: int) -> list[int]:
        second = which(["a"], waveforms(5), waveforms(5), epoch=epoch).augmented
        assert second is not None and second.tokens_BM is not None
        return second.tokens_BM[0].tolist()

    assert all(tokens(cycle, epoch) == tokens(collator, epoch % 2) for epoch in range(6))
    mute = dataclasses.replace(collator, text_dropout=1.0)
    second = mute(["a"], waveforms(5), waveforms(5), epoch=0).augmented
    assert second is not None and second.has_text_B is not None and not second.has_text_B.any()


def test_transcripts_can_be_withheld_in_evaluation_alone(tokenizer: PreTrainedTokenizerFast) -> None:
    collator = collator_of(tokenizer, text_in_evaluation=False)
    for epoch, expected in ((None, False), (0, True)):
        batch = collator(["a"], waveforms(5), waveforms(5), epoch=epoch)
        assert batch.clean.has_text_B is not None and batch.clean.has_text_B.tolist() == [expected]


def mixing_collator(
    kind: Literal["alone", "beside"], tokenizer: PreTrainedTokenizerFast | None, **values: Any
) -> Collator:
    targets = Targets(labels=LABELS, n_classes=1 + max(LABELS.values()))
    return collator_of(tokenizer, mixup=kind, targets=targets, **values)


@pytest.mark.parametrize("kind", ["alone", "beside"])
def test_a_mixed_view_has_both_waveforms_both_labels_and_its_own_text(
    kind: Literal["alone", "beside"], tokenizer: PreTrainedTokenizerFast
) -> None:
    """'alone': in place of the clean view. 'beside': the clean view is what other terms read."""
    names, own, others = ["a", "b"], waveforms(4, 4), waveforms(4, 4)[::-1]
    mixes = [Mix(partner="b", share=0.75), Mix(partner="a", share=0.5)]
    collator = mixing_collator(kind, tokenizer)
    batch = collator(names, own, own, epoch=0, mixes=mixes, partners=others)
    view = batch.clean if kind == "alone" else batch.mixed
    assert view is not None and view.waveforms_BS is not None
    # Of equal power once scaled: each has its own amplitude.
    torch.testing.assert_close(view.waveforms_BS, torch.tensor([[1.0] * 4, [2.0] * 4]))
    assert text_of(collator, view, 0) == "kids are talking ."
    expected_BC = torch.zeros(2, 1 + max(LABELS.values()))
    for row, name, mix in zip(expected_BC, names, mixes, strict=True):
        row[LABELS[name]] += mix.share
        row[LABELS[mix.partner]] += 1 - mix.share
    torch.testing.assert_close(batch.targets["clean" if kind == "alone" else "mixed"], expected_BC)
    assert (batch.mixed is None) == (kind == "alone")
    assert len(batch.views) == (2 if kind == "alone" else 3)
    evaluated = collator(names, own, None, epoch=None)
    assert evaluated.mixed is None and evaluated.clean.waveforms_BS is not None
    assert evaluated.clean.waveforms_BS.tolist() == [[1] * 4, [2] * 4], "evaluation is never mixed"


@pytest.mark.parametrize("kind", ["alone", "beside"])
def test_a_worker_without_an_utterance_mixes_a_silent_row(
    kind: Literal["alone", "beside"], tokenizer: PreTrainedTokenizerFast
) -> None:
    """Every worker's batch has the same views: otherwise the others would wait for its share of their reduction."""
    batch = mixing_collator(kind, tokenizer)([], [], [], epoch=0)
    assert len(batch.views) == (2 if kind == "alone" else 3)
    assert all(len(view) == 1 for view in batch.views)


def test_soft_labels_are_the_targets_of_both_views_in_training_alone(tokenizer: PreTrainedTokenizerFast) -> None:
    collator = collator_of(
        tokenizer, targets=Targets(labels={"a": 1, "b": 0}, n_classes=3, soft={"a": (0.25, 0.5, 0.25)})
    )
    batch = collator(["a", "b"], waveforms(5, 5), waveforms(5, 5), epoch=0)
    assert {*batch.targets} == {"clean", "augmented"}
    for rows_BC in batch.targets.values():
        assert rows_BC.tolist() == [[0.25, 0.5, 0.25], [1, 0, 0]], "without votes it is the label"
    assert not collator(["a", "b"], waveforms(5, 5), None, epoch=None).targets


def test_features_of_two_texts_are_mixed_where_there_are_two(tmp_path: Path) -> None:
    texts = {"": [0, 0], "x": [4, 8, 0, 4], "y": [8, 0]}
    stored = {text: np.array(flat, np.float32) for text, flat in texts.items()}
    features = TextFeatures(location=write_store(Folder.at(str(tmp_path)) / "store", stored), width=2)
    mixed_BME, lengths_B = features.of(["x", None, "y"], [("y", 0.75), ("x", 0.5), (None, 0.5)])
    assert mixed_BME.tolist() == [[[5, 6], [0, 3]], [[0, 0], [0, 0]], [[8, 0], [0, 0]]]
    assert lengths_B.tolist() == [2, 1, 1]
