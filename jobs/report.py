"""Rewrite the report, figures and tables of a finished run, from its files alone."""

from raysys.commands.report import main

if __name__ == "__main__":
    main()
