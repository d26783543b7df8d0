"""`raysys COMMAND ...`, the same as `python -m raysys COMMAND ...` and as `python jobs/COMMAND.py ...`."""

from __future__ import annotations

import difflib
import importlib
import shutil
import sys
import textwrap
from importlib.metadata import version

COMMANDS = {
    "crossval": "cross-validate; without flags, on the built-in demo corpus",
    "gridsearch": "search a grid (the paper's alpha and beta) over all folds, and train a final model",
    "ablation": "train the full model and its variants, and compare each with the full model",
    "paper": "everything that the paper reports: its tables, figures and final models, as one sweep",
    "evaluate": "score a trained model on another corpus, and under noise, telephone, rooms and the like",
    "predict": "apply a trained model to recordings, folders of them, or a table",
    "report": "write the report of a finished run again",
    "compare": "paired difference of two finished runs over the same corpus, with its interval",
    "export": "write a trained model as ONNX, which predicts without PyTorch",
    "push": "upload a trained model to the Hugging Face Hub",
    "prepare": "read, check and decode a corpus ahead of the runs that train on it",
    "serve": "serve a trained model over HTTP, with a page to try it",
    "bench": "measure the speed of training, evaluation, data and orchestration on this machine",
}


def main() -> None:
    """The entry point. Nothing heavy is imported before the command is known.

    Raises:
        SystemExit: code 2 for a command that does not exist; else the command's own.
    """
    name, *rest = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(usage(shutil.get_terminal_size().columns))
    elif name == "--version":
        print(f"raysys {version('raysys')}")
    elif name in COMMANDS:
        sys.argv = [f"raysys {name}", *rest]
        importlib.import_module(f"raysys.commands.{name}").main()
    else:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"Did you mean {close[0]}?" if close else f"Commands: {', '.join(COMMANDS)}."
        print(f"error: there is no command {name!r}. {hint}", file=sys.stderr)
        raise SystemExit(2)


def usage(width: int) -> str:
    """The commands, a line each, wrapped at the terminal's width."""
    lines = ["usage: raysys COMMAND [flags]", ""]
    for name, what in COMMANDS.items():
        lines += textwrap.wrap(what, width, initial_indent=f"  {name:<12}", subsequent_indent=" " * 14)
    lines += ["", "raysys COMMAND --help lists a command's flags; raysys --version prints the version."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
