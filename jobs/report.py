"""Write the report, the figures and the tables of a finished run again, from its files alone."""

from raysys.commands.report import main

if __name__ == "__main__":
    main()
