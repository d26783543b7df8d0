"""Train the full model and its variants over the same folds and seeds, and compare each with the full model.

Example: ablation --seeds 0 1 --variant 'mean=--model.pooling mean'
"""

from dataclasses import dataclass
from typing import Annotated

import tyro

from raysys import cli


@dataclass(frozen=True, slots=True, kw_only=True)
class Ablation(cli.CommandLine):
    variant: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Your own variant in addition to the paper's, name=flag,flag, such as 'mean=--model.pooling mean'; repeatable."""
    only: tuple[str, ...] = ()
    """Of all variants, the paper's and yours, train these by name, such as 'no CCB1' (and always the full model and
    'no CPC, no ECL'). Default: all."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds to train every variant with (--train.seed is ignored)."""


def run(command: Ablation) -> None:
    from raysys.runs.variants import chosen, points_by_seed

    variants = chosen(command.config, command.variant, command.only)
    points_by_seed(command.config, variants, command.seeds)  # refuses wrong flags before Ray is imported
    if command.dry_run:
        from raysys.dry_run import dry_run

        dry_run(command.config, f"{len(variants)} variants x {len(command.seeds)} seed(s) x ")
    else:
        from raysys.runs.ablation import ablation

        ablation(command.config, variants, command.seeds)


def main() -> None:
    cli.main(__doc__, run, Ablation, preset="demo-short")
