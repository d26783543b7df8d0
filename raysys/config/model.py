"""The encoders, what of them is trained, and the fusion."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from raysys.config.check import require

BUILT_IN = ("light", "tiny")
"""Encoders that need no download or files."""
LORA_RANK = 8
"""Rank of adapters unless --model.lora-rank says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    audio: str = "facebook/wav2vec2-base"
    """Audio encoder: 'light' (log-mel front end, trained from scratch), 'tiny' (a tiny random wav2vec 2.0, for tests),
    a Hub name, or a folder written by save_pretrained."""
    text: str = "distilbert/distilbert-base-uncased"
    """Text encoder: 'light' (small DistilBERT and tokenizer, trained from scratch), 'tiny', a Hub name or a folder."""
    weights: Literal["pretrained", "random"] = "pretrained"
    """random: read only the encoders' configurations and initialise their weights randomly."""
    freeze_audio: Literal["none", "cnn", "all"] = "cnn"
    """Which part of the audio encoder to freeze; cnn is wav2vec 2.0's convolutional front end."""
    layer: Literal["last", "cnn", "weighted_sum"] = "last"
    """Which output of the audio encoder to use: the last layer, the projected output of the convolutions (without the
    Transformer), or a softmax-weighted sum of all layers with learned weights (SUPERB)."""
    pool_frames: Literal[1, 2, 4] = 1
    """Average every so many frames of the audio encoder (of 20 ms): less to store of a frozen one, and less to fuse."""
    freeze_text: Literal["none", "all"] = "none"
    """Which part of the text encoder to freeze."""
    adapt: Literal["none", "lora"] = "none"
    """lora: freeze the pretrained encoders and train small adapters in their attention (Hu et al. 2021), at --optim.lr;
    a saved model has them merged into its weights. An encoder frozen by 'all' gets none. Needs raysys[lora]."""
    lora_rank: int = LORA_RANK
    """Rank of the adapters. They are scaled by 2, whatever their rank."""
    lora_layers: int = 0
    """Put adapters into this many layers from the top. 0: into all."""
    unfreeze_top: int = 0
    """Train this many layers from the top of the pretrained encoders and freeze the rest. An encoder frozen by 'all'
    stays so. 0: train all that is not frozen otherwise."""
    checkpoint_activations: bool = False
    """Compute the activations of the pretrained encoders' layers again in the backward pass, in place of keeping them:
    less memory, about a third more time."""
    width: int = 768
    """Width of the fusion module (D); encoders of another width get a linear projection."""
    heads: int = 12
    """Number of cross-modal attention heads."""
    feed_forward: int = 3072
    """Hidden width of the cross-modal blocks' feed-forward layers."""
    n_layers: int = 1
    """Number of layers in each cross-modal coding block."""
    ccb1: bool = True
    """Cross-modal coding block 1: audio frames attend to text (equation 1)."""
    ccb2: bool = True
    """Cross-modal coding block 2: text tokens attend to audio."""
    bigru: Literal["joint", "per_stream", "none"] = "joint"
    """One bidirectional GRU over both blocks' outputs concatenated in time, one per block, or none."""
    pooling: Literal["max", "attention", "mean", "statistics"] = "max"
    """How frames are pooled into one vector (mp in equation 2); statistics: attentive mean and deviation, and mean."""
    dropout: float = 0.1
    """Dropout in everything trained from scratch: cross-modal blocks, the head's input, the light encoders."""
    mask_frames: float = 0.0
    """In training, set a span of the audio encoder's frames to 0, of up to this fraction of an utterance (SpecAugment,
    on features)."""
    drop_channels: float = 0.0
    """In training, set this fraction of the numbers of an audio frame to 0, the same in all frames of an utterance."""

    def __post_init__(self) -> None:
        for name in ("width", "heads", "feed_forward", "n_layers", "lora_rank"):
            value = getattr(self, name)
            require(value >= 1, f"--model.{name.replace('_', '-')} is {value}; at least 1 is needed.")
        require(
            self.width % self.heads == 0 and self.width % 2 == 0,
            f"--model.width {self.width} must be even and a multiple of --model.heads {self.heads}.",
        )
        require(0 <= self.dropout < 1, f"--model.dropout is {self.dropout}; expected 0 <= dropout < 1.")
        for name in ("mask_frames", "drop_channels"):
            value = getattr(self, name)
            require(0 <= value < 1, f"--model.{name.replace('_', '-')} is {value}; expected 0 <= value < 1.")
        require(self.ccb1 or self.ccb2, "Without --model.ccb1 and --model.ccb2 nothing reaches the BiGRU.")
        require(
            self.audio != "light" or self.layer == "last",
            f"--model.layer {self.layer} is for pretrained encoders; --model.audio light has one output.",
        )
        for name in ("lora_layers", "unfreeze_top"):
            value = getattr(self, name)
            require(value >= 0, f"--model.{name.replace('_', '-')} is {value}; it cannot be negative.")
        require(
            self.adapt == "lora" or (self.lora_rank, self.lora_layers) == (LORA_RANK, 0),
            "--model.lora-rank and --model.lora-layers are for adapters; add --model.adapt lora, or leave them out.",
        )
        require(
            self.adapt == "none" or not self.unfreeze_top,
            f"--model.unfreeze-top {self.unfreeze_top} trains the layers themselves, which --model.adapt lora freezes; "
            f"leave out one of them.",
        )

    @property
    def learns_in_part(self) -> bool:
        """Whether pretrained encoders are frozen except for adapters or top layers."""
        return self.adapt != "none" or self.unfreeze_top > 0

    def as_trained(self) -> ModelConfig:
        """The same model without what only its training needs."""
        return dataclasses.replace(
            self,
            adapt="none",
            lora_rank=LORA_RANK,
            lora_layers=0,
            unfreeze_top=0,
            checkpoint_activations=False,
            mask_frames=0.0,
            drop_channels=0.0,
        )
