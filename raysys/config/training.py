"""What is minimised, by which optimizer, and in which batches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from raysys.config.check import require

Select = Literal["ua", "wa", "macro_f1", "loss"]
"""A score of the validation part by which is selected; the lowest loss, the highest of the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """L = L_CE + alpha L_SCL + beta L_ACL + gamma L_CPC."""

    alpha: float = 0.1
    """Weight of the supervised contrastive term (equation 3)."""
    beta: float = 0.1
    """Weight of the augmentation contrastive term (clean versus augmented view)."""
    gamma: float = 0.1
    """Weight of contrastive predictive coding; 0 gives the paper's formula as printed."""
    scl: Literal["n_pair", "supcon"] = "n_pair"
    """Supervised contrastive term: N-pair (Sohn 2016, equation 3) or SupCon (Khosla et al. 2020)."""
    scl_scale: Literal["none", "unit"] = "none"
    """Scale of N-pair's embeddings. none: dot products, as in equation 3, so that the term grows with their norms;
    unit: unit vectors, their cosines over the temperature, as in SupCon."""
    heads: Literal["shared", "per_task"] = "shared"
    """Projection heads of the two contrastive terms: one for both, or one for each."""
    queue: int = 0
    """Further negatives of the contrastive terms: the embeddings of this many utterances of earlier steps, without
    gradient. At most as many as the training part has; 0: none."""
    acl_negatives: Literal["all", "other_classes"] = "all"
    """Negatives of the augmentation contrastive term: all other utterances, or only those of other classes."""
    cpc: Literal["cross_modal", "fused", "temporal", "none"] = "cross_modal"
    """Contrastive predictive coding. cross_modal: each modality predicts the other, before they are fused; fused: the
    fused vector, which contains both, predicts each of them; temporal: past audio frames predict the next ones (van den
    Oord et al. 2018)."""
    temperature: float = 0.07
    """Temperature of SupCon, N-pair of unit vectors, the augmentation contrastive term and CPC."""
    l2: float = 0.0
    """Weight of Sohn's L2 penalty on the embeddings, within the supervised contrastive term."""
    labels: Literal["hard", "votes"] = "hard"
    """What the cross-entropy aims at. votes: the annotators' votes for an utterance, as shares of 1; it then is the KL
    divergence of the prediction from the votes, plus their entropy, which no weight changes. An utterance without votes
    has its label. The contrastive terms and all accuracies read labels."""
    class_weights: Literal["none", "balanced"] = "none"
    """Class weights of the cross-entropy. balanced: inversely proportional to class counts in the training part."""
    label_smoothing: float = 0.0
    """Label smoothing in the cross-entropy."""
    focal: float = 0.0
    """Focusing parameter of the focal loss (Lin et al. 2017), which replaces the cross-entropy: what is predicted well
    already counts less. 2 is usual; 0: cross-entropy."""
    logit_adjustment: float = 0.0
    """Add the log of the training part's class frequencies times this to the logits in the training loss (Menon et al.
    2021), so that the logits themselves favour no class: 1 aims at the best UA. 0: off."""

    @property
    def heads_used(self) -> int:
        """Projection heads that the terms in use have: none, one or two."""
        terms = (self.alpha > 0) + (self.beta > 0)
        return min(terms, 2 if self.heads == "per_task" else 1)

    @property
    def contrasts(self) -> bool:
        """Whether a contrastive term compares the two views."""
        return self.alpha > 0 or self.beta > 0

    @property
    def active_cpc(self) -> Literal["cross_modal", "fused", "temporal", "none"]:
        """Which predictive coding is trained: none with a weight of 0."""
        return self.cpc if self.gamma > 0 else "none"

    def __post_init__(self) -> None:
        for name in ("alpha", "beta", "gamma", "l2"):
            value = getattr(self, name)
            require(0 <= value < math.inf, f"--loss.{name} is {value}; expected a weight of 0 or more.")
        require(self.queue >= 0, f"--loss.queue is {self.queue}; expected a number of utterances, or 0 for none.")
        require(
            not (self.l2 and self.scl_scale == "unit"),
            f"--loss.l2 {self.l2:g} penalises norms, which --loss.scl-scale unit takes out of the term; leave out one.",
        )
        require(
            not (self.focal and self.labels == "votes"),
            f"--loss.focal {self.focal:g} is for labels: with --loss.labels votes it would be least at other shares "
            f"than the votes. Leave out one of them.",
        )
        for name in ("focal", "logit_adjustment"):
            value, flag = getattr(self, name), f"--loss.{name.replace('_', '-')}"
            require(0 <= value < math.inf, f"{flag} is {value}; expected a number of 0 or more.")
        require(
            0 < self.temperature < math.inf,
            f"--loss.temperature is {self.temperature}; expected a positive number.",
        )
        require(
            0 <= self.label_smoothing < 1,
            f"--loss.label-smoothing is {self.label_smoothing}; expected 0 <= value < 1.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    encoder_lr: float = 1e-5
    """Learning rate of the encoders."""
    lr: float = 1e-4
    """Learning rate of everything else."""
    layer_decay: float = 1.0
    """The layer k below the top of a pretrained encoder learns at its rate times this to the power of k, and what is
    below all layers as one layer more. 1: all at the same rate."""
    warmup: float = 0.1
    """Fraction of the steps used for linear warm-up; afterwards the rate decays linearly to 0."""
    clip_norm: float = 1.0
    """Gradient clipping: largest global norm."""
    weight_decay: float = 0.0
    """Decoupled weight decay (0: Adam, as in the paper)."""
    average: float = 0.0
    """Decay of the moving average of the weights used in validation and test. 0: use the weights themselves."""

    def __post_init__(self) -> None:
        for name in ("encoder_lr", "lr", "weight_decay"):
            value = getattr(self, name)
            require(
                0 <= value < math.inf, f"--optim.{name.replace('_', '-')} is {value}; expected a number of 0 or more."
            )
        require(0 < self.layer_decay <= 1, f"--optim.layer-decay is {self.layer_decay}; expected 0 < layer-decay <= 1.")
        require(0 <= self.average < 1, f"--optim.average is {self.average}; expected 0 <= decay < 1.")
        require(0 <= self.warmup < 1, f"--optim.warmup is {self.warmup}; expected 0 <= warmup < 1.")
        require(self.clip_norm > 0, f"--optim.clip-norm is {self.clip_norm}; it must be positive.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    epochs: int = 100
    """Passes over the training part; the best epoch by --train.select is used."""
    select: Select = "ua"
    """Score of the validation part by which a fold's epoch is chosen, and a grid search's points: the best UA, WA or
    macro-F1, or the lowest loss (mean cross-entropy, without class weights, smoothing or logit adjustment)."""
    batch_size: int = 4
    """Utterances per forward pass, over all workers of a trial; the contrastive terms compare these."""
    accumulate: int = 4
    """Forward passes per optimizer step (gradient accumulation)."""
    per_class: int = 2
    """Utterances of the same class kept together in a batch, so that the contrastive terms have positives; best a
    divisor of the batch size. 1: batches are formed by length only."""
    sampling: Literal["natural", "balanced"] = "natural"
    """natural: every training utterance once per epoch. balanced: each class equally often, by drawing from large
    classes and repeating small ones; an epoch has as many utterances as with natural."""
    max_steps: int | None = None
    """Stop after this many optimizer steps (for a quick test)."""
    crop_s: float = 13.0
    """Crop training utterances to this many seconds; evaluation never crops."""
    text_dropout: float = 0.1
    """Probability that a training utterance has no text in an epoch (modality dropout)."""
    seed: int = 0
    """Seed of all random numbers."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate", "per_class"):
            value = getattr(self, name)
            require(value >= 1, f"--train.{name.replace('_', '-')} is {value}; at least 1 is needed.")
        require(
            self.max_steps is None or self.max_steps >= 1,
            f"--train.max-steps is {self.max_steps}; at least 1 is needed.",
        )
        require(0.1 <= self.crop_s < float("inf"), f"--train.crop-s is {self.crop_s}; expected 0.1 seconds or more.")
        require(0 <= self.text_dropout <= 1, f"--train.text-dropout is {self.text_dropout}; expected 0 to 1.")
