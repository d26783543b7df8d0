"""Cross-validate the bi-modal bi-task model; by default on the built-in demo corpus on this machine."""

from __future__ import annotations

from raysys import cli


def run(command: cli.CommandLine) -> None:
    if command.dry_run:
        from raysys.orchestrate.dry_run import dry_run

        dry_run(command.config)
    else:
        from raysys.orchestrate.crossval import crossval

        crossval(command.config)


def main() -> None:
    cli.main(__doc__, run)
