"""Train and report everything that the paper reports: tables 1 and 2, figures 3 to 7, the final models."""

from raysys.commands.paper import main

if __name__ == "__main__":
    main()
