"""Cross-validation: every fold is a trial with each seed; its results are those of all folds together."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence

from raysys.config import ExperimentConfig
from raysys.errors import TrainingError
from raysys.report.card import model_card
from raysys.report.results import pool_predictions
from raysys.report.seeds import ensemble, score_seeds
from raysys.report.tables import seeds_table
from raysys.results import FinalModel, RunResult, SeedsResult
from raysys.runs.claim import claimed
from raysys.runs.cluster import running
from raysys.runs.final import kept_final, train_final
from raysys.runs.finish import add_up, finish, log_summary
from raysys.runs.inputs import Ground, counted_folds, make_trials, prepare_run, print_header
from raysys.runs.points import seed_points
from raysys.runs.run import check
from raysys.runs.second_view import with_change
from raysys.runs.trial import Trial
from raysys.runs.tuner import Outcome, run_trials


def crossval(config: ExperimentConfig, seeds: Sequence[int] | None = None, *, final_model: bool = False) -> RunResult:
    """Run the cross-validation that a configuration describes.

    Leaves config.yaml, manifest.parquet, folds/, predictions.parquet, results.json and report.html in
    `<run.root>/<run.name>`; with several seeds they are those of the first, and `results.seeds` and the files of
    `_score_seeds` are of all. A run that was stopped is resumed with the same configuration and seeds: finished folds
    are kept, others continue from their last checkpoint.

    Args:
        seeds: to train every fold with; None: `config.train.seed` alone.
        final_model: then train one model on all data, with the first seed, for the median of its folds' best epochs;
            leaves it in `model/`.

    Returns: the content of results.json.

    Raises:
        UserError: anything that the user must fix, before any training where it can be known then.
    """
    started = time.monotonic()
    by_seed = seed_points(config, seeds)
    points = list(by_seed.values())
    run = check(points[0].config, points, "crossval")
    with claimed(run):
        with running(config) as cluster:
            ground = prepare_run(run, cluster, whole=final_model)
            trials = make_trials(ground, ground.run.points)
            ground = with_change(ground, trials)
            of_seed = {seed: [t for t in trials if t.point == point.name] for seed, point in by_seed.items()}
            first, *others = of_seed.values()
            print_header(ground, f"{len(of_seed)} seeds x {counted_folds(first)}" if others else counted_folds(first))
            names = {fold.index: fold.name for fold in ground.folds}
            outcome = run_trials(trials, cluster, keep="all", by_epoch=None if others else names)
            if outcome.failed:
                lines = [f"{t.title}: {error}" for t in trials if (error := outcome.failed.get(t.trial_id))]
                raise TrainingError("\n".join(lines))
            final = _final_model(ground, first, outcome) if final_model else kept_final(ground.run.folder, outcome)
        results = add_up(
            ground.run,
            ground.manifest,
            ground.folds,
            first,
            outcome,
            kind="crossval",
            seconds=round(time.monotonic() - started, 1),
            tsne={"with" if config.loss.contrasts else "without": first[0].place},
            seeds=_score_seeds(ground, of_seed) if others else None,
            final=final,
        )
        if final is not None:
            (ground.run.folder / final.folder).write_bytes("README.md", model_card(results).encode())
        tables = []
        if results.seeds is not None:
            log_summary(ground.run, results.seeds.each, results)
            tables = [f"{seeds_table(results.seeds)}\n\nseed {results.seed}"]
        finish(ground.run, results, *tables)
    return results


def _final_model(ground: Ground, trials: Sequence[Trial], outcome: Outcome) -> FinalModel:
    """Train on all data for the median of the folds' best epochs; of two middle ones the earlier.

    Args:
        trials: of the first seed, one per fold.
    """
    found = [outcome.results[trial.trial_id] for trial in trials]
    epochs = statistics.median_low(result.epoch for result in found)
    return train_final(ground, ground.run.points[0], found, epochs)


def _score_seeds(ground: Ground, of_seed: Mapping[int, Sequence[Trial]]) -> SeedsResult:
    """Scores of all seeds; leaves predictions-seed-<seed>.parquet and predictions-ensemble.parquet in the run."""
    manifest, folder = ground.manifest, ground.run.folder
    tables = {seed: pool_predictions(manifest, [t.predictions() for t in own]) for seed, own in of_seed.items()}
    together = ensemble(list(tables.values()), manifest.classes)
    for seed, table in tables.items():
        folder.write_table(f"predictions-seed-{seed}.parquet", table)
    folder.write_table("predictions-ensemble.parquet", together)
    return score_seeds(tables, together, manifest.classes)
