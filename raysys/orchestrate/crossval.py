"""Cross-validation: plan and check on the driver, run the folds as Tune trials, add up."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from ray import tune

from raysys.cli import to_yaml
from raysys.config import ExperimentConfig
from raysys.corpora.read import read_corpus
from raysys.data.folds import make_folds
from raysys.data.manifest import Manifest, Skipped
from raysys.data.precompute import decode_corpus, make_views
from raysys.data.views import Source
from raysys.errors import ConfigError, ManifestError
from raysys.model.encoders import check_encoders, check_padding
from raysys.model.parts import parts_of
from raysys.orchestrate import session
from raysys.orchestrate.progress import Progress
from raysys.orchestrate.task import PREDICTIONS, RESULT, FoldTask, write_plan
from raysys.orchestrate.texts import make_texts
from raysys.orchestrate.trial import MAX_FAILURES, run_trial
from raysys.report.results import pool_predictions, summarise
from raysys.report.tables import SYNTHETIC, corpus_lines, result_table
from raysys.storage import Folder, absolute, is_address
from raysys.training.loop import TrainingError

CONFIG = "config.yaml"
RESULTS = "results.json"
CLAIM = "run.json"


def crossval(config: ExperimentConfig) -> dict[str, Any]:
    """Run the cross-validation that a configuration describes.

    Leaves config.yaml, manifest.parquet, folds/, predictions.parquet and results.json in `<run.root>/<run.name>`.
    A run that was stopped goes on with the same configuration: finished folds are kept, others resume.

    Returns: the content of results.json.

    Raises:
        UserError: anything that the user must mend, before any training where it can be known then.
    """
    started = time.monotonic()
    session.refuse_relative_paths(config)
    config = _with_absolute_paths(config)
    run = Folder.at(config.run.root) / config.run_name
    check_encoders(config.model, masked_lm=config.masked_lm if config.rewrites_text else "light")
    note = check_padding(config.model)
    manifest = read_corpus(config.corpus, cache=_local_cache(config))
    make_folds(manifest, config.corpus)
    _claim(run, config, manifest)
    cluster = session.start(config)
    try:
        manifest, tasks = prepare(config, manifest, run, cluster)
        open_tasks = [task for task in tasks if not task.finished()]
        _print_header(config, manifest, len(tasks), cluster, run)
        if note is not None:
            print(f"note      {note}")
        if len(open_tasks) < len(tasks):
            kept = len(tasks) - len(open_tasks)
            print(f"kept      {kept} folds that are finished already (another --run.name trains anew)")
        run_folds(open_tasks, cluster)
    finally:
        ray.shutdown()
    return _add_up(config, manifest, tasks, run, notes=[note] if note else [], seconds=time.monotonic() - started)


def prepare(
    config: ExperimentConfig, manifest: Manifest, run: Folder, cluster: session.Cluster
) -> tuple[Manifest, list[FoldTask]]:
    """Check the nodes, decode the corpus, cut the folds, and put what the trials read into the run's folder.

    Returns: the manifest without the utterances that were left out, and a task a fold.

    Raises:
        UserError: a node that does not see the data, audio that does not decode, too few speakers for nested folds.
    """
    session.check_nodes(run, manifest.utterances[0].audio_path)
    store, errors = decode_corpus(manifest, str(config.run.cache), cpus=cluster.idle_cpus)
    manifest = _without_undecodable(manifest, errors, config)
    folds = make_folds(manifest, config.corpus)
    write_plan(run, manifest, folds)
    source = _source(config, manifest, store, cluster)
    texts = make_texts(config, manifest, folds, cluster)
    fingerprint = manifest.fingerprint()
    return manifest, [
        FoldTask(
            config=config,
            run=run.location,
            source=source,
            fold=fold.index,
            fingerprint=fingerprint,
            texts=texts[fold.index],
        )
        for fold in folds
    ]


def _source(config: ExperimentConfig, manifest: Manifest, store: str, cluster: session.Cluster) -> Source:
    """Where the trials' waveforms come from; variants of the augmented view are made here, once for all."""
    source = Source(
        store=store,
        augment=config.augment if config.needs_augmented_view else None,
        crop_s=config.train.crop_s,
        seed=config.train.seed,
    )
    heard = config.corpus.resolved_modalities != "text"
    if not (heard and source.variants and config.augment.changes_audio):
        return source
    return dataclasses.replace(
        source, views=make_views(manifest, source, str(config.run.cache), cpus=cluster.idle_cpus)
    )


def _with_absolute_paths(config: ExperimentConfig) -> ExperimentConfig:
    root = absolute(config.run.root)
    cache = absolute(config.run.cache) if config.run.cache else f"{root}/.cache"
    corpus_root = None if config.corpus.root is None else absolute(config.corpus.root)
    return dataclasses.replace(
        config,
        run=dataclasses.replace(config.run, root=root, cache=cache),
        corpus=dataclasses.replace(config.corpus, root=corpus_root),
    )


def _local_cache(config: ExperimentConfig) -> Path:
    """Where the demo corpus is made: it is read as files, so its place is a disk."""
    cache = str(config.run.cache)
    if is_address(cache) and config.corpus.name == "demo":
        raise ConfigError(f"--run.cache {cache}: the demo corpus is read as files; give --run.cache a folder.")
    return Path(cache)


def _claim(run: Folder, config: ExperimentConfig, manifest: Manifest) -> None:
    """Write config.yaml; a folder that holds a run of another configuration or corpus is refused."""
    mine = {"learning_hash": config.learning_hash(), "fingerprint": manifest.fingerprint()}
    if run.exists(CLAIM) and run.read_json(CLAIM) != mine:
        raise ConfigError(
            f"{run.location}: this folder holds a run of another configuration or corpus (see its {CONFIG}). "
            f"Choose another --run.name, or remove the folder."
        )
    run.write_json(CLAIM, mine)
    run.write_bytes(CONFIG, to_yaml(config).encode())


def _without_undecodable(manifest: Manifest, errors: dict[str, str], config: ExperimentConfig) -> Manifest:
    if not errors:
        return manifest
    broken = [u for u in manifest.utterances if u.utterance_id in errors]
    if config.corpus.on_error == "fail" or len(broken) > len(manifest.utterances) / 10:
        shown = "\n".join(f"  {u.audio_path} {errors[u.utterance_id]}" for u in broken[:5])
        raise ManifestError(
            f"{len(broken)} of {len(manifest.utterances)} utterances cannot be used:\n{shown}\n"
            f"Mend or remove these files; a few among many are left out by --corpus.on-error skip."
        )
    skipped = tuple(
        Skipped(utterance_id=u.utterance_id, audio_path=u.audio_path, reason=errors[u.utterance_id]) for u in broken
    )
    kept = tuple(u for u in manifest.utterances if u.utterance_id not in errors)
    return dataclasses.replace(manifest, utterances=kept, skipped=manifest.skipped + skipped)


def _print_header(
    config: ExperimentConfig, manifest: Manifest, n_folds: int, cluster: session.Cluster, run: Folder
) -> None:
    print(corpus_lines(manifest))
    if config.corpus.name == "demo":
        print(SYNTHETIC)
    settings = config.cluster
    print(
        f"model     {config.model.audio} + {config.model.text}, "
        f"modalities: {config.corpus.resolved_modalities}\n"
        f"folds     {n_folds}, {cluster.trials_at_once} at once with {settings.workers_per_trial} worker(s) each, on "
        f"{cluster.nodes} node(s) with {cluster.cpus} CPUs and {cluster.gpus} GPUs\n"
        f"run       {run.location}",
        flush=True,
    )


def run_folds(open_tasks: Sequence[FoldTask], cluster: session.Cluster) -> None:
    """Train folds as Tune trials, as many at once as the cluster carries.

    Raises:
        TrainingError: naming the folds that failed.
    """
    if not open_tasks:
        return
    config = open_tasks[0].config
    by_fold = {task.fold: task for task in open_tasks}
    in_process = config.cluster.workers_per_trial == 1 and not config.cluster.torch_trainer
    # Under TorchTrainer the trial only drives (Tune wants it to ask for something): its workers take their own.
    resources: dict[str, float] = {"cpu": config.cluster.cpus_per_worker if in_process else 0.01}
    if in_process and cluster.gpus_per_worker:
        resources["gpu"] = cluster.gpus_per_worker
    gpus = cluster.gpus_per_worker

    def trial(params: dict[str, Any]) -> None:
        run_trial(by_fold[params["fold"]], gpus)

    storage = Folder.at(open_tasks[0].run) / "tune"
    tuner = tune.Tuner(
        tune.with_resources(trial, resources),
        param_space={"fold": tune.grid_search(sorted(by_fold))},
        tune_config=tune.TuneConfig(
            metric="validation_ua",
            mode="max",
            max_concurrent_trials=cluster.trials_at_once,
            reuse_actors=in_process,
        ),
        run_config=tune.RunConfig(
            name=f"{int(time.time())}",
            storage_path=storage.path,
            storage_filesystem=None if storage.is_local else storage.filesystem,
            failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
            callbacks=[Progress(len(open_tasks), config.train.epochs, sys.stdout)],
            verbose=0,
        ),
    )
    # Tune prints a box and its own folder even so; what a user wants to see is the callback's lines.
    with contextlib.redirect_stdout(io.StringIO()):
        results = tuner.fit()
    _raise_failures(results)


def _raise_failures(results: tune.ResultGrid) -> None:
    failed: list[str] = []
    for result in results:
        fold = (result.config or {})["fold"] + 1
        if result.error is not None:
            failed.append(f"fold {fold}: {result.error}")
        elif "error" in (result.metrics or {}):
            failed.append(f"fold {fold}: {(result.metrics or {})['error']}")
    if failed:
        raise TrainingError("\n".join(failed))


def _add_up(
    config: ExperimentConfig,
    manifest: Manifest,
    tasks: Sequence[FoldTask],
    run: Folder,
    *,
    notes: Sequence[str],
    seconds: float,
) -> dict[str, Any]:
    folds = [task.folder.read_json(RESULT) for task in tasks]
    predictions = pool_predictions(manifest, [t.folder.read_table(PREDICTIONS) for t in tasks])
    modalities = config.corpus.resolved_modalities
    results = summarise(
        manifest,
        folds,
        predictions,
        protocol="nested",
        modalities=modalities,
        seed=config.train.seed,
        parameters=sum(parts_of(config.model, len(manifest.classes), modalities, config.loss).values()),
        notes=notes,
        seconds=round(seconds, 1),
    )
    run.write_table(PREDICTIONS, predictions)
    run.write_json(RESULTS, results)
    print()
    print(result_table(results))
    if config.corpus.name == "demo":
        print(f"\n{SYNTHETIC}")
    print(f"\n{seconds:.0f} s; results in {run.location}", flush=True)
    return results
