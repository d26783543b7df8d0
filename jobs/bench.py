"""Measure how fast training, evaluation, the data's parts and the orchestration are on this machine; print a table and
keep it as JSON."""

from raysys.commands.bench import main

if __name__ == "__main__":
    main()
