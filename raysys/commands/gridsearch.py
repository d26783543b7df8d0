"""Search a grid (by default the paper's alpha and beta) over all folds, and train the final model.

Example: gridsearch --preset light --grid loss.alpha=1,0.1 --grid model.pooling=max,mean --run.name pooling
"""

from dataclasses import dataclass
from typing import Annotated

import tyro

from raysys import cli


@dataclass(frozen=True, slots=True, kw_only=True)
class GridSearch(cli.CommandLine):
    grid: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """An axis with its values, such as loss.alpha=1,0.1; repeat for more axes. None: the paper's 4 x 4 grid,
    loss.alpha and loss.beta in 1, 0.1, 0.01, 0.001."""
    early_stopping: bool = False
    """Stop points that fall behind on a fold's validation part (ASHA, one bracket per fold); they are never chosen."""


def run(command: GridSearch) -> None:
    from raysys.runs.axes import PAPER_GRID, grid_points, parse_axes

    grid = command.grid or PAPER_GRID
    points = grid_points(command.config, parse_axes(grid))  # refuses a wrong grid before Ray is imported
    if command.dry_run:
        from raysys.dry_run import dry_run

        dry_run(command.config, f"{len(points)} points x ")
    else:
        from raysys.runs.grid import gridsearch

        gridsearch(command.config, grid, early_stopping=command.early_stopping)


def main() -> None:
    cli.main(__doc__, run, GridSearch, preset="demo-short")
