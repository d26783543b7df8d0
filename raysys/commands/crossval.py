"""Cross-validate the bi-modal bi-task model; without flags, on the built-in demo corpus on this machine.

Example: crossval --preset light --corpus.name table --corpus.root my.csv --run.name mine
"""

from __future__ import annotations

from dataclasses import dataclass

from raysys import cli
from raysys.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossVal(cli.CommandLine):
    seeds: tuple[int, ...] | None = None
    """Train every fold with each of these seeds, such as 0 1 2. The run's scores are those of the first; beside them
    are the mean over seeds and the ensemble of all. Default: --train.seed alone."""
    final_model: bool = False
    """Then train one model on all data, with the first seed, for the median of the folds' best epochs; it is in the
    run's folder, in model/. It has no test score: the cross-validation's is of models trained in the same way. With
    --corpus.folds given: on the training and validation parts, never on the test part."""


def run(command: CrossVal) -> None:
    from raysys.runs.points import flag_of, seed_points

    points = seed_points(command.config, command.seeds)  # refuses wrong seeds before Ray is imported
    seed = command.config.train.seed
    if command.seeds is not None and seed not in points and cli.given("--train.seed"):
        raise ConfigError(
            f"--train.seed {seed} is not one of {flag_of(command.seeds)}, so nothing would use it. Leave it out, or "
            f"add it to --seeds."
        )
    if command.dry_run:
        from raysys.dry_run import dry_run

        dry_run(command.config, seeds=len(points), final_model=command.final_model)
    else:
        from raysys.runs.crossval import crossval

        crossval(command.config, command.seeds, final_model=command.final_model)


def main() -> None:
    cli.main(__doc__, run, CrossVal)
