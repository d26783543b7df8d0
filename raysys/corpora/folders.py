"""What the readers of folders have in common."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from raysys.errors import CorpusError


def refuse_other_than_folders(paths: Iterable[Path]) -> None:
    """A session or an actor behind a broken link would be left out without a word.

    Raises:
        CorpusError: naming the first path that is no folder.
    """
    for path in paths:
        if not path.is_dir():
            raise CorpusError(
                f"{path}: expected a folder, found {_kind(path)}. Restore the folder, or remove this one from the "
                "corpus if it is to be left out."
            )


def _kind(path: Path) -> str:
    return "a link that leads to none" if path.is_symlink() else "a file"
