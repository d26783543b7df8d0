"""Read, check and decode a corpus ahead of the runs that train on it, and print what it holds."""

from raysys.cli import CommandLine, main


def run(command: CommandLine) -> None:
    if command.dry_run:
        from raysys.orchestrate.dry_run import dry_run

        dry_run(command.config)
    else:
        from raysys.orchestrate.prepare import prepare

        prepare(command.config)


if __name__ == "__main__":
    main(__doc__, run)
