"""How work is spread over the cluster: Ray Data's executions, run quietly, and plain tasks; each with its own error.

Ray Data where much flows through, its stream held in bounds; plain tasks where each leaves its work on storage and
returns a few lines: Ray Data would cost each of their processes, and the driver, three seconds of imports.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa
import ray
from ray.exceptions import RayTaskError

from raysys.errors import UserError

if TYPE_CHECKING:
    from ray.data import Dataset

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_tasks(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    at_once: int,
    num_cpus: float = 1,
    num_gpus: float = 0,
    environment: dict[str, str] | None = None,
) -> Iterator[Result]:
    """Call a function on each item, in tasks spread over the nodes; one whose process is lost is tried again.

    Args:
        at_once: tasks.
        environment: variables of their processes.

    Yields: the results, small ones, in the items' order.

    Raises:
        UserError: of the task that raised it, without the traceback of its process.
    """

    def call(item: Item) -> Result:
        return function(item)

    remote = ray.remote(call).options(
        name=getattr(function, "func", function).__name__,
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        max_retries=-1,
        scheduling_strategy="SPREAD",
        runtime_env={"env_vars": environment or {}},
    )
    coming = iter(items)
    asked: deque[ray.ObjectRef] = deque()
    running: list[ray.ObjectRef] = []
    found: dict[ray.ObjectRef, Result] = {}
    try:
        while True:
            for item in itertools.islice(coming, max(1, at_once) - len(running)):
                asked.append(remote.remote(item))
                running.append(asked[-1])
            if not asked:
                return
            done, running = ray.wait(running)
            found.update(zip(done, ray.get(done), strict=True))
            while asked and asked[0] in found:
                yield found.pop(asked.popleft())
    except RayTaskError as error:
        raise cause_of(error) from None
    finally:
        # After an error nobody will read what the others go on writing.
        for task in running:
            ray.cancel(task)


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
    """What the user must fix, where a task failed of that; else the error with the task's traceback."""
    return error.cause if isinstance(error.cause, UserError) else error
