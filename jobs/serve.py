"""Serve a trained model over HTTP, with a page to try it."""

from raysys.commands.serve import main

if __name__ == "__main__":
    main()
