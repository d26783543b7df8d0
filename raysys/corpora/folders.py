"""Helpers shared by the readers of corpus folders."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from raysys.errors import CorpusError


def refuse_other_than_folders(paths: Iterable[Path]) -> None:
    """Refuse a session or actor that is not a folder; one behind a broken link would be silently skipped.

    Raises:
        CorpusError: naming the first path that is not a folder.
    """
    for path in paths:
        if not path.is_dir():
            raise CorpusError(
                f"{path}: expected a folder, found {_kind(path)}. Restore the folder, or remove this entry from the "
                "corpus to leave it out."
            )


def _kind(path: Path) -> str:
    return "a broken link" if path.is_symlink() else "a file"
