"""Rewrite the report, figures and tables of a finished run from its files."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from raysys.cli import exit_codes


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """Folder or address of a finished run."""


def main() -> None:
    with exit_codes():
        command = tyro.cli(Report, description=__doc__)
        from raysys.report import page, paper_page
        from raysys.report.paper import PAPER
        from raysys.storage import Folder

        run = Folder.at(command.run)
        write = paper_page.write_report if run.exists(PAPER) else page.write_report
        for note in write(run):
            print(f"note      {note}")
        print(f"{run.location}/report.html")
