"""The end of a run: its results are added up, logged and reported."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import ray

from raysys.data.folds import Fold, published_partition
from raysys.data.manifest import Manifest
from raysys.data.scarce import scarce_classes
from raysys.errors import StorageError, UserError
from raysys.report.paper import PAPER
from raysys.report.parts import dialog_scores
from raysys.report.results import pool_predictions, provenance, summarise
from raysys.report.tables import SYNTHETIC, result_table
from raysys.results import PREDICTIONS, RunResult
from raysys.runs.cluster import in_submitted_job
from raysys.runs.run import CLAIM, Run
from raysys.runs.trial import Trial
from raysys.runs.tuner import Outcome
from raysys.storage import Folder
from raysys.tracking import DEFAULT_PROJECT, WandbTracker, wandb_folder


def add_up(
    run: Run, manifest: Manifest, folds: Sequence[Fold], chosen: Sequence[Trial], outcome: Outcome, **facts: Any
) -> RunResult:
    """Pool the predictions of the chosen trials, one per fold, and write the run's results.

    Args:
        manifest: of the utterances that decode.
        outcome: of all trials.
        facts: fields of `RunResult` that only the kind of run knows.
    """
    predictions = pool_predictions(manifest, [trial.predictions() for trial in chosen])
    found = [outcome.results[trial.trial_id] for trial in chosen]
    partition = published_partition(manifest, run.config.corpus, folds)
    results = summarise(
        manifest,
        [
            result.row(trial.place, scarce_classes(manifest, folds[trial.fold]))
            for trial, result in zip(chosen, found, strict=True)
        ],
        predictions,
        **{
            "protocol": "nested" if partition is None else partition.described,
            "partition": partition,
            "select": run.config.train.select,
            "modalities": run.config.corpus.resolved_modalities,
            "seed": found[0].seed,
            "parameters": max(result.parameters for result in found),
            "trained_parameters": max((n for r in found if (n := r.trained_parameters) is not None), default=None),
            "by_dialog": dialog_scores(manifest, folds, predictions),
            "made": provenance(run.folder, (result.gpu for result in outcome.results.values())),
            **facts,
            "seconds": seconds_of(run.folder, outcome, facts["seconds"]),
            "notes": (*run.notes, *outcome.notes(), *facts.get("notes", ())),
        },
    )
    run.folder.write_table(PREDICTIONS, predictions)
    results.write(run.folder)
    return results


def seconds_of(run: Folder, outcome: Outcome, seconds: float) -> float:
    """How long the results took: where some are from an earlier command that finished, as long as that said."""
    if outcome.n_trained < len(outcome.trials):
        # Results that are missing or damaged say nothing.
        with contextlib.suppress(StorageError):
            return RunResult.read(run).seconds
    return seconds


def finish(run: Run, results: RunResult, *tables: str) -> None:
    """Write the report and print the results, the given tables first."""
    print()
    for table in (*tables, result_table(results)):
        print(f"{table}\n")
    if run.config.corpus.name == "demo":
        print(f"{SYNTHETIC}\n")
    if notes := write_report(run.folder):
        dataclasses.replace(results, notes=(*results.notes, *notes)).write(run.folder)
    print(f"{results.seconds:.0f} s; {results_line(run.folder)}", flush=True)


def write_report(run: Folder) -> list[str]:
    """Write the report of a finished run. If that fails, the run notes it and stands: its results are stored.

    Returns: notes, which are printed too.

    Raises:
        StorageError: the folder cannot be written.
    """
    # The charts take seconds to import, which no start waits for.
    from raysys.report import page, paper_page

    write = paper_page.write_report if run.exists(PAPER) else page.write_report
    try:
        notes = write(run)
    except UserError:
        raise
    except Exception as error:
        notes = [
            f"the report could not be written ({type(error).__name__}: {error}). The results are complete; "
            f"`jobs/report.py {run.location}` writes the report again, or shows where it fails"
        ]
    for note in notes:
        print(f"note      {note}", flush=True)
    return notes


def results_line(run: Folder) -> str:
    """Where a run's results are; from a submitted job also how to fetch them."""
    line = f"results in {run.location}, to look at: report.html"
    if in_submitted_job() and run.is_local:
        line += f"; to fetch them: scp -r {ray.util.get_node_ip_address()}:{run.location} ."
    return line


def log_summary(run: Run, rows: Sequence[Any], results: RunResult) -> None:
    """Log one W&B run for a whole sweep: its table, and the scores of what was chosen, and of several seeds together.

    Args:
        rows: dataclasses, a row each; their plain values are columns.
    """
    config, folder = run.config, run.folder
    if not config.track.wandb:
        return
    name = folder.location.rsplit("/", 1)[-1]
    tracker = WandbTracker(
        project=config.track.project or DEFAULT_PROJECT,
        group=name,
        name=f"{name}, summary",
        run_id=hashlib.sha256(folder.read_bytes(CLAIM)).hexdigest()[:16],
        folder=wandb_folder(folder),
        config=dataclasses.asdict(config),
        job_type="summary",
    )
    found = [dataclasses.asdict(row).items() for row in rows]
    plain = [{key: value for key, value in row if not isinstance(value, list | tuple | dict)} for row in found]
    summary = dataclasses.asdict(results.pooled)
    if results.votes is not None:
        summary["votes"] = dataclasses.asdict(results.votes)
    if results.seeds is not None:
        summary["mean_over_seeds"] = dataclasses.asdict(results.seeds.mean)
        summary["ensemble"] = dataclasses.asdict(results.seeds.ensemble)
    tracker.table("points", plain, summary)
