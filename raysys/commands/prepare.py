"""Read, check and decode a corpus ahead of the runs that train on it, and print what it contains.

It accepts all flags of crossval and gridsearch; the ones listed here make a difference.

Example: prepare --preset light --corpus.name table --corpus.root my.csv
"""

from __future__ import annotations

from dataclasses import dataclass

from raysys import cli
from raysys.config import AugmentConfig, ClusterConfig, CorpusConfig, ExperimentConfig, RunConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class _Views:
    crop_s: float
    """Length of the crops that are augmented, in seconds."""
    seed: int
    """Seed of the augmented views."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """What --help lists."""

    preset: str
    """demo, demo-short, light, frozen, paper, or a YAML file such as a run's config.yaml; flags override its values."""
    corpus: CorpusConfig
    augment: AugmentConfig
    train: _Views
    cluster: ClusterConfig
    run: RunConfig


def _shown(config: ExperimentConfig, preset: str) -> _Shown:
    return _Shown(
        preset=preset,
        corpus=config.corpus,
        augment=config.augment,
        train=_Views(crop_s=config.train.crop_s, seed=config.train.seed),
        cluster=config.cluster,
        run=config.run,
    )


def run(command: cli.CommandLine) -> None:
    if command.dry_run:
        from raysys.dry_run import dry_run

        dry_run(command.config)
    else:
        from raysys.runs.inputs import prepare

        prepare(command.config)


def main() -> None:
    cli.main(__doc__, run, shown=_shown)
