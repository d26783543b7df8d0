"""The network's input for one step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from raysys.data.audio import inaudible
from raysys.data.cache import WaveformStore
from raysys.data.manifest import Utterance
from raysys.data.mixing import Mix, mixed
from raysys.data.plan import derive_seed
from raysys.data.targets import Targets
from raysys.data.text import normalise_transcript, tokenize
from raysys.data.view import View, pad_features, pad_waveforms

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One worker's share of a step.

    Attributes:
        utterance_ids: B ids; empty if this worker has no utterance in the step: the tensors then hold one silent
            row that is ignored (every worker must take part in every collective operation).
        labels_B: class indices, int64.
        utterance_B: a number for each utterance, equal in both views.
        transcript_B: a number for each transcript, equal if the normalised words are; -1 without text.
        clean, augmented: the views; `augmented` is None outside training and if no loss needs it.
        mixed: what the cross-entropy reads in place of the clean view, if other terms read that; otherwise None.
        targets: class probabilities (B x C) by view, 'clean', 'augmented' or 'mixed'; labels where there are none.
    """

    utterance_ids: tuple[str, ...]
    labels_B: Tensor
    utterance_B: Tensor
    transcript_B: Tensor
    clean: View
    augmented: View | None
    mixed: View | None = None
    targets: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)

    @property
    def views(self) -> tuple[View, ...]:
        """What the network reads: clean, augmented, mixed."""
        return tuple(view for view in (self.clean, self.augmented, self.mixed) if view is not None)

    def to(self, device: torch.device) -> Batch:
        return self._mapped(lambda tensor: tensor.to(device, non_blocking=True), lambda view: view.to(device))

    def pinned(self) -> Batch:
        """In pinned memory, from which `to` returns before it has copied."""
        return self._mapped(Tensor.pin_memory, View.pinned)

    def _mapped(self, of_tensor: Callable[[Tensor], Tensor], of_view: Callable[[View], View]) -> Batch:
        return dataclasses.replace(
            self,
            labels_B=of_tensor(self.labels_B),
            utterance_B=of_tensor(self.utterance_B),
            transcript_B=of_tensor(self.transcript_B),
            clean=of_view(self.clean),
            augmented=None if self.augmented is None else of_view(self.augmented),
            mixed=None if self.mixed is None else of_view(self.mixed),
            targets={name: of_tensor(rows_BC) for name, rows_BC in self.targets.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFeatures:
    """A frozen text encoder's precomputed features, by text.

    Attributes:
        location: of the store; it includes the empty text, which stands for a missing one.
        width: E.
    """

    location: str
    width: int

    def of(self, texts: Sequence[str | None], others: Sequence[tuple[str | None, float]] = ()) -> tuple[Tensor, Tensor]:
        """(features_BME, lengths_B).

        Args:
            others: with mixup, another text for each and its own share; where one is missing, the text stays as it is.
        """
        store = WaveformStore.opened(self.location)
        features = [store.get(text or "") for text in texts]
        for i, (other, share) in enumerate(others):
            if texts[i] is not None and other is not None:
                features[i] = mixed(features[i], store.get(other), share, level=False)
        return pad_features(features, self.width)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collator:
    """Turns fetched utterances into batches; holds everything that is constant within a fold.

    Attributes:
        utterances, labels: by id.
        tokenizer: of the text encoder; None if the model uses audio alone.
        text_dropout: probability that a training utterance loses its text for an epoch, in both views.
        second_view: whether training batches contain an augmented view.
        seed: of text dropout and of the choice among new texts.
        new_texts: CBCA's texts of training utterances, by id; an utterance without any keeps its own text.
        variants: number of different augmented views per utterance; 0: a new one every epoch.
        text_in_evaluation: whether validation and test may use transcripts.
        frame_width: E if frozen features (J x E, flattened) replace waveforms.
        text_features: stored features of a frozen text encoder, which replace tokens.
        targets: what training batches aim at; None: at labels.
        mixup: whether training batches have a mixed view, see `ExperimentConfig.mixup`; it needs `targets`.
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
    frame_width: int | None = None
    text_features: TextFeatures | None = None
    targets: Targets | None = None
    mixup: Literal["none", "alone", "beside"] = "none"

    def __call__(
        self,
        utterance_ids: Sequence[str],
        clean: Sequence[np.ndarray] | None,
        augmented: Sequence[np.ndarray] | None,
        *,
        epoch: int | None,
        mixes: Sequence[Mix] = (),
        partners: Sequence[np.ndarray] | None = None,
    ) -> Batch:
        """Pad and tokenise.

        Args:
            utterance_ids: B ids.
            clean, augmented: B waveforms each (or features), or None if the model uses text alone.
            epoch: the training epoch, which determines whose text is dropped; None in evaluation.
            mixes: with mixup, what each utterance is mixed with in training.
            partners: their waveforms or features; None if the model uses text alone.

        With `second_view`, a training batch also contains the augmented view. If neither CBCA nor an effect changes an
        utterance, its two views are equal and differ only by the network's dropout.
        """
        names = list(utterance_ids)
        labels = [self.labels[name] for name in names] or [0]
        texts = [self._text(name, epoch) for name in names] or [None]
        if not names and clean is not None:
            nothing = inaudible() if self.frame_width is None else np.zeros(self.frame_width, np.float32)
            clean = [nothing]
            augmented = None if augmented is None else [nothing]

        second = None
        if self.second_view and epoch is not None:
            second = self._view(augmented, self._rewrite(names, texts, epoch))
        first, mixed_view = self._view(clean, texts), None
        targets = {}
        if self.targets is not None and epoch is not None:
            targets = dict.fromkeys(("clean", "augmented"), self.targets.of(names))
        if self.mixup != "none" and epoch is not None:
            assert self.targets is not None
            mixed_view = self._mixed(clean, texts, epoch, mixes, partners)
            targets["clean" if self.mixup == "alone" else "mixed"] = self.targets.mixed(names, mixes)
            if self.mixup == "alone":
                first, mixed_view = mixed_view, None
        return Batch(
            utterance_ids=tuple(names),
            labels_B=torch.tensor(labels),
            utterance_B=torch.tensor([derive_seed(name) for name in names] or [0]),
            transcript_B=torch.tensor([-1 if t is None else derive_seed(normalise_transcript(t)) for t in texts]),
            clean=first,
            augmented=second,
            mixed=mixed_view,
            targets=targets,
        )

    def _mixed(
        self,
        clean: Sequence[np.ndarray] | None,
        texts: Sequence[str | None],
        epoch: int,
        mixes: Sequence[Mix],
        partners: Sequence[np.ndarray] | None,
    ) -> View:
        """The mixed view. Tokens cannot be mixed: a text that is not a frozen encoder's features is its own."""
        heard = clean
        if clean is not None and partners:
            level = self.frame_width is None
            heard = [
                mixed(own, other, mix.share, level=level)
                for own, other, mix in zip(clean, partners, mixes, strict=True)
            ]
        return self._view(heard, texts, [(self._text(mix.partner, epoch), mix.share) for mix in mixes])

    def _view(
        self,
        heard: Sequence[np.ndarray] | None,
        texts: Sequence[str | None],
        others: Sequence[tuple[str | None, float]] = (),
    ) -> View:
        waveforms = frames = lengths = None
        if heard is not None and self.frame_width is not None:
            frames, lengths = pad_features(heard, self.frame_width)
        elif heard is not None:
            waveforms, lengths = pad_waveforms(heard)
        tokens = valid = has_text = features = None
        if self.text_features is not None:
            features, lengths_B = self.text_features.of(texts, others)
            valid = torch.arange(features.shape[1]) < lengths_B[:, None]
            has_text = torch.tensor([text is not None for text in texts])
        elif self.tokenizer is not None:
            tokens, valid, has_text = tokenize(self.tokenizer, texts)
        return View(
            waveforms_BS=waveforms,
            lengths_B=lengths,
            tokens_BM=tokens,
            token_valid_BM=valid,
            has_text_B=has_text,
            frames_BJE=frames,
            token_features_BME=features,
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
        """The augmented view's texts: one of CBCA's, for utterances that have a text and new texts."""
        variant = epoch % self.variants if self.variants else epoch
        rewritten = list(texts)
        for i, name in enumerate(names):
            choices = self.new_texts.get(name)
            if texts[i] is not None and choices:
                rewritten[i] = choices[derive_seed(self.seed, "new text", variant, name) % len(choices)]
        return rewritten
