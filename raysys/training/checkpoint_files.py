"""The files of a fold's checkpoints: names, and which are kept. Without torch, for those who only tidy up.

While a fold trains it has the last two states, and the best weights that either of them speaks of; when it is done, the
best weights alone.
"""

from __future__ import annotations

from collections.abc import Collection

from raysys.storage import Folder

LAST = "last.safetensors"
BEFORE = "last-before.safetensors"
BEST = "best.safetensors"


def best_name(epoch: int) -> str:
    """Name of an epoch's weights while the fold trains: of several, since the last two states may speak of two."""
    return f"best-{epoch:04d}.safetensors"


def keep_best(folder: Folder, epochs: Collection[int]) -> None:
    """Remove the best weights of all other epochs."""
    wanted = {best_name(epoch) for epoch in epochs}
    for name in folder.names():
        if name.startswith("best-") and name not in wanted:
            folder.delete(name)


def delete_unfinished(folder: Folder) -> None:
    """Remove the temporary files of processes killed during a write. Call it while nobody writes."""
    for name in folder.names():
        if name.startswith(".") and ".safetensors." in name:
            folder.delete(name)


def finish(folder: Folder, epoch: int) -> None:
    """The fold is trained: only the weights of its best epoch may still be wanted."""
    folder.move(best_name(epoch), BEST)
    keep_best(folder, ())


def delete_states(folder: Folder) -> None:
    """Remove what a fold would go on from."""
    for name in (LAST, BEFORE):
        folder.delete(name)


def delete_all(folder: Folder) -> None:
    """Remove every checkpoint of a trial."""
    delete_states(folder)
    keep_best(folder, ())
    folder.delete(BEST)
