"""What one step feeds the network."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from raysys.data.audio import inaudible
from raysys.data.manifest import Utterance
from raysys.data.plan import derive_seed
from raysys.data.text import normalise_transcript, tokenize


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One view (clean or augmented) of B utterances.

    Attributes:
        waveforms_BS: float32, zero-padded; None where the model uses text alone.
        lengths_B: valid samples of each waveform, int64.
        tokens_BM: int64, padded; None where the model uses audio alone.
        token_valid_BM: bool.
        has_text_B: bool; False rows get the learned no-text token.
    """

    waveforms_BS: Tensor | None
    lengths_B: Tensor | None
    tokens_BM: Tensor | None
    token_valid_BM: Tensor | None
    has_text_B: Tensor | None

    def __len__(self) -> int:
        rows = self.tokens_BM if self.waveforms_BS is None else self.waveforms_BS
        assert rows is not None
        return len(rows)

    def to(self, device: torch.device) -> View:
        moved = {
            field.name: None if (t := getattr(self, field.name)) is None else t.to(device, non_blocking=True)
            for field in dataclasses.fields(self)
        }
        return View(**moved)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One worker's share of a step.

    Attributes:
        utterance_ids: B names; empty where this worker has no utterance of the step, the tensors then hold one
            inaudible row that counts for nothing (every worker must take part in every collective operation).
        labels_B: class indices, int64.
        utterance_B: a number for each utterance, equal for both views.
        transcript_B: a number for each transcript, equal where the normalised words are; -1 without text.
        clean, augmented: the views; `augmented` is None outside training and where no loss needs it.
    """

    utterance_ids: tuple[str, ...]
    labels_B: Tensor
    utterance_B: Tensor
    transcript_B: Tensor
    clean: View
    augmented: View | None

    def to(self, device: torch.device) -> Batch:
        return dataclasses.replace(
            self,
            labels_B=self.labels_B.to(device, non_blocking=True),
            utterance_B=self.utterance_B.to(device, non_blocking=True),
            transcript_B=self.transcript_B.to(device, non_blocking=True),
            clean=self.clean.to(device),
            augmented=None if self.augmented is None else self.augmented.to(device),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Collator:
    """Turns fetched utterances into batches; holds what is the same for a whole fold.

    Attributes:
        utterances, labels: by id.
        tokenizer: of the text encoder; None where the model uses audio alone.
        text_dropout: probability that a training utterance loses its text for an epoch, in both views.
        second_view: whether training batches hold an augmented view.
        seed: of text dropout and of the choice among new texts.
        new_texts: CBCA's texts by id, of training utterances; one without any keeps its own.
        variants: different augmented views of an utterance; 0: one an epoch.
        text_in_evaluation: whether validation and test may use transcripts.
    """

    utterances: Mapping[str, Utterance]
    labels: Mapping[str, int]
    tokenizer: PreTrainedTokenizerBase | None
    text_dropout: float
    second_view: bool
    seed: int
    new_texts: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    variants: int = 0
    text_in_evaluation: bool = True

    def __call__(
        self,
        utterance_ids: Sequence[str],
        clean: Sequence[np.ndarray] | None,
        augmented: Sequence[np.ndarray] | None,
        *,
        epoch: int | None,
    ) -> Batch:
        """Pad and tokenise.

        Args:
            utterance_ids: B names.
            clean, augmented: B waveforms each, or None where the model uses text alone.
            epoch: the training epoch, which decides whose text is dropped; None in evaluation.

        With `second_view`, a training batch holds the augmented view too. What neither CBCA nor an effect changes is
        the same again, which other dropout makes a view.
        """
        names = list(utterance_ids)
        labels = [self.labels[name] for name in names] or [0]
        texts = [self._text(name, epoch) for name in names] or [None]
        if not names and clean is not None:
            clean = [inaudible()]
            augmented = None if augmented is None else [inaudible()]

        def view(waveforms: Sequence[np.ndarray] | None, texts: Sequence[str | None]) -> View:
            tokens = (None, None, None) if self.tokenizer is None else tokenize(self.tokenizer, texts)
            padded, lengths = (None, None) if waveforms is None else pad_waveforms(waveforms)
            return View(
                waveforms_BS=padded,
                lengths_B=lengths,
                tokens_BM=tokens[0],
                token_valid_BM=tokens[1],
                has_text_B=tokens[2],
            )

        second = None
        if self.second_view and epoch is not None:
            second = view(augmented, self._rewrite(names, texts, epoch))
        return Batch(
            utterance_ids=tuple(names),
            labels_B=torch.tensor(labels),
            utterance_B=torch.tensor([derive_seed(name) for name in names] or [0]),
            transcript_B=torch.tensor([-1 if t is None else derive_seed(normalise_transcript(t)) for t in texts]),
            clean=view(clean, texts),
            augmented=second,
        )

    def _text(self, name: str, epoch: int | None) -> str | None:
        text = self.utterances[name].transcript
        if text is None or self.tokenizer is None:
            return None
        if epoch is None:
            return text if self.text_in_evaluation else None
        drawn = derive_seed(self.seed, "text dropout", epoch, name) / 2**63
        return None if drawn < self.text_dropout else text

    def _rewrite(self, names: Sequence[str], texts: Sequence[str | None], epoch: int) -> list[str | None]:
        """The augmented view's texts: one of CBCA's where there is a text and a new one of it."""
        variant = epoch % self.variants if self.variants else epoch
        rewritten = list(texts)
        for i, name in enumerate(names):
            choices = self.new_texts.get(name)
            if texts[i] is not None and choices:
                rewritten[i] = choices[derive_seed(self.seed, "new text", variant, name) % len(choices)]
        return rewritten


def pad_waveforms(waveforms: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Zero-pad to the longest: (waveforms_BS, lengths_B)."""
    lengths = [len(w) for w in waveforms]
    padded = torch.zeros(len(waveforms), max(lengths))
    for row, waveform_S in zip(padded, waveforms, strict=True):
        row[: len(waveform_S)] = torch.from_numpy(np.array(waveform_S, dtype=np.float32))
    return padded, torch.tensor(lengths)
