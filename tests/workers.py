"""Several processes that compute together, as the workers of one trial do."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any

import torch.multiprocessing as mp


def run_workers(worker: Callable[..., None], size: int, *args: Any) -> None:
    """Call `worker(rank, *args)` in `size` processes and wait for all; an error in one is raised here.

    They are forked from a server that has imported once what takes seconds to import. `transformers` imports its models
    only when they are asked for, so they are named.
    """
    multiprocessing.set_forkserver_preload(
        [
            "raysys.training.loop",
            "transformers.models.distilbert.modeling_distilbert",
            "transformers.models.wav2vec2.modeling_wav2vec2",
        ]
    )
    mp.start_processes(worker, args=args, nprocs=size, start_method="forkserver")
