"""Trials on the cluster: the one Tuner."""

from __future__ import annotations

import contextlib
import io
import pickle
import sys
import time
from collections.abc import Sequence
from typing import Any

from ray import tune
from ray.tune.schedulers import TrialScheduler

from raysys.errors import StorageError
from raysys.orchestrate.queue import Queue
from raysys.orchestrate.session import Cluster
from raysys.orchestrate.task import STOPPED, FoldTask
from raysys.orchestrate.trial import MAX_FAILURES, run_trial
from raysys.orchestrate.watch import Failure, Watch
from raysys.orchestrate.watchdog import tell
from raysys.storage import Folder
from raysys.termination import handling


def run_trials(
    tasks: Sequence[FoldTask],
    cluster: Cluster,
    callbacks: Sequence[tune.Callback],
    *,
    scheduler: TrialScheduler | None = None,
) -> dict[str, Failure]:
    """Train, as many trials at once as the cluster carries, each process going on from trial to trial.

    Args:
        tasks: of one run and one kind of worker.
        callbacks: told of every epoch and end; `trial.config["task"]` is the task's number.
        scheduler: may stop trials early.

    Returns: what went wrong, by trial id; empty where all are finished, or stopped by the scheduler.

    Raises:
        StorageError: there is no room for Tune's records.
        KeyboardInterrupt: SIGTERM or Ctrl-C came; the trials have kept their state, or had no time to.
    """
    if not tasks:
        return {}
    settings = tasks[0].config.cluster
    in_process = settings.workers_per_trial == 1 and not settings.torch_trainer
    # Under TorchTrainer the trial only drives: its workers take their own. Tune wants it to ask for something, and a
    # hundredth of a CPU would be missing where the last worker asks for whole ones.
    resources: dict[str, float] = {"cpu": settings.reserved_cpus} if in_process else {"cpu": 0, "memory": 1_000_000}
    if in_process and cluster.gpus_per_worker:
        resources["gpu"] = cluster.gpus_per_worker
    gpus = cluster.gpus_per_worker

    def trial(params: dict[str, Any]) -> None:
        run_trial(tasks[params["task"]], gpus)

    run = Folder.at(tasks[0].run)
    tell(run, stop=False)
    watch = Watch(tasks, sys.stdout)
    storage = run / "tune"
    queue = Queue(len(tasks), at_once=cluster.trials_at_once, at_first=cluster.trials_at_first)
    tuner = tune.Tuner(
        tune.with_resources(trial, resources),
        tune_config=tune.TuneConfig(
            num_samples=len(tasks), search_alg=queue, reuse_actors=in_process, scheduler=scheduler
        ),
        run_config=tune.RunConfig(
            name=f"{time.time_ns()}",
            storage_path=storage.path,
            storage_filesystem=None if storage.is_local else storage.filesystem,
            failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
            callbacks=[*callbacks, watch],
            verbose=0,
        ),
    )
    # Tune prints a box and its own folder even so; what a user wants to see is the callbacks' lines.
    with contextlib.redirect_stdout(io.StringIO()), handling(watch.stop):
        try:
            results = tuner.fit()
        except (OSError, EOFError, pickle.UnpicklingError) as unkept:
            # Tune's own records are in the run's folder too. If that is full, they are missing or incomplete.
            if watch.stopping:
                raise watch.stopping from unkept
            if not watch.errors:
                raise StorageError(
                    f"{storage.location}: Tune cannot keep its records ({unkept}). Is there room, and may this user "
                    f"write there? The same command resumes each trial where it was."
                ) from unkept
            return {tasks[number].trial_id: error for number, error in watch.errors.items()}
        if watch.stopping:
            raise watch.stopping
    failed: dict[str, Failure] = {}
    for result in results:
        assert result.config is not None
        task = tasks[result.config["task"]]
        # What was reported is the message alone, without a traceback around it.
        if (reported := watch.errors.get(result.config["task"])) is not None:
            failed[task.trial_id] = reported
        elif result.error is not None:
            failed[task.trial_id] = Failure(message=str(result.error), its_own=False)
    for task in tasks:
        # Tune ends without an error for more than one reason; what has no result was not trained.
        if task.trial_id not in failed and not task.finished() and not task.folder.exists(STOPPED):
            failed[task.trial_id] = Failure(message="it did not finish", its_own=False)
    return failed
