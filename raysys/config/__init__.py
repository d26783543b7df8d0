"""The experiment's configuration: frozen dataclasses that validate themselves.

The text under a field is its help on the command line. Only the standard library is imported, so any module can
import this package, and an `ExperimentConfig` pickles to about a kilobyte.
"""

from raysys.config.augment import AUDIO_EFFECTS, RECORDINGS, AugmentConfig
from raysys.config.corpora import CORPORA, Corpus, Reference
from raysys.config.corpus import GROUPS, SAMPLE_RATE_HZ, CorpusConfig
from raysys.config.experiment import ExperimentConfig
from raysys.config.model import BUILT_IN, LORA_RANK, ModelConfig
from raysys.config.places import ClusterConfig, RunConfig, TrackConfig
from raysys.config.training import LossConfig, OptimConfig, Select, TrainConfig

__all__ = [
    "AUDIO_EFFECTS",
    "BUILT_IN",
    "CORPORA",
    "GROUPS",
    "LORA_RANK",
    "RECORDINGS",
    "SAMPLE_RATE_HZ",
    "AugmentConfig",
    "ClusterConfig",
    "Corpus",
    "CorpusConfig",
    "ExperimentConfig",
    "LossConfig",
    "ModelConfig",
    "OptimConfig",
    "Reference",
    "RunConfig",
    "Select",
    "TrackConfig",
    "TrainConfig",
]
