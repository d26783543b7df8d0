"""Run trials on the cluster through Ray Tune: the one Tuner, the order of trials, and early stopping."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import pickle
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray import tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from raysys.errors import ClusterError, StorageError, TrainingError
from raysys.results import FoldResult
from raysys.runs.cluster import Cluster
from raysys.runs.follow import MAX_FAILURES, Failure, Follow
from raysys.runs.halving import HalvingByFold
from raysys.runs.ledger import Keep, Ledger
from raysys.runs.lines import EpochLines, TrialLines
from raysys.runs.trial import STOPPED, Trial, run_trial
from raysys.storage import Folder
from raysys.termination import handling
from raysys.training.watchdog import tell

_LATE_S = 60.0
_MOST_PENDING = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What trials found.

    Attributes:
        results: of finished trials, by trial id.
        stopped: epochs trained, by trial id, of trials that were stopped early.
        failed: trials whose training itself failed, by trial id.
        again: notes on finished trials that had to be trained again.
        n_trained: how many were not finished before.
    """

    trials: tuple[Trial, ...]
    results: dict[str, FoldResult]
    stopped: dict[str, int]
    failed: dict[str, Failure]
    again: tuple[str, ...] = ()
    n_trained: int = 0

    def of(self, trial: Trial) -> FoldResult | None:
        return self.results.get(trial.trial_id)

    def notes(self) -> list[str]:
        """Notes for the user on how trials went."""
        found = ((trial, self.of(trial)) for trial in self.trials)
        titles: dict[str, list[str]] = defaultdict(list)
        for trial, result in found:
            for note in result.notes if result else ():
                titles[note].append(trial.title)
        # Of W&B's server, for example, every trial says the same.
        own = [
            f"{of[0]}{f' and {len(of) - 1} more trials' if len(of) > 1 else ''}: {note}" for note, of in titles.items()
        ]
        return [*self.again, *own]

    def seconds_beyond_training(self) -> float | None:
        """What a trial costs beyond its training, in a process that trained one before: the median over trials.

        From the end of the previous trial in the same process to the trial's own end, without its training (from the
        first batch requested to the test part scored). None if no process trained two.
        """
        by_process: dict[str, list[FoldResult]] = defaultdict(list)
        for result in sorted(self.results.values(), key=lambda r: r.started):
            by_process[result.process].append(result)
        pairs = [pair for own in by_process.values() for pair in itertools.pairwise(own)]
        costs = [after.ended - before.ended - after.fit_s for before, after in pairs]
        return round(statistics.median(costs), 2) if costs else None


def run_trials(
    trials: Sequence[Trial],
    cluster: Cluster,
    *,
    keep: Keep,
    by_epoch: Mapping[int, str] | None = None,
    stop_early: bool = False,
) -> Outcome:
    """Train all trials that are not finished yet, as many at once as fit on the cluster and on nodes that join it.

    Args:
        trials: of one run, with the same cluster settings.
        keep: which models of finished trials are kept.
        by_epoch: print a line per epoch, with these names of folds by index; None: a line per trial.
        stop_early: stop trials that fall behind (`HalvingByFold`).

    Raises:
        TrainingError: every trial failed.
        ClusterError: machines or storage kept trials from finishing. They have not failed: a selection must not be
            made without them.
        StorageError: there is no room for Tune's records.
        KeyboardInterrupt: SIGTERM or Ctrl-C; the trials have saved their state, or had no time to.
    """
    ledger = Ledger(trials, keep=keep)
    open_trials = ledger.open_trials()
    again = [f"{trial.title}: {why}; it is trained again" for trial in open_trials if (why := trial.why_again())]
    for note in again:
        print(f"note      {note}")
    if kept := len(trials) - len(open_trials):
        print(
            f"kept      {kept} of {len(trials)} trials are finished already (another --run.name trains them again)",
            flush=True,
        )
    ledger.tidy()
    failed = _train(open_trials, trials, cluster, ledger, by_epoch, stop_early=stop_early) if open_trials else {}
    lost = [failure for failure in failed.values() if not failure.its_own]
    if lost:
        raise ClusterError(
            f"{len(lost)} of {len(trials)} trials did not finish; the first: {lost[0]}\n"
            f"Their training did not fail: the same command retries them and keeps the finished ones."
        )
    if failed and len(failed) == len(trials):
        raise TrainingError(f"every trial failed; the first: {next(iter(failed.values()))}")
    return Outcome(
        trials=tuple(trials),
        results=ledger.results,
        stopped=ledger.stopped,
        failed=failed,
        again=tuple(again),
        n_trained=len(open_trials),
    )


def _train(
    open_trials: Sequence[Trial],
    trials: Sequence[Trial],
    cluster: Cluster,
    ledger: Ledger,
    by_epoch: Mapping[int, str] | None,
    *,
    stop_early: bool,
) -> dict[str, Failure]:
    """Returns: what went wrong, by trial id."""
    lines = TrialLines(open_trials) if by_epoch is None else EpochLines(open_trials, by_epoch)
    follow = Follow(open_trials, ledger, lines, sys.stdout, stops_early=stop_early)
    tuner = _tuner(open_trials, cluster, follow, HalvingByFold(trials, open_trials) if stop_early else None)
    tell(Folder.at(trials[0].run), stop=False)
    # Tune prints a box and its own folder even when told to be quiet; the user is to see our lines.
    with contextlib.redirect_stdout(io.StringIO()), handling(follow.stop):
        try:
            results = tuner.fit()
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            # Tune keeps records in the run's folder too; on a full disk they are missing or incomplete.
            if follow.stopping:
                raise follow.stopping from error
            if not follow.errors:
                raise StorageError(
                    f"{trials[0].run}/tune: Tune cannot write its records ({error}). Is there room, and may this user "
                    f"write there? The same command resumes each trial where it was."
                ) from error
            return follow.errors
        if follow.stopping:
            raise follow.stopping
    failed = dict(follow.errors)
    for tune_result in results:
        assert tune_result.config is not None
        trial = open_trials[tune_result.config["trial"]]
        if tune_result.error is not None and trial.trial_id not in failed:
            failed[trial.trial_id] = Failure(message=follow.fault(trial) or str(tune_result.error), its_own=False)
    for trial in open_trials:
        # Tune ends without an error for more than one reason; a trial without a result was not trained.
        if trial.trial_id not in failed and trial.result() is None and not trial.folder.exists(STOPPED):
            failed[trial.trial_id] = Failure(message="it did not finish", its_own=False)
    return failed


def _tuner(trials: Sequence[Trial], cluster: Cluster, follow: Follow, scheduler: FIFOScheduler | None) -> tune.Tuner:
    gpus = cluster.gpus_per_worker
    in_process = trials[0].in_process
    # Under TorchTrainer the trial only drives, and its workers ask for their own resources. Tune wants a trial to ask
    # for something, and even a hundredth of a CPU would be missing where the last worker asks for whole ones.
    resources: dict[str, float] = {"cpu": 0, "memory": 1_000_000}
    if in_process:
        resources = {"cpu": trials[0].config.cluster.reserved_cpus} | ({"gpu": gpus} if gpus else {})

    def train(params: dict[str, int]) -> None:
        run_trial(trials[params["trial"]], gpus)

    records = Folder.at(trials[0].run) / "tune"
    at_once = at_first = cluster.trials_at_once
    if in_process and cluster.may_grow:
        at_once = at_first = trials[0].config.cluster.max_concurrent_trials or len(trials)
    elif in_process:
        at_first = cluster.trials_at_first
    # As many placement groups wait for a node as Tune has wait for other searchers; by default one, for this kind.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(min(at_once, cluster.trials_at_once + _MOST_PENDING))
    queue = Queue(len(trials), at_once=at_once, at_first=at_first)
    return tune.Tuner(
        tune.with_resources(train, resources),
        tune_config=tune.TuneConfig(
            num_samples=len(trials), search_alg=queue, reuse_actors=in_process, scheduler=scheduler
        ),
        run_config=tune.RunConfig(
            name=f"{time.time_ns()}",
            storage_path=records.path,
            storage_filesystem=None if records.is_local else records.filesystem,
            failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
            callbacks=[follow],
            verbose=0,
        ),
    )


class Queue(Searcher):
    """Hands out trials in order, as many at once as fit on the cluster.

    Where more trials fit than cores can train at once, the extra ones start after the first epoch of a trial, or after
    a minute: importing torch in one more process would delay everyone's first step by seconds.

    Args:
        n_trials: their configurations are {"trial": 0} and so on.
        at_once: how many run at the same time.
        at_first: how many of them start immediately.
    """

    def __init__(self, n_trials: int, *, at_once: int, at_first: int) -> None:
        super().__init__()
        self._n_trials = n_trials
        self._at_once = at_once
        self._limit = min(at_first, at_once)
        self._next = 0
        self._running: set[str] = set()
        self._started = time.monotonic()

    def suggest(self, trial_id: str) -> Any:
        if self._next == self._n_trials:
            return Searcher.FINISHED
        if time.monotonic() - self._started > _LATE_S:
            self._limit = self._at_once
        if len(self._running) >= self._limit:
            return None
        self._running.add(trial_id)
        self._next += 1
        return {"trial": self._next - 1}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self._limit = self._at_once

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self._limit = self._at_once
        self._running.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: Tune restores no run, since every trial knows where it was."""
