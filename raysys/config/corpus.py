"""The corpus, its folds, and which of its utterances and modalities are used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from raysys.config.check import require
from raysys.config.corpora import CORPORA, Corpus, CorpusName, Folds
from raysys.errors import ConfigError

SAMPLE_RATE_HZ = 16_000
GROUPS = 5
"""Groups of speakers unless --corpus.n-folds says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusConfig:
    name: CorpusName = "demo"
    """The corpus: the synthetic demo, your own CSV or Parquet table, one of 32 corpora of which EmoBox has metadata,
    a published corpus, or several of these in one training (multi)."""
    root: str | None = None
    """Folder of the corpus as published, the table's file, the corpus's folder in EmoBox's data, or a YAML file that
    lists corpora. Default: $RAYSYS_CORPUS_ROOT. The demo needs none; it is generated in the cache."""
    audio_root: str | None = None
    """With --corpus.name emobox: the folder of the corpus's audio, which EmoBox calls downloads/<corpus>."""
    title: str | None = None
    """Name of the corpus in reports, tables, the names of runs and the model card. Default: a table's file name without
    its ending, otherwise the corpus's own name."""
    folds: Literal["auto", "paper", "session", "speaker", "groups", "emobox", "column", "given", "corpus"] = "auto"
    """How test folds are formed: leave one session or one speaker out, --corpus.n-folds groups of speakers (dealt so
    that utterances, those of each class, and the sexes are as equal as they can be), EmoBox's published folds
    (of RAVDESS, and with --corpus.name emobox, where parts may share speakers), the table's 'fold' column, or the parts
    that its 'split' column gives.
    given: a single training with the corpus's own train, validation and test parts (of MELD, MSP-Podcast, ESD and a
    table). These too may share speakers, and speakers be unknown (empty, or 'Unknown'); every score says how many
    are shared.
    corpus: leave one of several corpora out (three or more).
    paper: the paper's five folds (groups of actors for RAVDESS, otherwise the same as auto).
    auto: sessions for IEMOCAP, MSP-IMPROV and the demo, the given parts for MELD and MSP-Podcast, EmoBox's groups for
    RAVDESS, and for a corpus of EmoBox's if they keep speakers apart; groups for several corpora; for a table its
    'fold' column, otherwise its sessions; otherwise speakers (grouped if there are more than ten)."""
    n_folds: int = GROUPS
    """Number of folds with --corpus.folds groups, at most the number of speakers."""
    modalities: Literal["auto", "both", "audio", "text"] = "auto"
    """Inputs of the model. auto: audio for RAVDESS and others whose sentences are the same in all emotions, for
    EmoBox's metadata, which has no transcripts, and for several corpora; otherwise both."""
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
    labels: Literal["acted", "voted"] = "acted"
    """CREMA-D: the emotion that was acted, or the one that most raters heard (ties are left out)."""
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
        require(self.n_folds >= 2, f"--corpus.n-folds is {self.n_folds}; at least 2 are needed.")
        require(
            self.title is None or (bool(self.title.strip()) and self.title.isprintable()),
            f"--corpus.title is {self.title!r}; it must be a name on one line.",
        )
        require(self.trim_db is None or self.trim_db > 0, f"--corpus.trim-db is {self.trim_db}; it must be positive.")
        require(self.max_duration_s > 0, f"--corpus.max-duration-s is {self.max_duration_s}; it must be positive.")
        require(
            self.name == "demo" or self.root is not None,
            f"--corpus.name {self.name} needs --corpus.root: the "
            + ("table's file." if self.name == "table" else "folder of the corpus as published."),
        )
        require(
            (self.name == "emobox") == (self.audio_root is not None),
            "--corpus.audio-root is for --corpus.name emobox, and needed there: the folder of the corpus's audio.",
        )
        for pair in self.emotion_map:
            require("=" in pair, f"--corpus.emotion-map holds {pair!r}; expected old=new, or old= to drop.")
        require(
            self.test_modalities == "same" or self.resolved_modalities != "text",
            "--corpus.test-modalities audio leaves a text-only model without any input.",
        )
        require(
            self.n_folds == GROUPS or self.resolved_folds in ("groups", None),
            f"--corpus.n-folds {self.n_folds} is for groups of speakers; add --corpus.folds groups, or leave it out.",
        )
        if self.folds == "emobox" and self.name not in ("ravdess", "emobox"):
            raise ConfigError(
                "--corpus.folds emobox is for RAVDESS and for corpora with EmoBox's metadata (--corpus.name emobox)."
            )
        if self.folds == "corpus" and self.name != "multi":
            raise ConfigError("--corpus.folds corpus is for several corpora (--corpus.name multi). Use another.")
        if self.folds == "given" and not self.known.has_parts:
            raise ConfigError(
                "--corpus.folds given takes the parts from a table's column 'split'; this corpus comes without. Use "
                "another --corpus.folds, or give the corpus as a table (--corpus.name table)."
            )
        require(
            self.labels == "acted" or self.name == "cremad",
            f"--corpus.labels {self.labels} is for CREMA-D (--corpus.name cremad).",
        )

    @property
    def known(self) -> Corpus:
        """What is known of the corpus as published."""
        return CORPORA[self.name]

    @property
    def resolved_folds(self) -> Folds | Literal["column", "corpus"] | None:
        """What --corpus.folds stands for; None where it depends on what the corpus contains."""
        match self.folds:
            case "paper":
                return self.known.paper_folds or self.known.folds
            case "auto":
                return self.known.folds
            case named:
                return named

    @property
    def resolved_title(self) -> str:
        if self.title is not None:
            return self.title
        if self.root and self.name == "emobox":
            return PurePath(self.root).name
        return PurePath(self.root).stem if self.name in ("table", "multi") and self.root else self.name

    @property
    def resolved_modalities(self) -> Literal["both", "audio", "text"]:
        if self.modalities != "auto":
            return self.modalities
        return "both" if self.known.words_tell else "audio"

    @property
    def published(self) -> str | None:
        """For people, the published partition that is asked for, whose parts may share speakers; None for other folds.

        RAVDESS's own reader is not among them: its folds keep speakers apart, and are refused otherwise.
        """
        if self.name == "emobox" and self.folds == "emobox":
            return "EmoBox's folds"
        return "given partition" if self.resolved_folds == "given" else None
