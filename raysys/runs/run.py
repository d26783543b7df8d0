"""A run: what is trained and where, checked before a cluster starts; its folder, claimed while it is worked on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from raysys.config import ExperimentConfig
from raysys.corpora.read import read_corpus
from raysys.data.duplicates import Duplicate, check_duplicates, equal_bytes
from raysys.data.folds import Fold, make_folds
from raysys.data.manifest import Manifest
from raysys.data.recordings import Recordings
from raysys.errors import ConfigError, StorageError
from raysys.runs.cluster import in_submitted_job, nodes_of_this_job
from raysys.runs.encoders import check_configurations, probe_encoders
from raysys.runs.places import check_place, recordings_of, with_absolute_folders
from raysys.runs.points import Point, refuse_long_queues, refuse_missing_votes
from raysys.storage import Folder, absolute, check_location, is_address
from raysys.tracking import DEFAULT_PROJECT, check_names

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


def with_places(config: ExperimentConfig) -> ExperimentConfig:
    """The configuration with absolute paths, as every process understands it and as config.yaml stores it.

    Raises:
        StorageError: a location is relative in a submitted job, whose working directory is a copy that is deleted with
            the job; it contains a password; or nothing says where a job on several nodes may store its run.
    """
    locations = {"--run.root": config.run.root, "--run.cache": config.run.cache, "--corpus.root": config.corpus.root}
    locations["--corpus.audio-root"] = config.corpus.audio_root
    for flag, location in locations.items():
        check_place(flag, location)
    config = with_absolute_folders(config)
    root = absolute(config.run.root or default_root())
    cache = absolute(config.run.cache) if config.run.cache else f"{root}/.cache"
    corpus = config.corpus
    return dataclasses.replace(
        config,
        run=dataclasses.replace(config.run, root=root, cache=cache),
        corpus=dataclasses.replace(
            corpus,
            root=None if corpus.root is None else absolute(corpus.root),
            audio_root=None if corpus.audio_root is None else absolute(corpus.audio_root),
        ),
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


def local_cache(config: ExperimentConfig) -> str:
    """Location of the cache. The demo corpus is created there and read as files: for it, this must be a disk."""
    cache = str(config.run.cache)
    if is_address(cache) and config.corpus.name == "demo":
        raise ConfigError(f"--run.cache {cache}: the demo corpus is read as files; give --run.cache a folder.")
    return cache


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
    corpus = dataclasses.replace(point.corpus, root=config.corpus.root, audio_root=config.corpus.audio_root)
    return dataclasses.replace(with_absolute_folders(point), run=config.run, corpus=corpus, track=config.track)
