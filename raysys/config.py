"""The experiment's configuration: frozen dataclasses that check themselves.

The text under a field is its help on the command line. Only the standard library is imported, so that everyone may
import this file, and an `ExperimentConfig` pickles to about a kilobyte.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from raysys.errors import ConfigError

SAMPLE_RATE_HZ = 16_000
BUILT_IN = ("light", "tiny")
"""Encoders that nothing is loaded for."""
"""Every waveform is brought to this rate, the one that wav2vec 2.0 was trained at."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusConfig:
    name: Literal["demo", "iemocap", "ravdess", "table"] = "demo"
    """Which reader: the synthetic demo corpus, IEMOCAP, RAVDESS speech, or a CSV or Parquet table of your own."""
    root: str | None = None
    """Folder of the corpus as published, or the table's file. None: $RAYSYS_CORPUS_ROOT. The demo needs none: it is
    made in the cache."""
    folds: Literal["auto", "paper", "session", "speaker", "groups", "emobox", "column"] = "auto"
    """How test folds are cut: leave one session or one speaker out, --corpus.n-folds groups of speakers balanced by
    sex where it is known, EmoBox's six published groups (RAVDESS), or the table's own column 'fold'.
    paper: the paper's five folds, which are groups of actors for RAVDESS and else what auto gives.
    auto: session for IEMOCAP and the demo, emobox for RAVDESS; for a table its fold column, else sessions, else
    speakers (in groups where there are more than ten)."""
    n_folds: int = 5
    """Number of groups for --corpus.folds groups."""
    modalities: Literal["auto", "both", "audio", "text"] = "auto"
    """What the model may use. auto: audio for RAVDESS, whose two sentences say nothing of the emotion; else both."""
    classes: tuple[str, ...] = ()
    """Emotions of a table that are allowed, in this order; empty: all that it holds, in alphabetical order."""
    emotion_map: tuple[str, ...] = ()
    """old=new pairs applied to a table's emotions before anything else; 'old=' drops the utterances of that emotion."""
    test_modalities: Literal["same", "audio"] = "same"
    """What validation and test may use of what the model was trained on; audio withholds the transcripts."""
    include_songs: bool = False
    """RAVDESS: also read the song files (channel 02)."""
    on_error: Literal["fail", "skip"] = "fail"
    """What to do with files that cannot be used: stop with an error, or leave them out, listed in results.json."""
    allow_duplicates: bool = False
    """Train even where a fold tests audio that it also trains or validates on, under another id (equal to the byte, or
    to the sample once decoded). Without it that is an error; audio that is there twice is noted in either case."""
    trim_db: float | None = None
    """Cut off both ends of an utterance what is more than this many dB below its loudest 25 ms. None: nothing."""
    max_duration_s: float = 600.0
    """Longest utterance, in seconds; evaluation never crops, so a longer one is an error before the start."""

    def __post_init__(self) -> None:
        _require(self.n_folds >= 2, f"--corpus.n-folds is {self.n_folds}; at least 2 are needed.")
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
            "--corpus.test-modalities audio leaves a model of text alone nothing to use.",
        )
        if self.folds == "emobox" and self.name != "ravdess":
            raise ConfigError("--corpus.folds emobox is RAVDESS's published split; this corpus has none.")

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
    """Speed perturbation: the waveform is resampled by a factor drawn from 0.9 to 1.1."""
    noise: bool = True
    """Additive white noise at a signal-to-noise ratio drawn from --augment.noise-snr-db."""
    noise_snr_db: tuple[float, float] = (10.0, 30.0)
    """Lowest and highest signal-to-noise ratio of the added noise, in decibels."""
    spec_augment: bool = False
    """Two bands of frequency and two stretches of time of the spectrogram are silenced (SpecAugment)."""
    cbca: Literal["none", "conditional", "unconditional"] = "conditional"
    """One word of the augmented view's transcript is replaced by a masked language model: one that is fine-tuned on the
    training part with its labels (Wu et al. 2019), or unconditional, as it comes."""
    cbca_model: str | None = None
    """Masked language model of CBCA: 'light' (small, from scratch, on the training part), a Hub name or a folder.
    None: --model.text where that is pretrained, else light."""
    cbca_texts: int = 5
    """k, new texts made of each training transcript; a view takes one of them."""
    variants: int = 0
    """Different augmented views of an utterance: epoch e uses view e mod this number, made once and kept for all trials
    and runs. 0: a new view every epoch."""
    classify_augmented: bool = False
    """Also take the cross-entropy on the augmented view."""

    def __post_init__(self) -> None:
        low, high = self.noise_snr_db
        _require(low <= high, f"--augment.noise-snr-db is {low} {high}; the lowest comes first.")
        _require(self.cbca_texts >= 1, f"--augment.cbca-texts is {self.cbca_texts}; at least 1 is needed.")
        _require(self.variants >= 0, f"--augment.variants is {self.variants}; it cannot be negative.")

    @property
    def changes_audio(self) -> bool:
        return self.lsa or self.speed or self.noise or self.spec_augment


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    audio: str = "facebook/wav2vec2-base"
    """Audio encoder: 'light' (log-mel front end, from scratch), 'tiny' (a tiny random wav2vec 2.0, for tests), or a
    name on the Hub or a folder written by save_pretrained."""
    text: str = "distilbert/distilbert-base-uncased"
    """Text encoder: 'light' (small DistilBERT from scratch with its own tokenizer), 'tiny', a Hub name or a folder."""
    weights: Literal["pretrained", "random"] = "pretrained"
    """random: only the encoder's configuration is read, its weights are drawn."""
    freeze_audio: Literal["none", "cnn", "all"] = "cnn"
    """Parts of the audio encoder that are not trained; cnn is wav2vec 2.0's convolutional front end."""
    layer: Literal["last", "cnn", "weighted_sum"] = "last"
    """What is taken of the audio encoder: its last layer, the projected output of its convolutions (the Transformer is
    left out), or a learned softmax over all layers (SUPERB)."""
    freeze_text: Literal["none", "all"] = "none"
    """Parts of the text encoder that are not trained."""
    width: int = 768
    """D, the width of the fusion; encoders of another width get a linear projection."""
    heads: int = 12
    """Heads of the cross-modal attention."""
    feed_forward: int = 3072
    """Hidden width of the cross-modal blocks' feed-forward layers."""
    n_layers: int = 1
    """Layers of each cross-modal coding block."""
    ccb1: bool = True
    """Cross-modal coding block 1: audio frames attend to text (equation 1)."""
    ccb2: bool = True
    """Cross-modal coding block 2: text tokens attend to audio."""
    bigru: Literal["joint", "per_stream", "none"] = "joint"
    """One bidirectional GRU over both blocks' outputs joined in time, one for each of them, or none."""
    pooling: Literal["max", "attention", "mean"] = "max"
    """mp(.) of equation 2: how frames become one vector."""
    dropout: float = 0.1
    """Dropout of all that is trained from scratch: cross-modal blocks, the head's input, the light encoders."""

    def __post_init__(self) -> None:
        for name in ("width", "heads", "feed_forward", "n_layers"):
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
            f"--model.layer {self.layer} is of pretrained encoders; --model.audio light has one output.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """L = L_CE + alpha L_SCL + beta L_ACL + gamma L_CPC."""

    alpha: float = 0.1
    """Weight of the supervised contrastive term (equation 3)."""
    beta: float = 0.1
    """Weight of the augmentation contrastive term (clean against augmented view)."""
    gamma: float = 0.1
    """Weight of contrastive predictive coding; 0 is the paper's literal formula."""
    scl: Literal["n_pair", "supcon"] = "n_pair"
    """The supervised contrastive term: N-pair (Sohn 2016, equation 3) or SupCon (Khosla et al. 2020)."""
    acl_negatives: Literal["all", "other_classes"] = "all"
    """Whose other view repels in the augmentation contrastive term: all other utterances', or only those of other
    classes."""
    cpc: Literal["cross_modal", "temporal", "none"] = "cross_modal"
    """Contrastive predictive coding: the fused vector predicts each modality, or (van den Oord et al. 2018) the audio
    so far predicts its next frames."""
    temperature: float = 0.07
    """Temperature of SupCon, the augmentation contrastive term and CPC: all of them compare unit vectors."""
    l2: float = 0.0
    """Weight of Sohn's L2 penalty on the embeddings, inside the supervised contrastive term."""
    class_weights: Literal["none", "balanced"] = "none"
    """Class weights of the cross-entropy; balanced: inverse to the class's count in the training part."""
    label_smoothing: float = 0.0
    """Label smoothing of the cross-entropy."""

    def __post_init__(self) -> None:
        for name in ("alpha", "beta", "gamma", "l2"):
            value = getattr(self, name)
            _require(value >= 0, f"--loss.{name} is {value}; a weight cannot be negative.")
        _require(self.temperature > 0, f"--loss.temperature is {self.temperature}; it must be positive.")
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
    warmup: float = 0.1
    """Share of the steps in which the rate rises linearly; it falls linearly to 0 after them."""
    clip_norm: float = 1.0
    """Largest norm of the whole gradient."""
    weight_decay: float = 0.0
    """Decoupled weight decay (0: Adam, as in the paper)."""
    average: float = 0.0
    """Decay of a moving average of the weights, which validation and test then use; 0: the weights themselves."""

    def __post_init__(self) -> None:
        for name in ("encoder_lr", "lr", "weight_decay"):
            value = getattr(self, name)
            _require(value >= 0, f"--optim.{name.replace('_', '-')} is {value}; it cannot be negative.")
        _require(0 <= self.average < 1, f"--optim.average is {self.average}; expected 0 <= decay < 1.")
        _require(0 <= self.warmup < 1, f"--optim.warmup is {self.warmup}; expected a share from 0 to 1.")
        _require(self.clip_norm > 0, f"--optim.clip-norm is {self.clip_norm}; it must be positive.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    epochs: int = 100
    """Passes over the training part; the one with the best validation UA is kept."""
    batch_size: int = 4
    """Utterances of one forward pass, over all workers of a trial: the contrastive terms see these."""
    accumulate: int = 4
    """Forward passes whose gradients make one optimizer step."""
    per_class: int = 2
    """Utterances of a class that stay together in a batch, so that anchors of the contrastive terms have positives;
    best a divisor of the batch size. 1: batches are made by length alone."""
    max_steps: int | None = None
    """Stop after this many optimizer steps (for a try-out)."""
    crop_s: float = 13.0
    """Training crops utterances to this many seconds; evaluation never does."""
    text_dropout: float = 0.1
    """Probability that a training utterance loses its text for one epoch (modality dropout)."""
    seed: int = 0
    """Seed of everything that is random."""
    test_curve: bool = False
    """Also score the test part after every epoch, for the paper's protocol, which chooses epochs by it: kept apart and
    marked optimistic; no other choice reads it. A grid search does so."""

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
    """Address of a running Ray cluster. None: the one that a submitted job runs in, else a local one is started."""
    workers_per_trial: int = 1
    """Data-parallel workers (DDP) of each trial. One trains in the trial's own process."""
    torch_trainer: bool = False
    """Use Ray Train's TorchTrainer for one worker too (it always is for two and more)."""
    cpus_per_worker: int = 1
    """CPU cores, and so torch threads, of a training worker."""
    gpus_per_worker: float | None = None
    """GPUs of a training worker. None: 1 where the cluster has any, else 0."""
    data_cpus_per_worker: int = 1
    """CPUs that each worker reserves beside its own, for the tasks that fetch and augment its utterances."""
    max_concurrent_trials: int | None = None
    """Trials at once. None: as many as the cluster's CPUs and GPUs carry."""
    hang_limit_s: float = 1800.0
    """A training worker that takes no step for so long hangs: its process is ended, and goes on from its checkpoint.
    W&B, where it does not answer, is waited for up to 90 s."""

    def __post_init__(self) -> None:
        for name in ("workers_per_trial", "cpus_per_worker", "data_cpus_per_worker"):
            value = getattr(self, name)
            _require(value >= 1, f"--cluster.{name.replace('_', '-')} is {value}; at least 1 is needed.")
        limit = self.hang_limit_s
        _require(limit >= 10, f"--cluster.hang-limit-s is {limit}; a worker shows itself every 5 s, so 10 at least.")
        gpus = self.gpus_per_worker
        _require(gpus is None or gpus >= 0, f"--cluster.gpus-per-worker is {gpus}; it cannot be negative.")
        _require(
            self.max_concurrent_trials is None or self.max_concurrent_trials >= 1,
            f"--cluster.max-concurrent-trials is {self.max_concurrent_trials}; at least 1 is needed.",
        )

    @property
    def reserved_cpus(self) -> int:
        """CPUs of a worker and of the tasks of its data."""
        return self.cpus_per_worker + self.data_cpus_per_worker


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackConfig:
    wandb: bool = True
    """Keep a Weights & Biases run a fold; offline unless WANDB_API_KEY or WANDB_MODE says otherwise."""
    project: str = "raysys"
    """The Weights & Biases project."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    root: str | None = None
    """Folder of all runs: a path, on a cluster one that every node sees, or an address such as s3://bucket/runs.
    None: $RAYSYS_RUN_ROOT; without it `runs`, or in a job submitted to a cluster of one node ~/raysys/runs there."""
    name: str | None = None
    """Name of this run, its folder below the root. None: made of the corpus and the configuration."""
    cache: str | None = None
    """Folder or address of the decoded audio and the demo corpus, shared by all runs. None: <root>/.cache."""


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
        if self.loss.gamma > 0 and self.loss.cpc == "temporal":
            _require(
                self.corpus.resolved_modalities != "text",
                "--loss.cpc temporal predicts audio, which --corpus.modalities text leaves out.",
            )
            _require(
                self.model.audio == "light" or self.model.freeze_audio == "none",
                f"--loss.cpc temporal learns through the audio encoder's convolutions, which --model.freeze-audio "
                f"{self.model.freeze_audio} holds still: no gradient would reach anything that the other terms use. "
                f"Add --model.freeze-audio none.",
            )

    def learning_hash(self) -> str:
        """Hash of all that the results depend on: not where they lie, who tracks them, how many trials run at once."""
        values: dict[str, Any] = dataclasses.asdict(self)
        for section in ("run", "track"):
            del values[section]
        values["cluster"] = {
            name: values["cluster"][name] for name in ("workers_per_trial", "cpus_per_worker", "torch_trainer")
        }
        # What was refused has no results: those that there are do not depend on it.
        for name in ("root", "allow_duplicates"):
            del values["corpus"][name]
        # 40 and 40.0 are one value: Python code gives the first where a file gives the second.
        values = json.loads(json.dumps(values), parse_int=float)
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def rewrites_text(self) -> bool:
        """Whether the augmented view has a text of its own."""
        heard = self.corpus.resolved_modalities != "audio"
        return heard and self.needs_augmented_view and self.augment.cbca != "none"

    @property
    def masked_lm(self) -> str:
        """CBCA's masked language model: 'light', a Hub name or a folder."""
        if self.augment.cbca_model is not None:
            return self.augment.cbca_model
        drawn = self.model.weights == "random" or self.model.text in BUILT_IN
        return "light" if drawn else self.model.text

    @property
    def keeps_audio_features(self) -> bool:
        """Whether the audio encoder says the same of a view in every trial: its features are made once, for all."""
        frozen = self.model.freeze_audio == "all" and self.model.layer != "weighted_sum"
        finite = self.augment.variants > 0 or not self.needs_augmented_view
        loaded = self.model.weights == "pretrained" and self.model.audio not in BUILT_IN
        return frozen and finite and loaded and self.corpus.resolved_modalities != "text"

    @property
    def keeps_text_features(self) -> bool:
        """The same of the text encoder."""
        loaded = self.model.weights == "pretrained" and self.model.text not in BUILT_IN
        return self.model.freeze_text == "all" and loaded and self.corpus.resolved_modalities != "audio"

    @property
    def needs_augmented_view(self) -> bool:
        return self.loss.alpha > 0 or self.loss.beta > 0 or self.augment.classify_augmented
