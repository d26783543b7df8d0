"""Cross-validation: every fold is a trial; its results are those of all folds together."""

from __future__ import annotations

import time

from raysys.config import ExperimentConfig
from raysys.errors import TrainingError
from raysys.results import RunResult
from raysys.runs.claim import claimed
from raysys.runs.cluster import running
from raysys.runs.inputs import make_trials, prepare_run, print_header
from raysys.runs.points import Point
from raysys.runs.run import add_up, check, finish
from raysys.runs.tuner import run_trials


def crossval(config: ExperimentConfig) -> RunResult:
    """Run the cross-validation that a configuration describes.

    Leaves config.yaml, manifest.parquet, folds/, predictions.parquet, results.json and report.html in
    `<run.root>/<run.name>`. A run that was stopped is resumed with the same configuration: finished folds are kept,
    others continue from their last checkpoint.

    Returns: the content of results.json.

    Raises:
        UserError: anything that the user must fix, before any training where it can be known then.
    """
    started = time.monotonic()
    run = check(config, [Point(name="", config=config)], "crossval")
    with claimed(run):
        with running(config) as cluster:
            ground = prepare_run(run, cluster)
            trials = make_trials(ground, ground.run.points)
            print_header(ground, f"{len(trials)} folds")
            names = {fold.index: fold.name for fold in ground.folds}
            outcome = run_trials(trials, cluster, keep="all", by_epoch=names)
        if outcome.failed:
            lines = [f"{t.title}: {error}" for t in trials if (error := outcome.failed.get(t.trial_id))]
            raise TrainingError("\n".join(lines))
        results = add_up(
            ground.run,
            ground.manifest,
            ground.folds,
            trials,
            outcome,
            kind="crossval",
            seconds=round(time.monotonic() - started, 1),
            tsne={"with" if config.loss.contrasts else "without": trials[0].place},
        )
        finish(ground.run, results)
    return results
