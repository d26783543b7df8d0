"""The final model: one more trial, which trains on all data."""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
from collections.abc import Sequence

from raysys.errors import StorageError
from raysys.results import MODEL, MODEL_CONFIG, RESULT, FinalModel, FoldResult, RunResult
from raysys.runs.inputs import Ground, make_trials, whole_fold
from raysys.runs.points import Point, with_epochs
from raysys.runs.tuner import Outcome, run_trials
from raysys.storage import Folder


def train_final(ground: Ground, point: Point, folds: Sequence[FoldResult], epochs: int) -> FinalModel:
    """Train a point on all data, unless that was done; leaves the model in the run's folder.

    Its schedule is as long as its training. On the folds' longer one it would end at a rate that is still high. Its
    temperature is the median of the folds': it has no data of its own to find one.

    Args:
        folds: what the point found on each fold.
        ground: with `whole_fold` as the last of the folds that were written.

    Raises:
        UserError: see `run_trials`; the folds' results are kept, and the same command continues.
    """
    fold = whole_fold(ground.manifest, ground.folds)
    whole = len(fold.train) == len(ground.manifest.utterances)
    data = "all data" if whole else "the training and validation parts"
    named = Point(name=": ".join(filter(None, ["final", point.name])), config=with_epochs(point.config, epochs))
    (trial,) = make_trials(ground, [named], [fold])
    known = [fold.temperature for fold in folds if fold.temperature is not None]
    temperature = statistics.median(known) if known else None
    trial = dataclasses.replace(trial, final=True, temperature=temperature)
    if not trial.model.exists(MODEL_CONFIG):
        # Written last: without it the model is incomplete, whatever the result says.
        trial.folder.delete(RESULT)
    result = trial.result()
    if result is None:
        of = f"all {len(fold.train)} utterances" if whole else f"the {len(fold.train)} utterances to train and validate"
        print(f"final     {', '.join(filter(None, [point.name, f'{epochs} epochs on {of}']))}", flush=True)
        result = run_trials([trial], ground.cluster, keep="all").of(trial)
    assert result is not None
    return FinalModel(
        point=point.name,
        epochs=epochs,
        folder=MODEL,
        data=data,
        trial=trial.place,
        parameters=result.parameters,
        trained_parameters=result.trained_parameters,
        temperature=temperature,
    )


def kept_final(run: Folder, outcome: Outcome) -> FinalModel | None:
    """The final model of an earlier command, where this one, which asks for none, trained no fold again."""
    if outcome.n_trained or not (run / MODEL).exists(MODEL_CONFIG):
        return None
    # Results that are missing or damaged say nothing.
    with contextlib.suppress(StorageError):
        return RunResult.read(run).final
    return None
