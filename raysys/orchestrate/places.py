"""Where a run keeps what it makes: the defaults, absolute paths, and how to fetch the results of a submitted job."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import ray

from raysys.config import ExperimentConfig
from raysys.errors import StorageError, UserError
from raysys.storage import Folder, absolute, check_location, is_address

RUN_ROOT = "RAYSYS_RUN_ROOT"
"""Environment variable with the default of --run.root: storage that every node sees."""


def in_submitted_job() -> bool:
    """True where this process is the entry point of `ray job submit`."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def with_places(config: ExperimentConfig) -> ExperimentConfig:
    """The configuration with absolute paths, as every process understands it and as config.yaml keeps it.

    Raises:
        StorageError: a location is relative in a submitted job, whose working directory is a copy that is deleted with
            the job; it holds a password; or nothing says where a job on several nodes may keep its run.
    """
    _refuse_relative_paths(config)
    for location in (config.run.root, config.run.cache, config.corpus.root):
        check_location(location or "")
    root = absolute(config.run.root or default_root())
    cache = absolute(config.run.cache) if config.run.cache else f"{root}/.cache"
    corpus_root = None if config.corpus.root is None else absolute(config.corpus.root)
    return dataclasses.replace(
        config,
        run=dataclasses.replace(config.run, root=root, cache=cache),
        corpus=dataclasses.replace(config.corpus, root=corpus_root),
    )


def default_root() -> str:
    """The folder of all runs where --run.root is not given.

    $RAYSYS_RUN_ROOT; else `runs` in the working directory, or `~/raysys/runs` in a job submitted to a cluster of one
    node.

    Raises:
        StorageError: the variable holds a relative path in a submitted job, or the job's cluster has several nodes and
            no variable.
    """
    given = os.environ.get(RUN_ROOT)
    if given:
        check_location(given)
        if in_submitted_job() and not is_address(given) and not os.path.isabs(given):
            raise StorageError(f"{RUN_ROOT}={given}: expected an absolute path that every node sees, or an address.")
        return given
    if not in_submitted_job():
        return "runs"
    nodes = _nodes()
    if nodes > 1:
        raise StorageError(
            f"This cluster has {nodes} nodes, and no shared storage is configured. Give --run.root an absolute "
            f"path that every node sees, or an address such as s3://bucket/runs; or set {RUN_ROOT} to it where the "
            f"head is started."
        )
    return str(Path.home() / "raysys" / "runs")


def report(run: Folder) -> None:
    """Write the report of a finished run. Where a figure fails, the run says so and stands: its results are stored.

    Raises:
        StorageError: the folder cannot be written.
    """
    # Its charts take seconds to import, which no start waits for.
    from raysys.report.page import write_report

    try:
        write_report(run)
    except UserError:
        raise
    except Exception as error:
        print(
            f"note      the report could not be written ({type(error).__name__}: {error}). The results are complete; "
            f"`jobs/report.py {run.location}` writes the report again, or shows where it fails",
            flush=True,
        )


def results_line(run: Folder) -> str:
    """Where a run's results are; from a submitted job also how to fetch them."""
    line = f"results in {run.location}, to look at: report.html"
    if in_submitted_job() and run.is_local:
        address = ray.util.get_node_ip_address()
        line += f"; to fetch them: scp -r {address}:{run.location} ."
    return line


def _refuse_relative_paths(config: ExperimentConfig) -> None:
    if not in_submitted_job():
        return
    locations = {"--run.root": config.run.root, "--run.cache": config.run.cache, "--corpus.root": config.corpus.root}
    for flag, location in locations.items():
        if location is not None and not is_address(location) and not os.path.isabs(location):
            raise StorageError(
                f"{flag} {location}: a relative path inside a submitted job is lost with the job's copy of the "
                f"working directory. Give an absolute path on storage that every node sees, or an address such "
                f"as s3://bucket/runs."
            )


def _nodes() -> int:
    """Nodes of the cluster that this job runs in."""
    ray.init(address="auto", log_to_driver=False, logging_level="warning")
    try:
        return sum(node["Alive"] for node in ray.nodes())
    finally:
        ray.shutdown()
