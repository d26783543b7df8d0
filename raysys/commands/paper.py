"""Train and report everything that the paper reports, as one sweep: tables 1 and 2, figures 3 to 7, the final models.

Example: paper --iemocap IEMOCAP_full_release --ravdess RAVDESS --dry-run --gpu H100 --price-per-gpu-hour 2.5
"""

from dataclasses import dataclass
from typing import Annotated

import tyro

from raysys import cli


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper(cli.CommandLine):
    iemocap: str | None = None
    """Folder of IEMOCAP as published (Session1 ... Session5). Without it table 1 and figures 3, 5, 6 and 7 are
    missing."""
    ravdess: str | None = None
    """Folder of RAVDESS as published (Actor_01 ... Actor_24). Without it table 2 and figure 4 are missing."""
    grid: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """An axis of the grid with its values, as in gridsearch. None: the paper's 4 x 4 grid."""
    gpu: str = "H100"
    """GPU whose measured rate --dry-run counts with: H100 or H200; any other with --utterances-per-second."""
    utterances_per_second: float | None = None
    """Utterances per second in training that --dry-run counts with, instead of the GPU's measured rate."""
    price_per_gpu_hour: float | None = None
    """Dollars per GPU hour, for --dry-run."""


def run(command: Paper) -> None:
    from raysys.cost import rate_of, refuse_price
    from raysys.runs.axes import PAPER_GRID
    from raysys.runs.paper_parts import paper_parts

    rate = rate_of(command.gpu, command.utterances_per_second)
    refuse_price(command.price_per_gpu_hour)
    grid = command.grid or PAPER_GRID
    parts = paper_parts(command.config, grid, iemocap=command.iemocap, ravdess=command.ravdess)
    if command.dry_run:
        from raysys.runs.paper_costs import paper_dry_run

        paper_dry_run(parts, command.gpu, rate, command.price_per_gpu_hour)
    else:
        from raysys.runs.paper import paper

        paper(command.config, parts)


def main() -> None:
    cli.main(__doc__, run, Paper, preset="paper")
