"""What grid search and ablation share: many trials in one go, their ledger, their weights, what they cost."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from ray import tune
from ray.tune.schedulers import TrialScheduler

from raysys.errors import ClusterError, TrainingError
from raysys.orchestrate.groundwork import CLAIM, Checked
from raysys.orchestrate.progress import clock
from raysys.orchestrate.result import FoldResult
from raysys.orchestrate.session import Cluster
from raysys.orchestrate.task import STOPPED, FoldTask
from raysys.orchestrate.trials import run_trials
from raysys.orchestrate.watch import Failure
from raysys.tracking import WandbTracker, wandb_folder
from raysys.training import checkpoint_files


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What a sweep found.

    Attributes:
        results: by trial id, of finished trials.
        stopped: epochs trained, by trial id, of trials that were stopped early.
        failed: by trial id, whose training itself failed.
    """

    tasks: tuple[FoldTask, ...]
    results: dict[str, FoldResult]
    stopped: dict[str, int]
    failed: dict[str, Failure]

    def of(self, task: FoldTask) -> FoldResult | None:
        return self.results.get(task.trial_id)

    def notes(self) -> list[str]:
        """What users should know of how trials went on."""
        found = ((task, self.of(task)) for task in self.tasks)
        return [f"{task.point}, fold {task.fold + 1}: {note}" for task, r in found if r for note in r.notes]


def run_sweep(
    tasks: Sequence[FoldTask],
    cluster: Cluster,
    *,
    chosen_by_validation: bool,
    scheduler: Callable[[Sequence[FoldTask], Sequence[FoldTask]], TrialScheduler] | None = None,
) -> Sweep:
    """Train all tasks that are not finished yet; the ledger, which is the trials' own files, says which are.

    Args:
        chosen_by_validation: a fold's weights are kept of its best trial so far; else of none.
        scheduler: makes one that may stop trials early, of all tasks and those that are open.

    Raises:
        TrainingError: every trial failed.
        ClusterError: machines or storage kept trials from their end. They are not failed points, of which a choice may
            be made without them.
    """
    ledger = Ledger(tasks, chosen_by_validation=chosen_by_validation)
    open_tasks = ledger.open_tasks()
    if kept := len(tasks) - len(open_tasks):
        print(f"kept      {kept} of {len(tasks)} trials are finished already", flush=True)
    tidy(ledger, tasks)
    stopping = None if scheduler is None else scheduler(tasks, open_tasks)
    housekeeping = Housekeeping(open_tasks, ledger, stops_early=scheduler is not None)
    progress = SweepProgress(open_tasks, ledger, sys.stdout)
    failed = run_trials(open_tasks, cluster, [housekeeping, progress], scheduler=stopping)
    lost = [failure for failure in failed.values() if not failure.its_own]
    if lost:
        raise ClusterError(
            f"{len(lost)} of {len(tasks)} trials did not finish; the first: {lost[0]}\n"
            f"Their training did not fail: the same command retries them and keeps the finished ones."
        )
    if failed and len(failed) == len(tasks):
        raise TrainingError(f"every trial failed; the first: {next(iter(failed.values()))}")
    return Sweep(tasks=tuple(tasks), results=ledger.results, stopped=ledger.stopped, failed=failed)


class Ledger:
    """Which trials are done, as their own folders say. It only reads.

    Args:
        chosen_by_validation: a fold's weights are wanted of its best trial so far; else of none.

    Attributes:
        results, stopped: as in `Sweep`.
    """

    def __init__(self, tasks: Sequence[FoldTask], *, chosen_by_validation: bool) -> None:
        self._tasks = tuple(tasks)
        self._chosen = chosen_by_validation
        self._best: dict[int, tuple[float, float, FoldTask]] = {}
        self.results: dict[str, FoldResult] = {}
        self.stopped: dict[str, int] = {}
        for task in tasks:
            self.read(task)

    def open_tasks(self) -> list[FoldTask]:
        return [t for t in self._tasks if t.trial_id not in self.results and t.trial_id not in self.stopped]

    def read(self, task: FoldTask) -> FoldTask | None:
        """Take in what a trial left. Returns: the trial whose weights no choice can want from now on, if any."""
        result = task.result()
        if result is None:
            if task.folder.exists(STOPPED):
                self.stopped[task.trial_id] = task.folder.read_json(STOPPED)["epochs"]
            return None
        self.results[task.trial_id] = result
        if not self._chosen:
            return task
        assert result.validation_ua is not None and result.validation_loss is not None
        rank = (result.validation_ua, -result.validation_loss)
        rival = self._best.get(task.fold)
        if rival is not None and (rank <= rival[:2] or rival[2] is task):
            return None if rival[2] is task else task
        self._best[task.fold] = (*rank, task)
        return None if rival is None else rival[2]

    def unwanted(self) -> list[FoldTask]:
        """Finished trials whose weights no choice can want."""
        best = {task.trial_id for _, _, task in self._best.values()}
        return [t for t in self._tasks if t.trial_id in self.results and t.trial_id not in best]


def tidy(ledger: Ledger, tasks: Sequence[FoldTask]) -> None:
    """Delete checkpoints that a sweep killed between a trial's result and their deletion left behind."""
    for task in tasks:
        if task.trial_id in ledger.results:
            checkpoint_files.delete_states(task.folder)
    for task in ledger.unwanted():
        task.folder.delete(checkpoint_files.BEST)


class Housekeeping(tune.Callback):
    """As each trial ends: reads what it left, deletes weights that no choice can want, marks it where it was stopped.

    Args:
        tasks: those that Tune trains, by the number that its trials have.
        stops_early: whether a trial without a result may have been stopped by the scheduler.
    """

    def __init__(self, tasks: Sequence[FoldTask], ledger: Ledger, *, stops_early: bool) -> None:
        self._tasks = tasks
        self._ledger = ledger
        self._stops_early = stops_early
        self._epochs: dict[int, int] = defaultdict(int)

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks into its own folder, where nobody reads them.
        return {}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if "epoch" in result:
            self._epochs[trial.config["task"]] = result["epoch"] + 1

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        number = trial.config["task"]
        task, epochs = self._tasks[number], self._epochs[number]
        unwanted = self._ledger.read(task)
        if task.trial_id in self._ledger.results:
            checkpoint_files.delete_states(task.folder)
        elif self._stops_early and epochs < task.config.train.epochs:
            # Out of every choice. Without a mark it was not stopped, and is tried again: nothing of it is deleted.
            task.folder.write_json(STOPPED, {"trial_id": task.trial_id, "epochs": epochs})
            self._ledger.stopped[task.trial_id] = epochs
            checkpoint_files.delete_all(task.folder)
        if unwanted is not None:
            unwanted.folder.delete(checkpoint_files.BEST)


class SweepProgress(tune.Callback):
    """Prints a line per finished trial: which, its validation score, the time left as the trials so far suggest.

    Args:
        tasks: those that Tune trains, by the number that its trials have.
        ledger: up to date by the time that this is called.
    """

    def __init__(self, tasks: Sequence[FoldTask], ledger: Ledger, screen: TextIO) -> None:
        self._tasks = tasks
        self._ledger = ledger
        self._screen = screen
        self._started = time.monotonic()
        self._done = 0

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks into its own folder, where nobody reads them.
        return {}

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        task = self._tasks[trial.config["task"]]
        found, stopped = self._ledger.results.get(task.trial_id), self._ledger.stopped.get(task.trial_id)
        if found is not None:
            said = f"validation UA {100 * (found.validation_ua or 0):5.1f} at epoch {found.epoch}"
        elif stopped is not None:
            said = f"stopped after {stopped} epochs"
        else:
            said = "ended, and its result cannot be read"
        self._say(task, said)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        error = (trial.last_result or {}).get("error", "see the end")
        self._say(self._tasks[trial.config["task"]], f"failed: {error}")

    def _say(self, task: FoldTask, said: str) -> None:
        self._done += 1
        spent = time.monotonic() - self._started
        left = spent / self._done * (len(self._tasks) - self._done)
        print(
            f"[{clock(spent)}] trial {self._done:3d}/{len(self._tasks)}  {task.point}, fold {task.fold + 1}  {said}  "
            f"about {clock(left)} left",
            file=self._screen,
            flush=True,
        )


def seconds_beyond_training(results: Iterable[FoldResult]) -> float | None:
    """What a trial costs beyond its training in a process that trained one before: the median over trials.

    From the end of the trial before, in the same process, to the trial's own end, without its training (which begins
    with the first batch asked for and ends with the test part scored). None where no process trained two.
    """
    by_process: dict[str, list[FoldResult]] = defaultdict(list)
    for result in results:
        by_process[result.process].append(result)
    costs: list[float] = []
    for own in by_process.values():
        own.sort(key=lambda r: r.started)
        costs += [after.ended - before.ended - after.fit_s for before, after in itertools.pairwise(own)]
    return statistics.median(costs) if costs else None


def keep_summary(checked: Checked, rows: Sequence[dict[str, Any]], scores: dict[str, Any]) -> None:
    """One W&B run for the whole sweep: its table, and the scores of what was chosen."""
    config, run = checked.config, checked.run
    if not config.track.wandb:
        return
    name = run.location.rsplit("/", 1)[-1]
    tracker = WandbTracker(
        project=config.track.project,
        group=name,
        name=f"{name}, summary",
        run_id=hashlib.sha256(run.read_bytes(CLAIM)).hexdigest()[:16],
        folder=wandb_folder(run),
        config=dataclasses.asdict(config),
        job_type="summary",
    )
    plain = [{key: value for key, value in row.items() if not isinstance(value, list | dict)} for row in rows]
    tracker.table("points", plain, scores)
