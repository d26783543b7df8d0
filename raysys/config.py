"""The experiment's configuration: frozen dataclasses that validate themselves.

The text under a field is its help on the command line. Only the standard library is imported, so any module can
import this file, and an `ExperimentConfig` pickles to about a kilobyte.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Literal

from raysys.errors import ConfigError

SAMPLE_RATE_HZ = 16_000
AUDIO_EFFECTS = ("lsa", "speed", "noise", "spec_augment")
"""Switches of `AugmentConfig` that change the waveform."""
GROUPS = 5
"""Groups of speakers unless --corpus.n-folds says otherwise."""
BUILT_IN = ("light", "tiny")
"""Encoders that need no download or files."""
LORA_RANK = 8
"""Rank of adapters unless --model.lora-rank says otherwise."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusConfig:
    name: Literal["demo", "iemocap", "ravdess", "table"] = "demo"
    """The corpus: the synthetic demo, IEMOCAP, RAVDESS speech, or your own CSV or Parquet table."""
    root: str | None = None
    """Folder of the corpus as published, or the table's file. Default: $RAYSYS_CORPUS_ROOT. The demo needs none; it is
    generated in the cache."""
    title: str | None = None
    """Name of the corpus in reports, tables, the names of runs and the model card. Default: a table's file name without
    its ending, otherwise the corpus's own name."""
    folds: Literal["auto", "paper", "session", "speaker", "groups", "emobox", "column"] = "auto"
    """How test folds are formed: leave one session or one speaker out, --corpus.n-folds groups of speakers (dealt so
    that utterances, those of each class, and the sexes are as equal as they can be), EmoBox's six published groups
    (RAVDESS), or the table's 'fold' column.
    paper: the paper's five folds (groups of actors for RAVDESS, otherwise the same as auto).
    auto: sessions for IEMOCAP and the demo, EmoBox's groups for RAVDESS; for a table its 'fold' column, otherwise its
    sessions, otherwise its speakers (grouped if there are more than ten)."""
    n_folds: int = GROUPS
    """Number of folds with --corpus.folds groups, at most the number of speakers."""
    modalities: Literal["auto", "both", "audio", "text"] = "auto"
    """Inputs of the model. auto: audio for RAVDESS, whose two sentences carry no emotion, otherwise both."""
    classes: tuple[str, ...] = ()
    """Classes to use, in this order; utterances of others are left out. Default: all that the corpus contains, for a
    table in alphabetical order."""
    emotion_map: tuple[str, ...] = ()
    """Rename the corpus's emotions first, as old=new pairs; 'old=' drops the utterances with that emotion."""
    same_names: Literal["refuse", "keep"] = "refuse"
    """What to do with speakers, classes, sessions or folds whose names differ in spelling alone (spk0 and SPK0; 1, 01
    and 1.0; invisible characters): stop with an error, or keep them apart."""
    test_modalities: Literal["same", "audio"] = "same"
    """Inputs in validation and test: the same as in training, or audio only (transcripts withheld)."""
    include_songs: bool = False
    """RAVDESS: also read the songs (vocal channel 02)."""
    on_error: Literal["fail", "skip"] = "fail"
    """What to do with unusable files: stop with an error, or skip them and list them in results.json."""
    allow_duplicates: bool = False
    """Allow a fold to test audio that it also trains or validates on under another id (identical bytes, or identical
    samples once decoded). This is an error by default; duplicates are reported either way."""
    trim_db: float | None = None
    """Trim leading and trailing audio more than this many dB below the loudest 25 ms. Default: no trimming."""
    max_duration_s: float = 600.0
    """Longest utterance allowed, in seconds (evaluation never crops); a longer one is an error at the start."""

    def __post_init__(self) -> None:
        if self.name == "demo" and (self.root or "").lower().endswith((".csv", ".parquet")):
            # A root that ends like a table is one: the demo would be trained on in its place.
            object.__setattr__(self, "name", "table")
        _require(self.n_folds >= 2, f"--corpus.n-folds is {self.n_folds}; at least 2 are needed.")
        _require(
            self.title is None or (bool(self.title.strip()) and self.title.isprintable()),
            f"--corpus.title is {self.title!r}; it must be a name on one line.",
        )
        _require(self.trim_db is None or self.trim_db > 0, f"--corpus.trim-db is {self.trim_db}; it must be positive.")
        _require(self.max_duration_s > 0, f"--corpus.max-duration-s is {self.max_duration_s}; it must be positive.")
        _require(
            self.name == "demo" or self.root is not None,
            f"--corpus.name {self.name} needs --corpus.root: the "
            + ("table's file." if self.name == "table" else "folder of the corpus as published."),
        )
        for pair in self.emotion_map:
            _require("=" in pair, f"--corpus.emotion-map holds {pair!r}; expected old=new, or old= to drop.")
        _require(
            self.test_modalities == "same" or self.resolved_modalities != "text",
            "--corpus.test-modalities audio leaves a text-only model without any input.",
        )
        groups = {"table": ("groups", "auto", "paper"), "ravdess": ("groups", "paper")}.get(self.name, ("groups",))
        _require(
            self.n_folds == GROUPS or self.folds in groups,
            f"--corpus.n-folds {self.n_folds} is for groups of speakers; add --corpus.folds groups, or leave it out.",
        )
        if self.folds == "emobox" and self.name != "ravdess":
            raise ConfigError("--corpus.folds emobox is RAVDESS's published split; this corpus has none.")

    @property
    def resolved_title(self) -> str:
        if self.title is not None:
            return self.title
        return PurePath(self.root).stem if self.name == "table" and self.root else self.name

    @property
    def resolved_modalities(self) -> Literal["both", "audio", "text"]:
        if self.modalities != "auto":
            return self.modalities
        return "audio" if self.name == "ravdess" else "both"


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentConfig:
    """The second, augmented view of an utterance (METHOD: enhanced contrastive learning)."""

    lsa: bool = True
    """Log-spectral-amplitude noise suppression of random strength (Ephraim and Malah 1985)."""
    speed: bool = True
    """Speed perturbation: resample the waveform by a factor drawn from 0.9 to 1.1."""
    noise: bool = True
    """Additive white noise at a signal-to-noise ratio drawn from --augment.noise-snr-db."""
    noise_snr_db: tuple[float, float] = (10.0, 30.0)
    """Lowest and highest signal-to-noise ratio of the added noise, in decibels."""
    spec_augment: bool = False
    """Mask two frequency bands and two time spans of the spectrogram (SpecAugment)."""
    cbca: Literal["none", "conditional", "unconditional"] = "conditional"
    """Replace one word of the augmented view's transcript by a masked language model. conditional: fine-tuned on the
    training part with its labels (Wu et al. 2019); unconditional: used as it is."""
    cbca_model: str | None = None
    """Masked language model for CBCA: 'light' (small, trained from scratch on the training part), a Hub name or a
    folder. Default: --model.text if that is pretrained, otherwise light."""
    cbca_texts: int = 5
    """Number of new texts generated per training transcript; each view uses one of them."""
    variants: int = 0
    """Number of different augmented views per utterance. Epoch e uses view e modulo this number; they are made once and
    cached for all trials and runs. 0: a new view every epoch."""
    classify_augmented: bool = False
    """Also apply the cross-entropy to the augmented view."""

    def __post_init__(self) -> None:
        low, high = self.noise_snr_db
        _require(low <= high, f"--augment.noise-snr-db is {low} {high}; expected the lower value first.")
        _require(self.cbca_texts >= 1, f"--augment.cbca-texts is {self.cbca_texts}; at least 1 is needed.")
        _require(self.variants >= 0, f"--augment.variants is {self.variants}; it cannot be negative.")

    @property
    def audio_effects(self) -> dict[str, Any]:
        """Everything that shapes the augmented waveform."""
        return {name: getattr(self, name) for name in (*AUDIO_EFFECTS, "noise_snr_db")}

    @property
    def changes_audio(self) -> bool:
        return any(getattr(self, name) for name in AUDIO_EFFECTS)


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

    def __post_init__(self) -> None:
        for name in ("width", "heads", "feed_forward", "n_layers", "lora_rank"):
            value = getattr(self, name)
            _require(value >= 1, f"--model.{name.replace('_', '-')} is {value}; at least 1 is needed.")
        _require(
            self.width % self.heads == 0 and self.width % 2 == 0,
            f"--model.width {self.width} must be even and a multiple of --model.heads {self.heads}.",
        )
        _require(0 <= self.dropout < 1, f"--model.dropout is {self.dropout}; expected 0 <= dropout < 1.")
        _require(self.ccb1 or self.ccb2, "Without --model.ccb1 and --model.ccb2 nothing reaches the BiGRU.")
        _require(
            self.audio != "light" or self.layer == "last",
            f"--model.layer {self.layer} is for pretrained encoders; --model.audio light has one output.",
        )
        for name in ("lora_layers", "unfreeze_top"):
            value = getattr(self, name)
            _require(value >= 0, f"--model.{name.replace('_', '-')} is {value}; it cannot be negative.")
        _require(
            self.adapt == "lora" or (self.lora_rank, self.lora_layers) == (LORA_RANK, 0),
            "--model.lora-rank and --model.lora-layers are for adapters; add --model.adapt lora, or leave them out.",
        )
        _require(
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
            self, adapt="none", lora_rank=LORA_RANK, lora_layers=0, unfreeze_top=0, checkpoint_activations=False
        )


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
    acl_negatives: Literal["all", "other_classes"] = "all"
    """Negatives of the augmentation contrastive term: all other utterances, or only those of other classes."""
    cpc: Literal["cross_modal", "temporal", "none"] = "cross_modal"
    """Contrastive predictive coding. cross_modal: the fused vector predicts each modality; temporal: past audio frames
    predict the next ones (van den Oord et al. 2018)."""
    temperature: float = 0.07
    """Temperature of SupCon, the augmentation contrastive term and CPC, all of which compare unit vectors."""
    l2: float = 0.0
    """Weight of Sohn's L2 penalty on the embeddings, within the supervised contrastive term."""
    class_weights: Literal["none", "balanced"] = "none"
    """Class weights of the cross-entropy. balanced: inversely proportional to class counts in the training part."""
    label_smoothing: float = 0.0
    """Label smoothing in the cross-entropy."""

    @property
    def contrasts(self) -> bool:
        """Whether a contrastive term compares the two views."""
        return self.alpha > 0 or self.beta > 0

    @property
    def active_cpc(self) -> Literal["cross_modal", "temporal", "none"]:
        """Which predictive coding is trained: none with a weight of 0."""
        return self.cpc if self.gamma > 0 else "none"

    def __post_init__(self) -> None:
        for name in ("alpha", "beta", "gamma", "l2"):
            value = getattr(self, name)
            _require(0 <= value < math.inf, f"--loss.{name} is {value}; expected a weight of 0 or more.")
        _require(
            0 < self.temperature < math.inf,
            f"--loss.temperature is {self.temperature}; expected a positive number.",
        )
        _require(
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
            _require(
                0 <= value < math.inf, f"--optim.{name.replace('_', '-')} is {value}; expected a number of 0 or more."
            )
        _require(
            0 < self.layer_decay <= 1, f"--optim.layer-decay is {self.layer_decay}; expected 0 < layer-decay <= 1."
        )
        _require(0 <= self.average < 1, f"--optim.average is {self.average}; expected 0 <= decay < 1.")
        _require(0 <= self.warmup < 1, f"--optim.warmup is {self.warmup}; expected 0 <= warmup < 1.")
        _require(self.clip_norm > 0, f"--optim.clip-norm is {self.clip_norm}; it must be positive.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    epochs: int = 100
    """Passes over the training part; the epoch with the best validation UA is used."""
    batch_size: int = 4
    """Utterances per forward pass, over all workers of a trial; the contrastive terms compare these."""
    accumulate: int = 4
    """Forward passes per optimizer step (gradient accumulation)."""
    per_class: int = 2
    """Utterances of the same class kept together in a batch, so that the contrastive terms have positives; best a
    divisor of the batch size. 1: batches are formed by length only."""
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
            _require(value >= 1, f"--train.{name.replace('_', '-')} is {value}; at least 1 is needed.")
        _require(
            self.max_steps is None or self.max_steps >= 1,
            f"--train.max-steps is {self.max_steps}; at least 1 is needed.",
        )
        _require(0.1 <= self.crop_s < float("inf"), f"--train.crop-s is {self.crop_s}; expected 0.1 seconds or more.")
        _require(0 <= self.text_dropout <= 1, f"--train.text-dropout is {self.text_dropout}; expected 0 to 1.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    address: str | None = None
    """Address of a running Ray cluster. Default: the cluster that a submitted job runs in; otherwise start one here."""
    workers_per_trial: int = 1
    """Data-parallel workers (DDP) per trial, under Ray Train. A single worker trains in the trial's own process."""
    cpus_per_worker: int = 1
    """CPU cores, and torch threads, per training worker."""
    gpus_per_worker: float | None = None
    """GPUs per training worker. Default: 1 if the cluster has any, otherwise 0."""
    data_cpus_per_worker: int = 1
    """Additional CPUs reserved per worker for the tasks that load and augment its utterances."""
    max_concurrent_trials: int | None = None
    """Trials running at the same time. Default: as many as the cluster's CPUs and GPUs allow."""
    hang_limit_s: float = 1800.0
    """Seconds without a training step after which a worker counts as hung: its process exits and is restarted from its
    last checkpoint. Must exceed the 90 s that an unreachable W&B server may take."""

    def __post_init__(self) -> None:
        for name in ("workers_per_trial", "cpus_per_worker", "data_cpus_per_worker"):
            value = getattr(self, name)
            _require(value >= 1, f"--cluster.{name.replace('_', '-')} is {value}; at least 1 is needed.")
        limit = self.hang_limit_s
        _require(limit >= 10, f"--cluster.hang-limit-s is {limit}; expected at least 10, longer than any step.")
        gpus = self.gpus_per_worker
        _require(gpus is None or gpus >= 0, f"--cluster.gpus-per-worker is {gpus}; it cannot be negative.")
        _require(
            self.max_concurrent_trials is None or self.max_concurrent_trials >= 1,
            f"--cluster.max-concurrent-trials is {self.max_concurrent_trials}; at least 1 is needed.",
        )

    @property
    def reserved_cpus(self) -> int:
        """CPUs of a worker and its data tasks."""
        return self.cpus_per_worker + self.data_cpus_per_worker


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackConfig:
    wandb: bool = True
    """Log one Weights & Biases run per fold; offline unless WANDB_API_KEY or WANDB_MODE is set."""
    project: str | None = None
    """Weights & Biases project. Default: $WANDB_PROJECT, otherwise raysys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    root: str | None = None
    """Folder for all runs: a path (on a cluster, one that every node sees) or an address such as s3://bucket/runs.
    Default: $RAYSYS_RUN_ROOT, otherwise `runs`, or ~/raysys/runs in a job submitted to a single-node cluster."""
    name: str | None = None
    """Name of this run and of its folder. Default: derived from the corpus, its contents and the configuration."""
    cache: str | None = None
    """Folder or address for decoded audio and the demo corpus, shared by all runs. Default: <root>/.cache."""


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
            _require(
                self.corpus.resolved_modalities != "text",
                "--loss.cpc temporal predicts audio, which --corpus.modalities text leaves out.",
            )
            _require(
                self.model.audio == "light" or self.model.freeze_audio == "none",
                f"--loss.cpc temporal learns through the audio encoder's convolutions, which --model.freeze-audio "
                f"{self.model.freeze_audio} freezes: no gradient would reach anything that the other terms use. "
                f"Add --model.freeze-audio none.",
            )
            _require(
                not self.model.learns_in_part,
                "--loss.cpc temporal learns through the audio encoder's convolutions, which --model.adapt and "
                "--model.unfreeze-top freeze. Add --loss.cpc cross_modal or none.",
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
            _require(
                name not in BUILT_IN,
                f"{flags[0]} is for the layers of pretrained encoders; {encoder} {name} is trained from scratch, as a "
                f"whole. Leave it out, or give a pretrained encoder.",
            )
        thaw = " or ".join(f"--model.freeze-{encoder.removeprefix('--model.')} none" for encoder in used)
        _require(
            any(frozen != "all" for _, frozen in used.values()),
            f"{flags[0]} is for encoders that are trained, but all in use are frozen. Add {thaw}, or leave it out.",
        )
        _require(
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
        for name in ("root", "title", "allow_duplicates", "same_names"):
            del values["corpus"][name]
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
        frozen = self.model.freeze_audio == "all"
        finite = self.augment.variants > 0 or not self.needs_augmented_view
        loaded = self.model.weights == "pretrained" and self.model.audio not in BUILT_IN
        return frozen and finite and loaded and self.corpus.resolved_modalities != "text"

    @property
    def keeps_text_features(self) -> bool:
        """The same for the text encoder."""
        loaded = self.model.weights == "pretrained" and self.model.text not in BUILT_IN
        return self.model.freeze_text == "all" and loaded and self.corpus.resolved_modalities != "audio"

    @property
    def needs_augmented_view(self) -> bool:
        return self.loss.contrasts or self.augment.classify_augmented
