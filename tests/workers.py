"""Run several processes that compute together, like the workers of a trial."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any

import torch.multiprocessing as mp


def run_workers(worker: Callable[..., None], size: int, *args: Any) -> None:
    """Call `worker(rank, *args)` in `size` processes and wait for all; an error in any of them is raised here.

    They are forked from a server that has already imported the slow modules. `transformers` imports its models
    lazily, so they are named.
    """
    multiprocessing.set_forkserver_preload(
        [
            "raysys.training.loop",
            "transformers.models.distilbert.modeling_distilbert",
            "transformers.models.wav2vec2.modeling_wav2vec2",
        ]
    )
    mp.start_processes(worker, args=args, nprocs=size, start_method="forkserver")
