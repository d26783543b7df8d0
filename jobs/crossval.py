"""Cross-validate the bi-modal bi-task model; without flags, on the built-in demo corpus on this machine."""

from raysys.cli import CommandLine, main


def run(command: CommandLine) -> None:
    if command.dry_run:
        from raysys.orchestrate.dry_run import dry_run

        dry_run(command.config)
    else:
        from raysys.orchestrate.crossval import crossval

        crossval(command.config)


if __name__ == "__main__":
    main(__doc__, run)
