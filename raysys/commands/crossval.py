"""Cross-validate the bi-modal bi-task model; without flags, on the built-in demo corpus on this machine.

Example: crossval --preset light --corpus.name table --corpus.root my.csv --run.name mine
"""

from __future__ import annotations

from raysys import cli


def run(command: cli.CommandLine) -> None:
    if command.dry_run:
        from raysys.dry_run import dry_run

        dry_run(command.config)
    else:
        from raysys.runs.crossval import crossval

        crossval(command.config)


def main() -> None:
    cli.main(__doc__, run)
