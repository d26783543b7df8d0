"""A run's folder belongs to one configuration and one corpus, and to one process at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from raysys.errors import ConfigError, StorageError
from raysys.lock import locked
from raysys.runs.run import CLAIM, CONFIG, Run
from raysys.storage import Folder
from raysys.yaml_file import differences, to_yaml

_SHOWN = 6


@contextlib.contextmanager
def claimed(run: Run) -> Iterator[None]:
    """Hold the run's folder, with config.yaml in it.

    Raises:
        StorageError: another process is working there.
        ConfigError: it holds a run of another configuration or corpus.
    """
    folder = run.folder
    with locked(folder):
        mine = {"learning_hash": run.learning_hash, "fingerprint": run.manifest.fingerprint()}
        theirs = _claim(folder)
        if theirs not in (None, mine):
            raise ConfigError(
                f"{folder.location}: this folder holds a run of another configuration or corpus: "
                f"{_what_differs(run, theirs, mine)}. Choose another --run.name, or remove the folder."
            )
        folder.write_json(CLAIM, mine)
        folder.write_bytes(CONFIG, to_yaml(run.config).encode())
        yield


def _claim(folder: Folder) -> dict[str, str] | None:
    if not folder.exists(CLAIM):
        return None
    try:
        claim: dict[str, str] = folder.read_json(CLAIM)
        return claim
    except ValueError as error:
        raise StorageError(
            f"{folder.location}/{CLAIM} is damaged ({error}), so that nothing says whose results are there. Choose "
            f"another --run.name; or, if it is this very run's folder, remove the file."
        ) from error


def _what_differs(run: Run, theirs: Any, mine: dict[str, str]) -> str:
    found: list[str] = []
    if run.folder.exists(CONFIG):
        found = differences(run.folder.read_bytes(CONFIG).decode(errors="replace"), run.config)
    if len(found) > _SHOWN:
        found = [*found[:_SHOWN], f"{len(found) - _SHOWN} more settings differ"]
    if isinstance(theirs, dict) and theirs.get("fingerprint") != mine["fingerprint"]:
        found.append("the corpus has other utterances, labels or audio")
    return "; ".join(found) or f"what is compared, its seeds, or how a preset was then, differs (see its {CONFIG})"
