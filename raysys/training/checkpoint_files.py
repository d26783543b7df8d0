"""File names of a fold's checkpoints, and which are kept. Without torch, for processes that only clean up.

During training a fold keeps the last two states and the best weights that either refers to; once trained, the best
weights, until its result is written.
"""

from __future__ import annotations

from collections.abc import Collection

from raysys.storage import Folder

LAST = "last.safetensors"
BEFORE = "last-before.safetensors"
BEST = "best.safetensors"


def best_name(epoch: int) -> str:
    """File name of an epoch's weights during training, numbered since the last two states may refer to two."""
    return f"best-{epoch:04d}.safetensors"


def keep_best(folder: Folder, epochs: Collection[int]) -> None:
    """Remove the best weights of all other epochs."""
    wanted = {best_name(epoch) for epoch in epochs}
    for name in folder.names():
        if name.startswith("best-") and name not in wanted:
            folder.delete(name)


def delete_unfinished(folder: Folder) -> None:
    """Remove temporary files of processes killed during a write. Call it only while no process writes."""
    for name in folder.names():
        if name.startswith(".") and ".safetensors." in name:
            folder.delete(name)


def finish(folder: Folder, epoch: int) -> None:
    """Training of the fold is done: keep only the weights of its best epoch."""
    folder.move(best_name(epoch), BEST)
    keep_best(folder, ())


def delete_states(folder: Folder) -> None:
    """Remove the states a fold would resume from."""
    for name in (LAST, BEFORE):
        folder.delete(name)


def delete_all(folder: Folder) -> None:
    """Remove every checkpoint of a trial."""
    delete_states(folder)
    keep_best(folder, ())
    folder.delete(BEST)
