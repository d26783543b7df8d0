"""A run: what is trained and where, checked before a cluster starts; its folder, claimed while it is worked on."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from raysys.config import ExperimentConfig
from raysys.corpora.read import read_corpus
from raysys.data.duplicates import Duplicate, check_duplicates, equal_bytes
from raysys.data.folds import Fold, make_folds
from raysys.data.manifest import Manifest
from raysys.data.recordings import Recordings
from raysys.data.scarce import scarce_classes
from raysys.errors import ConfigError, StorageError, UserError
from raysys.report.paper import PAPER
from raysys.report.parts import dialog_scores
from raysys.report.results import pool_predictions, provenance, summarise
from raysys.report.tables import SYNTHETIC, result_table
from raysys.results import PREDICTIONS, RunResult
from raysys.runs.cluster import in_submitted_job, nodes_of_this_job
from raysys.runs.encoders import check_configurations, probe_encoders
from raysys.runs.places import check_place, recordings_of, with_absolute_folders
from raysys.runs.points import Point, refuse_long_queues, refuse_missing_votes
from raysys.runs.trial import FOLDS, Trial
from raysys.runs.tuner import Outcome
from raysys.storage import Folder, absolute, check_location, is_address
from raysys.tracking import DEFAULT_PROJECT, WandbTracker, check_names, wandb_folder

CONFIG = "config.yaml"
CLAIM = "run.json"
RUN_ROOT = "RAYSYS_RUN_ROOT"
"""Environment variable with the default of --run.root: storage that every node sees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run that may start: everything that can be checked without a cluster is in order.

    Attributes:
        config: what the points have in common, with absolute paths.
        points: what is trained, with absolute paths.
        learning_hash: of everything the points' results depend on, except the corpus.
        notes: for the user.
        recordings: in the folders that the points' augmented views read.
    """

    config: ExperimentConfig
    folder: Folder
    manifest: Manifest
    points: tuple[Point, ...]
    learning_hash: str
    notes: tuple[str, ...]
    recordings: tuple[Recordings, ...] = ()


def check(config: ExperimentConfig, points: Sequence[Point], kind: str) -> Run:
    """Read the corpus, make the folds, try the encoders. Writes nothing into the run's folder.

    Args:
        config: what the points have in common: corpus, cluster, run.
        points: what is to be trained.
        kind: of job; with the corpus and a hash of it and of the points it names a run that the user did not name.

    Raises:
        UserError: anything that the user must fix.
    """
    config = _with_project(with_places(config))
    points = tuple(dataclasses.replace(p, config=_at_the_places_of(config, p.config)) for p in points)
    learning_hash = hash_of_points(points)
    configs = [point.config for point in points]
    check_configurations(configs)
    recordings = recordings_of(configs)
    manifest = read_corpus(config.corpus, cache=local_cache(config))
    folds = make_folds(manifest, config.corpus)
    refuse_long_queues(points, folds)
    refuse_missing_votes(points, manifest, folds)
    notes = note_duplicates(config, manifest, folds, equal_bytes(manifest.utterances), "to the byte")
    notes += probe_encoders(configs, manifest)
    name = config.run.name or _default_name(kind, manifest, learning_hash)
    return Run(
        config=config,
        folder=Folder.at(str(config.run.root)) / name,
        manifest=manifest,
        points=points,
        learning_hash=learning_hash,
        notes=(*manifest.notes, *notes),
        recordings=recordings,
    )


def hash_of_points(points: Sequence[Point]) -> str:
    every = json.dumps([[p.name, p.config.learning_hash()] for p in points])
    return hashlib.sha256(every.encode()).hexdigest()[:16]


def _default_name(kind: str, manifest: Manifest, learning_hash: str) -> str:
    """Of a run and its folder: other contents of a corpus, or another table, are another run."""
    title = re.sub(r"\W+", "-", manifest.title).strip("-")[:40]
    everything = f"{learning_hash} {manifest.fingerprint()}"
    return "-".join(filter(None, [kind, title, hashlib.sha256(everything.encode()).hexdigest()[:8]]))


def note_duplicates(
    config: ExperimentConfig, manifest: Manifest, folds: Sequence[Fold], duplicates: Sequence[Duplicate], how: str
) -> tuple[str, ...]:
    """Notes on utterances with the same audio.

    Raises:
        ManifestError: one is in a fold's test part and another in what the fold learns from, and that is not allowed.
    """
    # A text-only model does not use the audio.
    allowed = config.corpus.allow_duplicates or config.corpus.resolved_modalities == "text"
    return check_duplicates(manifest, folds, duplicates, how, allowed=allowed)


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
    results = summarise(
        manifest,
        [
            result.row(trial.place, scarce_classes(manifest, folds[trial.fold]))
            for trial, result in zip(chosen, found, strict=True)
        ],
        predictions,
        **{
            "protocol": "nested",
            "select": run.config.train.select,
            "modalities": run.config.corpus.resolved_modalities,
            "seed": found[0].seed,
            "parameters": max(result.parameters for result in found),
            "trained_parameters": max((n for r in found if (n := r.trained_parameters) is not None), default=None),
            "by_dialog": dialog_scores(manifest, run.folder.read_json(FOLDS), predictions),
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


def with_places(config: ExperimentConfig) -> ExperimentConfig:
    """The configuration with absolute paths, as every process understands it and as config.yaml stores it.

    Raises:
        StorageError: a location is relative in a submitted job, whose working directory is a copy that is deleted with
            the job; it contains a password; or nothing says where a job on several nodes may store its run.
    """
    locations = {"--run.root": config.run.root, "--run.cache": config.run.cache, "--corpus.root": config.corpus.root}
    for flag, location in locations.items():
        check_place(flag, location)
    config = with_absolute_folders(config)
    root = absolute(config.run.root or default_root())
    cache = absolute(config.run.cache) if config.run.cache else f"{root}/.cache"
    corpus_root = None if config.corpus.root is None else absolute(config.corpus.root)
    return dataclasses.replace(
        config,
        run=dataclasses.replace(config.run, root=root, cache=cache),
        corpus=dataclasses.replace(config.corpus, root=corpus_root),
    )


def default_root() -> str:
    """The folder of all runs if --run.root is not given.

    $RAYSYS_RUN_ROOT; otherwise `runs` in the working directory, or `~/raysys/runs` in a job submitted to a cluster of
    one node.

    Raises:
        StorageError: the variable holds a relative path in a submitted job, or the job's cluster has several nodes and
            the variable is not set.
    """
    given = os.environ.get(RUN_ROOT)
    if given:
        check_location(given)
        if in_submitted_job() and not is_address(given) and not os.path.isabs(given):
            raise StorageError(f"{RUN_ROOT}={given}: expected an absolute path that every node sees, or an address.")
        return given
    if not in_submitted_job():
        return "runs"
    nodes = nodes_of_this_job()
    if nodes > 1:
        raise StorageError(
            f"This cluster has {nodes} nodes, and no shared storage is configured. Give --run.root an absolute "
            f"path that every node sees, or an address such as s3://bucket/runs; or set {RUN_ROOT} to it where the "
            f"head is started."
        )
    return str(Path.home() / "raysys" / "runs")


def local_cache(config: ExperimentConfig) -> Path:
    """Where the demo corpus is created: it is read as files, so this must be a disk."""
    cache = str(config.run.cache)
    if is_address(cache) and config.corpus.name == "demo":
        raise ConfigError(f"--run.cache {cache}: the demo corpus is read as files; give --run.cache a folder.")
    return Path(cache)


def _with_project(config: ExperimentConfig) -> ExperimentConfig:
    """The configuration with W&B's project: workers on other nodes do not have the driver's environment.

    Raises:
        ConfigError: W&B would refuse it.
    """
    project = config.track.project or os.environ.get("WANDB_PROJECT") or DEFAULT_PROJECT
    if config.track.wandb:
        check_names(project)
    return dataclasses.replace(config, track=dataclasses.replace(config.track, project=project))


def _at_the_places_of(config: ExperimentConfig, point: ExperimentConfig) -> ExperimentConfig:
    corpus = dataclasses.replace(point.corpus, root=config.corpus.root)
    return dataclasses.replace(with_absolute_folders(point), run=config.run, corpus=corpus, track=config.track)
