"""A Tune trial: one fold, in the trial's own process for one worker, under Ray Train's TorchTrainer for more."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import ray.train
from ray import tune

from raysys.errors import TrainingError, UserError
from raysys.orchestrate.task import FoldTask
from raysys.storage import Folder

if TYPE_CHECKING:
    from torch import nn

# The driver imports this module to hand it to Tune; torch, which takes seconds, is imported where a trial runs.

MAX_FAILURES = 8
"""How often a trial is started again after faults of its machine, without an epoch between them. It goes on from its
last checkpoint; one that gets on may lose any number of spot machines."""


def run_trial(task: FoldTask, gpus_per_worker: float) -> None:
    """The body of a trial. What a user must fix, and being asked to stop, is reported as `error` and not retried.

    One whose process was lost after its result was written, before Tune heard of it, has nothing left to do.

    Raises:
        UserError, Paused: for Tune to end the process: it does not go on with the next trial.
    """
    from raysys.training import checkpoint_files

    if task.finished():
        checkpoint_files.delete_states(task.folder)
        return
    from raysys.training.loop import Paused

    try:
        if task.config.cluster.workers_per_trial == 1 and not task.config.cluster.torch_trainer:
            _in_process(task, gpus_per_worker)
        else:
            _under_torch_trainer(task, gpus_per_worker)
    except (UserError, Paused) as error:
        # Either way Tune must not start it again.
        tune.report({"error": str(error), "its_own": isinstance(error, TrainingError)})
        raise


def _in_process(task: FoldTask, gpus: float) -> None:
    import torch

    from raysys.orchestrate.worker import train_fold
    from raysys.training.evaluation import Workers

    def report(metrics: dict[str, Any]) -> None:
        tune.report({"fold": task.fold, **metrics})

    if gpus and not torch.cuda.is_available():
        # Tried again, on another node if there is one: on a CPU it would take weeks, and nobody would know why.
        raise RuntimeError(
            f"{socket.gethostname()}: the trial has a GPU, and PyTorch finds none (see nvidia-smi there)"
        )
    device = torch.device("cuda" if gpus else "cpu")
    train_fold(task, workers=Workers(), device=device, parallel=_same, report=report)


def _same(network: nn.Module) -> nn.Module:
    return network


def _under_torch_trainer(task: FoldTask, gpus: float) -> None:
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    settings = task.config.cluster
    folder = Folder.at(task.run) / "train"
    resources = {"CPU": settings.reserved_cpus} | ({"GPU": gpus} if gpus else {})
    trainer = TorchTrainer(
        _train_worker,
        train_loop_config={"task": task},
        scaling_config=ray.train.ScalingConfig(
            num_workers=settings.workers_per_trial,
            use_gpu=bool(gpus),
            resources_per_worker=resources,
        ),
        run_config=ray.train.RunConfig(
            name=f"fold-{task.fold + 1}-{task.trial_id}",
            storage_path=folder.path,
            storage_filesystem=None if folder.is_local else folder.filesystem,
            # Tune restarts the trial, unless a user must fix something; Ray Train cannot tell the two apart.
            failure_config=ray.train.FailureConfig(max_failures=0),
            callbacks=[TuneReportCallback()],
        ),
    )
    try:
        trainer.fit()
    except ray.train.WorkerGroupError as error:
        for failure in error.worker_failures.values():
            cause = getattr(failure, "cause", failure)
            if isinstance(cause, UserError):
                raise cause from None
        raise


def _train_worker(loop_config: dict[str, Any]) -> None:
    import ray.train.torch

    from raysys.orchestrate.worker import train_fold
    from raysys.training.evaluation import Workers

    task: FoldTask = loop_config["task"]
    context = ray.train.get_context()
    workers = Workers(rank=context.get_world_rank(), size=context.get_world_size())

    def report(metrics: dict[str, Any]) -> None:
        ray.train.report({"fold": task.fold, **metrics})

    def parallel(network: nn.Module) -> nn.Module:
        if workers.size == 1:
            return network
        # Texts and masks come and go: a parameter that a step leaves out must not stop the reduction.
        return ray.train.torch.prepare_model(network, parallel_strategy_kwargs={"find_unused_parameters": True})

    train_fold(
        task,
        workers=workers,
        device=ray.train.torch.get_device(),
        parallel=parallel,
        report=report,
    )
