"""Read, check and decode a corpus ahead of the runs that train on it, and print what it holds."""

from raysys.commands.prepare import main

if __name__ == "__main__":
    main()
