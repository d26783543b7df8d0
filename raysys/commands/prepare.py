"""Read, check and decode a corpus before training on it, and print a summary."""

from __future__ import annotations

from raysys import cli


def run(command: cli.CommandLine) -> None:
    if command.dry_run:
        from raysys.orchestrate.dry_run import dry_run

        dry_run(command.config)
    else:
        from raysys.orchestrate.prepare import prepare

        prepare(command.config)


def main() -> None:
    cli.main(__doc__, run)
