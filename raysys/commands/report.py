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
        from raysys.report.page import write_report
        from raysys.storage import Folder

        run = Folder.at(command.run)
        for note in write_report(run):
            print(f"note      {note}")
        print(f"{run.location}/report.html")
