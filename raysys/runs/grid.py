"""Grid search: points x folds, both protocols of selection, and a final model trained on all data."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raysys import metrics
from raysys.config import ExperimentConfig
from raysys.errors import ConfigError, TrainingError
from raysys.report.card import model_card
from raysys.report.tables import grid_table
from raysys.results import (
    MODEL,
    FinalModel,
    GridResult,
    OptimisticFold,
    OptimisticScores,
    PointScores,
    RunResult,
    counts,
)
from raysys.runs.axes import Axis, grid_points, parse_axes
from raysys.runs.claim import claimed
from raysys.runs.cluster import Cluster, running
from raysys.runs.final import train_final
from raysys.runs.finish import add_up, finish, log_summary
from raysys.runs.inputs import Ground, counted_folds, make_trials, prepare_run, print_header
from raysys.runs.points import Point
from raysys.runs.run import Run, check
from raysys.runs.second_view import with_change
from raysys.runs.tuner import Outcome, run_trials
from raysys.selection import Tested, Validated, final_point, merit, nested, optimistic, score_of


def gridsearch(config: ExperimentConfig, grid: Sequence[str], *, early_stopping: bool) -> RunResult:
    """Train every point of a grid on every fold, select, and train the final model on all data.

    Leaves in `<run.root>/<run.name>` what a cross-validation leaves, with the scores of the nested selection, a folder
    per trial in `trials/`, and the final model in `model/`. A sweep that was stopped is resumed by the same command.

    Args:
        grid: axes as typed, 'loss.alpha=1,0.1'.
        early_stopping: stop hopeless points early, by the validation part; they are never selected.

    Returns: the content of results.json.

    Raises:
        UserError: anything that the user must fix, before any training where it can be known then.
    """
    started = time.monotonic()
    if early_stopping and config.cluster.workers_per_trial > 1:
        raise ConfigError("--early-stopping is for trials of one worker; leave out --cluster.workers-per-trial.")
    axes = parse_axes(grid)
    run = check(config, grid_points(config, axes), "gridsearch")
    with claimed(run):
        with running(config) as cluster:
            searched = search(run, cluster, early_stopping=early_stopping)
        return add_up_grid(searched, axes, started)


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """A grid whose trials are trained, and the final model.

    Attributes:
        nested: the point that each fold chose on its own validation part, by the fold's number.
    """

    ground: Ground
    outcome: Outcome
    nested: dict[int, str]
    final: FinalModel


def search(run: Run, cluster: Cluster, *, early_stopping: bool) -> Searched:
    """Train a grid's trials and its final model; the run is claimed.

    Raises:
        UserError: see `gridsearch`.
    """
    ground = prepare_run(run, cluster, whole=True)
    n_folds = len(ground.folds)
    # The paper's protocol selects epochs by their test scores, so these are wanted; stored separately.
    trials = [dataclasses.replace(t, test_curve=True) for t in make_trials(ground, ground.run.points)]
    ground = with_change(ground, trials)
    print_header(ground, f"{len(run.points)} points x {counted_folds(ground.folds)}")
    outcome = run_trials(trials, cluster, keep="best", stop_early=early_stopping)
    _refuse_empty(outcome, n_folds)
    final = _final_model(ground, outcome)
    return Searched(ground=ground, outcome=outcome, nested=nested(_validated(outcome)), final=final)


def add_up_grid(searched: Searched, axes: Sequence[Axis], started: float) -> RunResult:
    """Both protocols' scores of a grid, written with its report.

    Args:
        started: by the monotonic clock.
    """
    ground, outcome, final = searched.ground, searched.outcome, searched.final
    run, n_folds = ground.run, len(ground.folds)
    by_place = {(trial.point, trial.fold + 1): trial for trial in outcome.trials}
    chosen = [by_place[point, fold] for fold, point in searched.nested.items()]
    found = GridResult(
        axes={axis.flag: axis.values for axis in axes},
        points=tuple(_point_scores(point, axes, outcome) for point in run.points),
        nested={str(fold): point for fold, point in searched.nested.items()},
        optimistic=_optimistic(outcome, n_folds),
        final=final,
        n_trials=len(outcome.trials),
        n_failed=len(outcome.failed),
        n_stopped=len(outcome.stopped),
        seconds_beyond_training=outcome.seconds_beyond_training(),
        epochs_saved=sum(run.config.train.epochs - epochs for epochs in outcome.stopped.values()),
    )
    results = add_up(
        run,
        ground.manifest,
        ground.folds,
        chosen,
        outcome,
        kind="gridsearch",
        parameters=final.parameters,
        trained_parameters=final.trained_parameters,
        seconds=round(time.monotonic() - started, 1),
        tsne={"with": chosen[0].place},
        notes=[f"trial {trial} failed: {error}" for trial, error in outcome.failed.items()],
        grid=found,
    )
    (run.folder / MODEL).write_bytes("README.md", model_card(results).encode())
    log_summary(run, found.points, results)
    finish(run, results, grid_table(results))
    return results


def _validated(outcome: Outcome) -> list[Validated]:
    """What the nested selection may see."""
    found = [(trial, result) for trial in outcome.trials if (result := outcome.of(trial)) is not None]
    return [
        Validated(
            point=trial.point,
            fold=result.fold,
            epoch=result.epoch,
            score=merit(result, trial.config.train.select)[0],
            loss=score_of(result, "loss"),
        )
        for trial, result in found
        if result.n_validation
    ]


def _tested(outcome: Outcome) -> list[Tested]:
    """What only the paper's protocol sees."""
    finished = [trial for trial in outcome.trials if outcome.of(trial) is not None]
    return [Tested(point=t.point, fold=t.fold + 1, curve=t.tested_epochs()) for t in finished]


def _refuse_empty(outcome: Outcome, n_folds: int) -> None:
    """Raises: TrainingError: a fold without a finished trial, or no point that is complete."""
    folds = {v.fold for v in _validated(outcome)}
    if missing := sorted(set(range(1, n_folds + 1)) - folds):
        first = next(iter(outcome.failed.values()), "all its points were stopped early")
        raise TrainingError(f"fold {missing[0]}: no point was trained to its end ({first})")
    try:
        final_point(_validated(outcome), n_folds)
    except ValueError as error:
        raise TrainingError(f"{error}: there is nothing to make a final model of") from error


def _final_model(ground: Ground, outcome: Outcome) -> FinalModel:
    """Train the selected point on all data for the median of its epochs."""
    name, epochs = final_point(_validated(outcome), len(ground.folds))
    found = [result for trial in outcome.trials if trial.point == name and (result := outcome.of(trial)) is not None]
    return train_final(ground, next(p for p in ground.run.points if p.name == name), found, epochs)


def _point_scores(point: Point, axes: Sequence[Axis], outcome: Outcome) -> PointScores:
    """A point's scores: on the validation parts, and, optimistic, at the best epoch of each test fold."""
    own = [trial for trial in outcome.trials if trial.point == point.name]
    found = sorted((r for trial in own if (r := outcome.of(trial)) is not None), key=lambda r: r.fold)
    ua = [score_of(r, "ua") for r in found]
    scores = [score_of(r, point.config.train.select) for r in found]
    complete = len(found) == len(own)
    best = None
    if complete:
        best = optimistic([t for t in _tested(outcome) if t.point == point.name], len(own)).confusions.values()
    return PointScores(
        name=point.name,
        values={axis.flag: value for axis, value in zip(axes, point.typed, strict=True)},
        stopped=not complete,
        validation_ua=statistics.fmean(ua) if complete else None,
        validation_ua_folds=tuple(ua) if complete else (),
        validation_score=statistics.fmean(scores) if complete else None,
        epochs=tuple(r.epoch for r in found) if complete else (),
        test_ua=None if best is None else statistics.fmean(float(metrics.score(m, "ua")) for m in best),
        test_wa=None if best is None else statistics.fmean(float(metrics.score(m, "wa")) for m in best),
    )


def _optimistic(outcome: Outcome, n_folds: int) -> OptimisticScores:
    best = optimistic(_tested(outcome), n_folds)
    pooled = np.sum(list(best.confusions.values()), axis=0)
    folds = tuple(
        OptimisticFold(
            fold=fold,
            epoch=best.epochs[fold],
            wa=float(metrics.score(matrix, "wa")),
            ua=float(metrics.score(matrix, "ua")),
        )
        for fold, matrix in best.confusions.items()
    )
    return OptimisticScores(
        point=best.point,
        wa=statistics.fmean(f.wa for f in folds),
        ua=statistics.fmean(f.ua for f in folds),
        folds=folds,
        pooled_wa=float(metrics.score(pooled, "wa")),
        pooled_ua=float(metrics.score(pooled, "ua")),
        confusion=counts(pooled),
    )
