"""Grid search: points x folds as Tune trials, both protocols of choosing, and a final model on all data."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from raysys import metrics
from raysys.config import ExperimentConfig
from raysys.errors import ConfigError, TrainingError
from raysys.inference import CONFIG as MODEL_CONFIG
from raysys.orchestrate import session
from raysys.orchestrate.crossval import RESULTS, print_header
from raysys.orchestrate.early_stopping import HalvingByFold
from raysys.orchestrate.groundwork import Ground, Point, check, claimed, lay, make_tasks, whole_fold
from raysys.orchestrate.places import report, results_line
from raysys.orchestrate.points import Axis, grid_points, parse_axes
from raysys.orchestrate.result import RESULT
from raysys.orchestrate.selection import Tested, Validated, final_point, nested, optimistic
from raysys.orchestrate.sweep import Sweep, keep_summary, run_sweep, seconds_beyond_training
from raysys.orchestrate.task import MODEL, PREDICTIONS, TEST_CURVE
from raysys.orchestrate.trials import run_trials
from raysys.report.card import model_card
from raysys.report.provenance import provenance
from raysys.report.results import pool_predictions, summarise
from raysys.report.tables import SYNTHETIC, grid_table, result_table
from raysys.storage import Folder


def gridsearch(config: ExperimentConfig, grid: Sequence[str], *, early_stopping: bool) -> dict[str, Any]:
    """Train every point of a grid on every fold, choose, and train the final model on all data.

    Leaves in `<run.root>/<run.name>` what a cross-validation leaves, with the scores of the nested choice, a folder a
    trial in `trials/`, and the final model in `model/`. A sweep that was stopped goes on with the same command.

    Args:
        grid: axes as typed, 'loss.alpha=1,0.1'.
        early_stopping: stop hopeless points early, by the validation part; they are out of every choice.

    Returns: the content of results.json.

    Raises:
        UserError: anything that the user must fix, before any training where it can be known then.
    """
    began = time.monotonic()
    if early_stopping and config.cluster.workers_per_trial > 1:
        raise ConfigError("--early-stopping is for trials of one worker; leave out --cluster.workers-per-trial.")
    # The paper's protocol chooses epochs by their test scores, so these are wanted; kept apart.
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, test_curve=True))
    axes = parse_axes(grid)
    points = grid_points(config, axes)
    checked = check(config, points, "gridsearch")
    with claimed(checked):
        with session.running(config) as cluster:
            ground = lay(checked, cluster, whole=True)
            checked = ground.checked
            tasks = make_tasks(ground, checked.points)
            n_folds = len(ground.folds)
            print_header(checked, ground.manifest, f"{len(checked.points)} points x {n_folds} folds", cluster)
            halving = HalvingByFold if early_stopping else None
            sweep = run_sweep(tasks, cluster, chosen_by_validation=True, scheduler=halving)
            _refuse_empty(sweep, n_folds)
            final = _final_model(ground, sweep)
        results = _add_up(ground, sweep, axes, final, seconds=time.monotonic() - began)
    _print(results, checked.run, demo=config.corpus.name == "demo")
    return results


def _validated(sweep: Sweep) -> list[Validated]:
    """What the choices may see."""
    found = [(task, result) for task in sweep.tasks if (result := sweep.of(task)) is not None]
    return [
        Validated(
            point=task.point,
            fold=result.fold,
            epoch=result.epoch,
            ua=result.validation_ua,
            loss=result.validation_loss,
        )
        for task, result in found
        if result.validation_ua is not None and result.validation_loss is not None
    ]


def _tested(sweep: Sweep) -> list[Tested]:
    """What the paper's protocol alone sees."""
    finished = [task for task in sweep.tasks if sweep.of(task) is not None]
    return [Tested(point=t.point, fold=t.fold + 1, curve=t.folder.read_json(TEST_CURVE)) for t in finished]


def _refuse_empty(sweep: Sweep, n_folds: int) -> None:
    """Raises: TrainingError: a fold without a finished trial, or no point that is complete."""
    folds = {v.fold for v in _validated(sweep)}
    if missing := sorted(set(range(1, n_folds + 1)) - folds):
        first = next(iter(sweep.failed.values()), "all its points were stopped early")
        raise TrainingError(f"fold {missing[0]}: no point was trained to its end ({first})")
    try:
        final_point(_validated(sweep), n_folds)
    except ValueError as error:
        raise TrainingError(f"{error}: there is nothing to make a final model of") from error


def _final_model(ground: Ground, sweep: Sweep) -> dict[str, Any]:
    """Train the chosen point on all data for the median of its epochs, as one more trial, unless it is there."""
    point, epochs = final_point(_validated(sweep), len(ground.folds))
    config = next(p.config for p in ground.checked.points if p.name == point)
    fold = whole_fold(ground.manifest, len(ground.folds))
    # Nothing is tested, so there is no curve either.
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, test_curve=False))
    (task,) = make_tasks(ground, [Point(name=f"final: {point}", config=config)], [fold])
    task = dataclasses.replace(task, stop_after=epochs, keeps_model=True)
    if not (ground.checked.run / MODEL).exists(MODEL_CONFIG):
        # Written last: without it there is no whole model, whatever the result says.
        task.folder.delete(RESULT)
    if not task.finished():
        print(f"final     {point}, {epochs} epochs on all {len(fold.train)} utterances", flush=True)
        for error in run_trials([task], ground.cluster, []).values():
            raise TrainingError(f"final model: {error}")
    result = task.result()
    assert result is not None
    return {"point": point, "epochs": epochs, "folder": MODEL, "trial": task.place, "parameters": result.parameters}


def _add_up(
    ground: Ground, sweep: Sweep, axes: Sequence[Axis], final: dict[str, Any], *, seconds: float
) -> dict[str, Any]:
    checked, manifest = ground.checked, ground.manifest
    config, run = checked.config, checked.run
    choice = nested(_validated(sweep))
    by_place = {(task.point, task.fold + 1): task for task in sweep.tasks}
    chosen = [by_place[point, fold] for fold, point in choice.items()]
    predictions = pool_predictions(manifest, [task.folder.read_table(PREDICTIONS) for task in chosen])
    modalities = config.corpus.resolved_modalities
    overhead = seconds_beyond_training(sweep.results.values())
    results = summarise(
        manifest,
        [sweep.results[t.trial_id].row(t.place) for t in chosen],
        predictions,
        kind="gridsearch",
        protocol="nested",
        modalities=modalities,
        seed=config.train.seed,
        parameters=final["parameters"],
        made=provenance(checked.run, RESULTS, (r.gpu for r in sweep.results.values())),
        notes=[
            *checked.notes,
            *sweep.notes(),
            *(f"trial {trial} failed: {error}" for trial, error in sweep.failed.items()),
        ],
        seconds=round(seconds, 1),
        tsne={"with": chosen[0].place},
        grid={
            "axes": {axis.flag: list(axis.values) for axis in axes},
            "points": [_point_row(point, axes, sweep) for point in checked.points],
            "nested": {str(fold): point for fold, point in choice.items()},
            "optimistic": _optimistic(sweep, len(ground.folds)),
            "final": final,
            "n_trials": len(sweep.tasks),
            "n_failed": len(sweep.failed),
            "n_stopped": len(sweep.stopped),
            "seconds_beyond_training": None if overhead is None else round(overhead, 2),
            "epochs_saved": sum(config.train.epochs - epochs for epochs in sweep.stopped.values()),
        },
    )
    run.write_table(PREDICTIONS, predictions)
    run.write_json(RESULTS, results)
    (run / MODEL).write_bytes("README.md", model_card(results).encode())
    report(run)
    keep_summary(checked, results["grid"]["points"], results["pooled"])
    return results


def _point_row(point: Point, axes: Sequence[Axis], sweep: Sweep) -> dict[str, Any]:
    """A point's scores: on the validation parts, and, optimistic, at the best epoch of each test fold."""
    own = [task for task in sweep.tasks if task.point == point.name]
    found = [result for task in own if (result := sweep.of(task)) is not None]
    complete = len(found) == len(own)
    flags = {axis.flag: value for axis, value in zip(axes, point.typed, strict=True)}
    row: dict[str, Any] = {"name": point.name, "values": flags, "stopped": not complete}
    if not complete:
        return row | {"validation_ua": None, "validation_ua_folds": [], "epochs": [], "test_ua": None, "test_wa": None}
    found.sort(key=lambda r: r.fold)
    ua = [r.validation_ua for r in found if r.validation_ua is not None]
    best = optimistic([t for t in _tested(sweep) if t.point == point.name], len(own))
    return row | {
        "validation_ua": statistics.fmean(ua),
        "validation_ua_folds": ua,
        "epochs": [r.epoch for r in found],
        "test_ua": statistics.fmean(float(metrics.score(m, "ua")) for m in best.confusions.values()),
        "test_wa": statistics.fmean(float(metrics.score(m, "wa")) for m in best.confusions.values()),
    }


def _optimistic(sweep: Sweep, n_folds: int) -> dict[str, Any]:
    best = optimistic(_tested(sweep), n_folds)
    pooled = np.sum(list(best.confusions.values()), axis=0)
    folds = [
        {
            "fold": fold,
            "epoch": best.epochs[fold],
            "wa": float(metrics.score(matrix, "wa")),
            "ua": float(metrics.score(matrix, "ua")),
        }
        for fold, matrix in best.confusions.items()
    ]
    return {
        "point": best.point,
        "wa": statistics.fmean(f["wa"] for f in folds),
        "ua": statistics.fmean(f["ua"] for f in folds),
        "folds": folds,
        "pooled_wa": float(metrics.score(pooled, "wa")),
        "pooled_ua": float(metrics.score(pooled, "ua")),
        "confusion": pooled.tolist(),
    }


def _print(results: dict[str, Any], run: Folder, *, demo: bool) -> None:
    print(f"\n{grid_table(results)}\n\n{result_table(results)}")
    if demo:
        print(f"\n{SYNTHETIC}")
    print(f"\n{results['seconds']:.0f} s; the model: {MODEL}/; {results_line(run)}", flush=True)
