"""All sections together: what they ask of each other, and what follows from them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from raysys.config.augment import AugmentConfig
from raysys.config.check import require
from raysys.config.corpus import CorpusConfig
from raysys.config.model import BUILT_IN, ModelConfig
from raysys.config.places import ClusterConfig, RunConfig, TrackConfig
from raysys.config.training import LossConfig, OptimConfig, TrainConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentConfig:
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    track: TrackConfig = field(default_factory=TrackConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        if self.loss.active_cpc == "temporal":
            require(
                self.corpus.resolved_modalities != "text",
                "--loss.cpc temporal predicts audio, which --corpus.modalities text leaves out.",
            )
            require(
                self.model.audio == "light" or self.model.freeze_audio == "none",
                f"--loss.cpc temporal learns through the audio encoder's convolutions, which --model.freeze-audio "
                f"{self.model.freeze_audio} freezes: no gradient would reach anything that the other terms use. "
                f"Add --model.freeze-audio none.",
            )
            require(
                not self.model.learns_in_part,
                "--loss.cpc temporal learns through the audio encoder's convolutions, which --model.adapt and "
                "--model.unfreeze-top freeze. Add --loss.cpc cross_modal or none.",
            )
        if self.augment.mixup:
            mixup = f"--augment.mixup {self.augment.mixup:g}"
            require(
                self.train.batch_size > 1,
                f"{mixup} mixes utterances of a batch, but --train.batch-size is 1. Raise it to 2 or more.",
            )
            require(
                self.corpus.resolved_modalities != "text" or self.keeps_text_features,
                f"{mixup} mixes waveforms or the features of frozen encoders; --corpus.modalities text without "
                f"--model.freeze-text all and a pretrained --model.text has neither. Leave it out.",
            )
        self._check_layers()

    def _check_layers(self) -> None:
        """Refuse what works on the layers of a pretrained encoder where none is used or trained."""
        asked = {
            f"--model.adapt {self.model.adapt}": self.model.adapt != "none",
            f"--model.unfreeze-top {self.model.unfreeze_top}": self.model.unfreeze_top > 0,
            "--model.checkpoint-activations": self.model.checkpoint_activations,
            f"--optim.layer-decay {self.optim.layer_decay}": self.optim.layer_decay != 1,
        }
        if not (flags := [flag for flag, on in asked.items() if on]):
            return
        used = {"--model.audio": (self.model.audio, self.model.freeze_audio)}
        used["--model.text"] = (self.model.text, self.model.freeze_text)
        if self.corpus.resolved_modalities != "both":
            used = {f"--model.{self.corpus.resolved_modalities}": used[f"--model.{self.corpus.resolved_modalities}"]}
        for encoder, (name, _) in used.items():
            require(
                name not in BUILT_IN,
                f"{flags[0]} is for the layers of pretrained encoders; {encoder} {name} is trained from scratch, as a "
                f"whole. Leave it out, or give a pretrained encoder.",
            )
        thaw = " or ".join(f"--model.freeze-{encoder.removeprefix('--model.')} none" for encoder in used)
        require(
            any(frozen != "all" for _, frozen in used.values()),
            f"{flags[0]} is for encoders that are trained, but all in use are frozen. Add {thaw}, or leave it out.",
        )
        require(
            self.model.layer != "cnn" or self.model.freeze_audio == "all" or "--model.audio" not in used,
            f"{flags[0]} is for an encoder's layers, which --model.layer cnn leaves out; leave out one of them.",
        )

    def learning_hash(self) -> str:
        """Hash of `learning_values`."""
        return hashlib.sha256(json.dumps(self.learning_values(), sort_keys=True).encode()).hexdigest()[:16]

    def learning_values(self) -> dict[str, Any]:
        """Everything that results depend on; not locations, tracking, or the number of trials at once."""
        values: dict[str, Any] = dataclasses.asdict(self)
        for section in ("run", "track"):
            del values[section]
        values["cluster"] = {name: values["cluster"][name] for name in ("workers_per_trial", "cpus_per_worker")}
        # A title is for people. A refused run has no results, so existing results do not depend on the others.
        for name in ("root", "audio_root", "title", "allow_duplicates", "same_names"):
            del values["corpus"][name]
        if self.corpus.labels == "acted":
            del values["corpus"]["labels"]  # as before there was another
        # 40 and 40.0 are the same value: Python code may give one and a file the other.
        plain: dict[str, Any] = json.loads(json.dumps(values), parse_int=float)
        return plain

    @property
    def rewrites_text(self) -> bool:
        """Whether the augmented view has its own text."""
        heard = self.corpus.resolved_modalities != "audio"
        return heard and self.needs_augmented_view and self.augment.cbca != "none"

    @property
    def masked_lm(self) -> str:
        """Masked language model for CBCA: 'light', a Hub name or a folder."""
        if self.augment.cbca_model is not None:
            return self.augment.cbca_model
        drawn = self.model.weights == "random" or self.model.text in BUILT_IN
        return "light" if drawn else self.model.text

    @property
    def keeps_audio_features(self) -> bool:
        """Whether the audio encoder gives the same features for a view in every trial, so they are computed once."""
        return self.model.freeze_audio == "all" and self._keeps_what_audio_encoders_give

    @property
    def keeps_audio_latents(self) -> bool:
        """Whether only its convolutions do, if it has any that read waveforms.

        Mixup mixes waveforms where the encoder is trained.
        """
        frozen = self.model.freeze_audio == "cnn" or self.model.learns_in_part
        return (
            frozen and not self.keeps_audio_features and not self.augment.mixup and self._keeps_what_audio_encoders_give
        )

    @property
    def _keeps_what_audio_encoders_give(self) -> bool:
        finite = self.augment.variants > 0 or not self.needs_augmented_view
        loaded = self.model.weights == "pretrained" and self.model.audio not in BUILT_IN
        return finite and loaded and self.corpus.resolved_modalities != "text"

    @property
    def keeps_text_features(self) -> bool:
        """The same for the text encoder."""
        loaded = self.model.weights == "pretrained" and self.model.text not in BUILT_IN
        return self.model.freeze_text == "all" and loaded and self.corpus.resolved_modalities != "audio"

    @property
    def mixup(self) -> Literal["none", "alone", "beside"]:
        """Whether the cross-entropy reads a mixed view: in place of the clean one, or beside it, where other terms read
        that: their positives are of one utterance or one class each, which mixed ones are not."""
        if not self.augment.mixup:
            return "none"
        return "beside" if self.loss.contrasts or self.loss.active_cpc != "none" else "alone"

    @property
    def needs_augmented_view(self) -> bool:
        return self.loss.contrasts or self.augment.classify_augmented

    @property
    def augments_audio(self) -> bool:
        """Whether the augmented view has audio of its own."""
        heard = self.corpus.resolved_modalities != "text"
        return heard and self.needs_augmented_view and self.augment.changes_audio
