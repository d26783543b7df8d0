"""Ray Data does the shards on all nodes: tasks decode and cut, actors predict and write; the driver sees only counts.

On GPUs an actor has one, and the CPUs decode for them. Without GPUs both steps ask for the same, so that Ray Data does
them in the same processes, one for every core.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import ray.data
from ray.exceptions import RayActorError, RayTaskError

from raysys.data.tasks import cause_of
from raysys.errors import ClusterError
from raysys.prediction.request import Cutting
from raysys.prediction.shards import block_name, read_shard
from raysys.runs.cluster import Cluster
from raysys.storage import Folder

_BLOCK_BYTES = 1
"""Every row is handed on at once: waveforms fill no memory, and an account does not wait for its task's end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What tasks and actors need to know; small.

    Attributes:
        parts: location of the folder of parts.
        model: location of the model.
        hears: whether the model reads audio.
    """

    parts: str
    model: str
    cutting: Cutting
    hears: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A block whose rows are written: recordings that ended in it, and seconds of audio."""

    files: int
    seconds: float


def run_shards(shards: Sequence[int], work: Work, cluster: Cluster) -> Iterator[Done]:
    """Do the shards, in any order. Yields: an account of each block once it is written.

    Raises:
        UserError: raised by a task or an actor, without the traceback of its process.
        ClusterError: no actor starts.
    """
    dataset = (
        ray.data.from_items([{"shard": shard} for shard in shards], override_num_blocks=len(shards))
        .map_batches(decode, fn_kwargs={"work": work}, **_decoders(cluster, len(shards)), **_ONE_ROW)
        .map_batches(Predictor, fn_constructor_kwargs={"work": work}, **_predictors(cluster, len(shards)), **_ONE_ROW)
    )
    dataset.context.enable_progress_bars = False
    # Otherwise only the text of the traceback would remain of an error.
    dataset.context.raise_original_map_exception = True
    dataset.context.target_max_block_size = _BLOCK_BYTES
    try:
        for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
            yield from (Done(**row) for row in batch.to_pylist())
    except RayTaskError as error:
        raise cause_of(error) from None
    except RayActorError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ClusterError(
            f"a process that predicts cannot start or was lost for good ({reason}). Does every node see the model, and "
            f"have the memory for it? The same command continues."
        ) from error


_ONE_ROW: dict[str, Any] = {"batch_size": 1, "batch_format": "pyarrow"}


def _decoders(cluster: Cluster, shards: int) -> dict[str, Any]:
    if cluster.gpus:
        return {"num_cpus": 1}
    return {"num_cpus": 1, "compute": ray.data.TaskPoolStrategy(size=min(cluster.idle_cpus, shards))}


def _predictors(cluster: Cluster, shards: int) -> dict[str, Any]:
    if cluster.gpus:
        # No CPU, of which nodes may have no more than GPUs.
        return {"num_cpus": 0, "num_gpus": 1, "compute": ray.data.ActorPoolStrategy(size=min(cluster.gpus, shards))}
    return {"num_cpus": 1, "compute": ray.data.ActorPoolStrategy(size=min(cluster.idle_cpus, shards))}


def decode(batch: pa.Table, work: Work) -> Iterator[pa.Table]:
    """A row for each block of a shard."""
    from raysys.prediction.decoding import decode_shard

    _use_one_thread()
    (shard,) = batch["shard"].to_pylist()
    for block in decode_shard(read_shard(Folder.at(work.parts), shard), work.cutting, hears=work.hears):
        columns = [[block_name(shard, block.number, last=block.last)], [block.files], [block.seconds]]
        yield pa.table([*columns, _as_value(block.pieces)], names=["name", "files", "seconds", "pieces"])


def _as_value(table: pa.Table) -> pa.Array:
    """A table as one value, without a copy: rows of waveforms would be cut into blocks at Ray Data's discretion."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    data = sink.getvalue()
    ends = pa.py_buffer(np.array([0, data.size], np.int64))
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, ends, data])


class Predictor:
    """Holds the model in a process of its own."""

    def __init__(self, work: Work) -> None:
        import torch

        from raysys.inference import load_model

        _use_one_thread()
        self._parts = Folder.at(work.parts)
        self._model = load_model(work.model, "cuda" if torch.cuda.is_available() else "cpu")

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Predict and write a block. Returns: an account of it."""
        from raysys.prediction.predicting import predict_pieces

        pieces = pa.ipc.open_stream(batch["pieces"][0].as_buffer()).read_all()
        self._parts.write_table(batch["name"][0].as_py(), predict_pieces(self._model, pieces))
        return batch.select(["files", "seconds"])


def _use_one_thread() -> None:
    """A process for every core."""
    import torch

    torch.set_num_threads(1)
