"""Read, check and decode a corpus before the runs that train on it, and print its statistics."""

from raysys.commands.prepare import main

if __name__ == "__main__":
    main()
