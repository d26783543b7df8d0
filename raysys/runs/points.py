"""What is trained: configurations that share corpus, folds and machines. Imports neither Ray nor torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from raysys.cli import with_flags
from raysys.config import ExperimentConfig
from raysys.errors import ConfigError

_FREE_OF_CORPUS = ("modalities", "test_modalities")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One configuration of a run: a grid point, or a variant with a seed. A cross-validation has one, without a name.

    Attributes:
        typed: a grid point's values, in the order of the axes.
    """

    name: str
    config: ExperimentConfig
    typed: tuple[str, ...] = ()


def varied(config: ExperimentConfig, flags: Sequence[str], where: str) -> ExperimentConfig:
    """What a point changes must be what is compared: not the corpus, its folds, the seed or the machines."""
    varied = with_flags(config, flags, where)
    same_corpus = dataclasses.replace(varied.corpus, **{name: getattr(config.corpus, name) for name in _FREE_OF_CORPUS})
    fixed = {
        "--corpus (other than --corpus.modalities and --corpus.test-modalities)": same_corpus != config.corpus,
        "--train.seed": varied.train.seed != config.train.seed,
        "--cluster": varied.cluster != config.cluster,
        "--run": varied.run != config.run,
        "--track": varied.track != config.track,
    }
    for what, moved in fixed.items():
        if moved:
            raise ConfigError(
                f"{where}: {what} must be the same in everything that is compared; set it for the whole job."
            )
    return varied


def refuse_equal(points: Sequence[Point]) -> None:
    seen: dict[str, str] = {}
    for point in points:
        first = seen.setdefault(point.config.learning_hash(), point.name)
        if first != point.name:
            raise ConfigError(f"{first!r} and {point.name!r} are the same configuration: remove one of them.")
