"""Measure the speed of training, evaluation, the data pipeline and the orchestration on this machine; print a table and
save it as JSON."""

from raysys.commands.bench import main

if __name__ == "__main__":
    main()
