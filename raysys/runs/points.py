"""What is trained: configurations that share corpus, folds and machines. Imports neither Ray nor torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from raysys.cli import with_flags
from raysys.config import ExperimentConfig
from raysys.data.folds import Fold
from raysys.data.manifest import Manifest
from raysys.errors import ConfigError

_FREE_OF_CORPUS = ("modalities", "test_modalities")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One configuration of a run: a grid point, a variant with a seed, or a cross-validation's seed of several. With a
    single seed a cross-validation has one point, without a name.

    Attributes:
        typed: a grid point's values, in the order of the axes.
    """

    name: str
    config: ExperimentConfig
    typed: tuple[str, ...] = ()


def with_seed(config: ExperimentConfig, seed: int) -> ExperimentConfig:
    return dataclasses.replace(config, train=dataclasses.replace(config.train, seed=seed))


def with_epochs(config: ExperimentConfig, epochs: int) -> ExperimentConfig:
    """Trained for another number of epochs: the schedule of the learning rate is over these."""
    return dataclasses.replace(config, train=dataclasses.replace(config.train, epochs=epochs))


def seed_points(config: ExperimentConfig, seeds: Sequence[int] | None) -> dict[int, Point]:
    """A cross-validation's configuration with each seed.

    Args:
        seeds: None: that of the configuration alone. A single one is the same run as with --train.seed.

    Raises:
        ConfigError: no seed, or one twice.
    """
    if seeds is None:
        seeds = (config.train.seed,)
    refuse_repeated(seeds)
    names = {seed: f"seed {seed}" if len(seeds) > 1 else "" for seed in seeds}
    return {seed: Point(name=name, config=with_seed(config, seed)) for seed, name in names.items()}


def refuse_repeated(seeds: Sequence[int]) -> None:
    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError(f"{flag_of(seeds)}: expected different seeds, at least one.")


def flag_of(seeds: Sequence[int]) -> str:
    """As typed."""
    return " ".join(["--seeds", *map(str, seeds)])


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


def refuse_long_queues(points: Sequence[Point], folds: Sequence[Fold]) -> None:
    """Raises: ConfigError: a queue of past embeddings holds more utterances than a fold trains on: it is never full."""
    smallest = min(folds, key=lambda fold: len(fold.train))
    for point in points:
        loss = point.config.loss
        if loss.contrasts and loss.queue > len(smallest.train):
            of = f" ({point.name})" if point.name else ""
            raise ConfigError(
                f"--loss.queue {loss.queue}{of}: fold {smallest.index + 1} ({smallest.name}) trains on "
                f"{len(smallest.train)} utterances, and a queue holds each once. Give at most {len(smallest.train)}, "
                f"or 0 for no queue."
            )


def refuse_missing_votes(points: Sequence[Point], manifest: Manifest, folds: Sequence[Fold]) -> None:
    """Refuse to train towards votes that are not there.

    Raises:
        ConfigError: no utterance has votes, or a class has none in what a fold trains on: it would never be learned.
    """
    asked = [point for point in points if point.config.loss.labels == "votes"]
    if not asked:
        return
    flag = "--loss.labels votes" + (f" ({asked[0].name})" if asked[0].name else "")
    shares = {u.utterance_id: u.votes for u in manifest.utterances if u.votes is not None}
    if not shares:
        raise ConfigError(
            f"{flag}: no utterance of {manifest.title} has annotators' votes. Give a table (--corpus.name table) with "
            f"columns votes_<emotion>, or p_<emotion> for shares, or leave this flag out."
        )
    labels = manifest.labels()
    for fold in folds:
        learned = {labels[name] for name in fold.train if name not in shares}
        learned |= {i for name in fold.train for i, share in enumerate(shares.get(name, ())) if share}
        if missing := [name for i, name in enumerate(manifest.classes) if i not in learned]:
            raise ConfigError(
                f"{flag}: nothing that fold {fold.index + 1} ({fold.name}) trains on has a vote for "
                f"{', '.join(missing)}, so it cannot be learned. Correct the votes, or leave this flag out."
            )


def refuse_equal(points: Sequence[Point]) -> None:
    seen: dict[str, str] = {}
    for point in points:
        first = seen.setdefault(point.config.learning_hash(), point.name)
        if first != point.name:
            raise ConfigError(f"{first!r} and {point.name!r} are the same configuration: remove one of them.")
