"""How Ray Data's executions are run here: quietly, in blocks of a task each, with a task's own error."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
from ray.data import Dataset
from ray.exceptions import RayTaskError

from raysys.errors import UserError


def blocks(dataset: Dataset) -> Iterator[pa.Table]:
    """Run a dataset to its end.

    Raises:
        UserError: of the task that raised it, without the traceback of its process.
    """
    dataset.context.enable_progress_bars = False
    # Else all that is left of the task's error is the text of its traceback.
    dataset.context.raise_original_map_exception = True
    try:
        yield from dataset.iter_batches(batch_size=None, batch_format="pyarrow")
    except RayTaskError as error:
        raise cause_of(error) from None


def cause_of(error: RayTaskError) -> Exception:
    """What the user must mend, where a task failed of that; else the error with the task's traceback."""
    return error.cause if isinstance(error.cause, UserError) else error
