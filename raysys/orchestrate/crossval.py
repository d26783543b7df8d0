"""Cross-validation: plan and check on the driver, run the folds as Tune trials, add up."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from raysys.config import ExperimentConfig
from raysys.data.manifest import Manifest
from raysys.errors import TrainingError
from raysys.orchestrate import session
from raysys.orchestrate.groundwork import Checked, Point, check, claimed, lay, make_tasks
from raysys.orchestrate.places import report, results_line
from raysys.orchestrate.progress import Progress
from raysys.orchestrate.result import RESULT, FoldResult
from raysys.orchestrate.task import PREDICTIONS, FoldTask
from raysys.orchestrate.trials import run_trials
from raysys.report.provenance import provenance
from raysys.report.results import pool_predictions, summarise
from raysys.report.tables import SYNTHETIC, corpus_lines, result_table
from raysys.training import checkpoint_files

RESULTS = "results.json"


def crossval(config: ExperimentConfig) -> dict[str, Any]:
    """Run the cross-validation that a configuration describes.

    Leaves config.yaml, manifest.parquet, folds/, predictions.parquet, results.json and report.html in
    `<run.root>/<run.name>`. A run that was stopped goes on with the same configuration: finished folds are kept,
    others resume.

    Returns: the content of results.json.

    Raises:
        UserError: anything that the user must fix, before any training where it can be known then.
    """
    started = time.monotonic()
    checked = check(config, [Point(name="", config=config)], "crossval")
    with claimed(checked):
        with session.running(config) as cluster:
            ground = lay(checked, cluster)
            checked = ground.checked
            tasks = make_tasks(ground, checked.points)
            print_header(checked, ground.manifest, f"{len(tasks)} folds", cluster)
            run_folds(_open(tasks), cluster, {fold.index: fold.name for fold in ground.folds})
        return _add_up(checked, ground.manifest, tasks, seconds=time.monotonic() - started)


def print_header(checked: Checked, manifest: Manifest, trials: str, cluster: session.Cluster) -> None:
    """Print what is about to run, on what, and where its results will be."""
    config = checked.config
    print(corpus_lines(manifest))
    if config.corpus.name == "demo":
        print(SYNTHETIC)
    print(
        f"model     {config.model.audio} + {config.model.text}, "
        f"modalities: {config.corpus.resolved_modalities}\n"
        f"trials    {trials}; at once: {cluster.trials_at_once}, workers of each: {config.cluster.workers_per_trial}\n"
        f"cluster   nodes: {cluster.nodes}, CPUs: {cluster.cpus}, GPUs: {cluster.gpus}\n"
        f"run       {checked.run.location}",
        flush=True,
    )
    for note in checked.notes:
        print(f"note      {note}")


def _open(tasks: Sequence[FoldTask]) -> list[FoldTask]:
    """The unfinished folds. Prints which are kept, and which are trained again and why."""
    open_tasks = [task for task in tasks if not task.finished()]
    for task in tasks:
        if task not in open_tasks:
            # A process that was killed right after its result was written left them.
            checkpoint_files.delete_states(task.folder)
        elif task.folder.exists(RESULT):
            print(f"note      fold {task.fold + 1}: its result was made by other code; it is trained again")
    if kept := len(tasks) - len(open_tasks):
        print(f"kept      {kept} folds that are finished already (another --run.name trains them again)")
    return open_tasks


def run_folds(
    open_tasks: Sequence[FoldTask], cluster: session.Cluster, names: Mapping[int, str] = MappingProxyType({})
) -> None:
    """Train folds, a line an epoch.

    Args:
        names: of the folds by their index, for these lines; without one a fold is named by its number.

    Raises:
        TrainingError: naming the folds that failed.
    """
    if not open_tasks:
        return
    progress = Progress(len(open_tasks), open_tasks[0].config.train.epochs, sys.stdout, names)
    failed = run_trials(open_tasks, cluster, [progress])
    if failed:
        named = {task.trial_id: task.fold + 1 for task in open_tasks}
        raise TrainingError("\n".join(f"fold {named[trial]}: {error}" for trial, error in failed.items()))


def _add_up(checked: Checked, manifest: Manifest, tasks: Sequence[FoldTask], *, seconds: float) -> dict[str, Any]:
    config, run = checked.config, checked.run
    predictions = pool_predictions(manifest, [t.folder.read_table(PREDICTIONS) for t in tasks])
    found = [_result_of(task) for task in tasks]
    modalities = config.corpus.resolved_modalities
    results = summarise(
        manifest,
        [result.row(task.place) for task, result in zip(tasks, found, strict=True)],
        predictions,
        kind="crossval",
        protocol="nested",
        modalities=modalities,
        seed=config.train.seed,
        # The folds' vocabularies differ.
        parameters=max(result.parameters for result in found),
        made=provenance(run, RESULTS, (result.gpu for result in found)),
        notes=[*checked.notes, *(f"fold {result.fold}: {note}" for result in found for note in result.notes)],
        seconds=round(seconds, 1),
        tsne={"with" if config.loss.contrasts else "without": tasks[0].place},
    )
    run.write_table(PREDICTIONS, predictions)
    run.write_json(RESULTS, results)
    print()
    print(result_table(results))
    if config.corpus.name == "demo":
        print(f"\n{SYNTHETIC}")
    report(run)
    print(f"\n{seconds:.0f} s; {results_line(run)}", flush=True)
    return results


def _result_of(task: FoldTask) -> FoldResult:
    result = task.result()
    assert result is not None, f"trial {task.trial_id} is not finished"
    return result
