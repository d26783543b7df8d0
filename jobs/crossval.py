"""Cross-validate the bi-modal bi-task model; without flags, on the built-in demo corpus on this machine."""

from raysys.commands.crossval import main

if __name__ == "__main__":
    main()
