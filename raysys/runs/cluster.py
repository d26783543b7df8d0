"""Join or start a Ray cluster, measure it, and check that its nodes see the corpus and the run folder."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raysys.config import ClusterConfig, ExperimentConfig
from raysys.errors import ConfigError, StorageError
from raysys.runs.join import join
from raysys.runs.local import start_local
from raysys.storage import Folder
from raysys.termination import handle, raise_terminated

_PROBE_S = 300.0
"""How long a node may take to start a process and read and write a few bytes."""
_REMEDY = (
    "Every node needs the corpus, recordings and the run folder under the same path; use shared storage for "
    "--corpus.root, --run.root and --run.cache, or an address such as s3://."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What there is to run on, and how many trials fit.

    Attributes:
        trials_at_once: how many fit on the nodes that are there now.
        trials_at_first: how many of them start together; the others follow, see `tuner.Queue`.
        may_grow: nodes may join: more trials than fit now are handed to Tune, so that an autoscaler sees what they ask
            for.
        idle_cpus: CPUs for preparing data before the first trial. A private cluster counts more CPUs than the machine
            has cores; there only the cores count, because every extra process costs seconds of imports.
    """

    cpus: int
    idle_cpus: int
    gpus: int
    nodes: int
    trials_at_once: int
    trials_at_first: int
    may_grow: bool
    gpus_per_worker: float


@contextlib.contextmanager
def running(config: ExperimentConfig) -> Iterator[Cluster]:
    """Join the cluster that the configuration or the environment names, or start a private one; leave it afterwards.

    Raises:
        ConfigError: the cluster is too small for one trial, and no node that joins it would change that.
    """
    try:
        yield _start(config)
    finally:
        ray.shutdown()


def in_submitted_job() -> bool:
    """True where this process is the entry point of `ray job submit`."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def usable_cores() -> int:
    """Cores that this process may use: by affinity (taskset, Slurm) and by its cgroup's quota (a container)."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):
        # No cgroup, or "max": no quota.
        return cores


def nodes_of_this_job() -> int:
    """Number of nodes of the cluster that a submitted job runs in."""
    ray.init(address="auto", log_to_driver=False, logging_level="warning")
    try:
        return sum(node["Alive"] for node in ray.nodes())
    finally:
        ray.shutdown()


def _start(config: ExperimentConfig) -> Cluster:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    # Tune's own handler would end its loop as if all trials were done; partial results must not look complete.
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")
    # It warns that tokens are on, which is intended.
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
    # Errors of trials and data tasks are reported once, at the end.
    for name in ("ray.tune", "ray.train._internal.syncer", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    address = config.cluster.address or os.environ.get("RAY_ADDRESS") or None
    if address is not None or in_submitted_job():
        join(address or "auto")
        handle(raise_terminated)
        return _measure(config, idle_cpus=None)
    cores = usable_cores()
    start_local(config.cluster, cores)
    # Ray takes SIGTERM for itself, with exit code 15.
    handle(raise_terminated)
    return _measure(config, idle_cpus=cores)


def _measure(config: ExperimentConfig, *, idle_cpus: int | None) -> Cluster:
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    sizes = [(int(node.get("CPU", 0)), int(node.get("GPU", 0))) for node in nodes]
    cpus, gpus = (sum(column) for column in zip(*sizes, strict=True))
    per_worker = config.cluster.gpus_per_worker
    if per_worker is None:
        per_worker = 1.0 if gpus else 0.0
    at_once = trials_at_once(config.cluster, sizes, per_worker)
    # Under TorchTrainer, trials do not ask Tune for what their workers need.
    may_grow = idle_cpus is None and config.cluster.workers_per_trial == 1
    if not (at_once or may_grow):
        raise _too_small(config.cluster, sizes, per_worker)
    trial_cores = config.cluster.workers_per_trial * config.cluster.cpus_per_worker
    return Cluster(
        cpus=cpus,
        idle_cpus=idle_cpus or cpus,
        gpus=gpus,
        nodes=len(nodes),
        trials_at_once=at_once,
        trials_at_first=at_once if idle_cpus is None else max(1, idle_cpus // trial_cores),
        may_grow=may_grow,
        gpus_per_worker=per_worker,
    )


def trials_at_once(settings: ClusterConfig, nodes: Sequence[tuple[int, int]], gpus_per_worker: float) -> int:
    """How many trials fit on a cluster. A worker and the CPUs for its data are on one node.

    Args:
        nodes: CPUs and GPUs of each.
    """

    def workers_on(cpus: int, gpus: int) -> int:
        by_cpus = cpus // settings.reserved_cpus
        return min(by_cpus, math.floor(gpus / gpus_per_worker)) if gpus_per_worker else by_cpus

    at_once = sum(workers_on(*node) for node in nodes) // settings.workers_per_trial
    return min(at_once, settings.max_concurrent_trials or at_once)


def _too_small(settings: ClusterConfig, nodes: Sequence[tuple[int, int]], gpus_per_worker: float) -> ConfigError:
    sizes = ", ".join(f"{cpus} CPUs and {gpus} GPUs" for cpus, gpus in sorted(set(nodes)))
    return ConfigError(
        f"A worker needs {settings.reserved_cpus} CPUs, including those for its data, and {gpus_per_worker:g} GPUs on "
        f"one node. A trial has {settings.workers_per_trial} workers, and the cluster has no room for that (nodes with "
        f"{sizes}). Lower --cluster.workers-per-trial, --cluster.cpus-per-worker, --cluster.gpus-per-worker or "
        f"--cluster.data-cpus-per-worker."
    )


def check_nodes(run: Folder, audio_paths: Sequence[str], remedy: str = _REMEDY) -> None:
    """Check that every node reads the corpus, and reads and writes the same run folder as the driver.

    Args:
        audio_paths: a file of the corpus, and of each folder of recordings.
        remedy: what every node needs, for the message.

    Raises:
        StorageError: naming the node and the path.
    """
    token = uuid.uuid4().hex
    run.write_bytes(".probe", token.encode())
    try:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        if len(nodes) == 1 and nodes[0]["NodeID"] == ray.get_runtime_context().get_node_id():
            problems = {"this node": probe_node(run.location, audio_paths, token)}
        else:
            problems = _probe_all(nodes, run.location, audio_paths, token)
    finally:
        run.delete(".probe")
    for name, problem in problems.items():
        if problem:
            raise StorageError(f"{name}: {problem}. {remedy}")


def _probe_all(nodes: list[dict[str, str]], run: str, audio_paths: Sequence[str], token: str) -> dict[str, str | None]:
    remote = ray.remote(num_cpus=0)(probe_node)
    asked = {
        f"node {node['NodeManagerAddress']} ({node['NodeID'][:8]})": remote.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(run, audio_paths, token)
        for node in nodes
    }
    _, silent = ray.wait(list(asked.values()), num_returns=len(asked), timeout=_PROBE_S)
    late = f"the corpus or the run folder did not respond there within {_PROBE_S:.0f} s"
    return {name: late if answer in silent else ray.get(answer) for name, answer in asked.items()}


def probe_node(run: str, audio_paths: Sequence[str], token: str) -> str | None:
    """What this process cannot do, or None."""
    try:
        for path in audio_paths:
            with open(path, "rb") as file:
                file.read(4)
    except OSError as error:
        return f"the audio cannot be read there ({error})"
    folder = Folder.at(run)
    try:
        if folder.read_bytes(".probe").decode() != token:
            return f"{run} is another folder there"
        name = f".probe-{uuid.uuid4().hex}"
        folder.write_bytes(name, b"")
        folder.delete(name)
    except (OSError, StorageError) as error:
        return f"the run folder cannot be read and written there ({error})"
    return None
