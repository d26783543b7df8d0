"""Joining or starting a Ray cluster, and checking that its nodes see what they need. The one ray.init."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import os
import secrets
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import ray
from ray._private import ray_constants, services
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raysys.allocator import ENVIRONMENT
from raysys.config import ClusterConfig, ExperimentConfig
from raysys.errors import ConfigError, StorageError
from raysys.orchestrate.places import in_submitted_job
from raysys.storage import Folder
from raysys.termination import handle, raise_terminated

_OBJECT_STORE_BYTES = 2 * 1024**3
_NO_IDLE_PROCESSES = {"RAY_prestart_worker_first_driver": "0", "RAY_enable_worker_prestart": "0"}
"""Ray would start a process for every CPU at once, of which most stay idle: their imports delay those that train."""
_PROBE_S = 300.0
"""How long a node may take to read and write a few bytes, the start of a process there included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What there is to run on, and how a trial is cut from it.

    Attributes:
        idle_cpus: CPUs for what is made before the first trial. Not all on a cluster of our own, which counts more
            CPUs than there are cores: each process more costs seconds of imports.
    """

    cpus: int
    idle_cpus: int
    gpus: int
    nodes: int
    trials_at_once: int
    gpus_per_worker: float


@contextlib.contextmanager
def running(config: ExperimentConfig) -> Iterator[Cluster]:
    """`start`, and leave the cluster afterwards, which ends one that was started."""
    cluster = start(config)
    try:
        yield cluster
    finally:
        ray.shutdown()


def start(config: ExperimentConfig) -> Cluster:
    """Join the cluster that the configuration or the environment names, else start one on this machine.

    Raises:
        ConfigError: the cluster is too small for one trial.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    # Ctrl-C is ours: Tune would end its loop as if all were done, and what is there would be taken for the whole.
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")
    # It warns of what is meant: tokens are on.
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
    # What ends a trial or a task of the data is reported at the end, once.
    for name in ("ray.tune", "ray.train._internal.syncer", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    address = config.cluster.address or os.environ.get("RAY_ADDRESS")
    if address is not None or in_submitted_job():
        ray.init(address=address or "auto", log_to_driver=False, logging_level="warning")
        handle(raise_terminated)
        return _measure(config, idle_cpus=None)
    for name, value in {**ENVIRONMENT, **_NO_IDLE_PROCESSES}.items():
        os.environ.setdefault(name, value)
    cores = os.cpu_count() or 1
    workers = config.cluster.workers_per_trial
    trial_cores = workers * config.cluster.cpus_per_worker
    # One more than there are cores for: else the last fold of five trains alone on one of two. Not so of groups, whose
    # workers wait for each other.
    trials = max(1, cores // trial_cores) + (1 if workers == 1 else 0)
    _keep_token_to_oneself()
    with _on_the_loopback(), _in_groups_of_their_own():
        ray.init(
            address="local",
            # Tasks that augment are short: they share the cores with the trials.
            num_cpus=trials * workers * config.cluster.reserved_cpus,
            object_store_memory=_OBJECT_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="warning",
        )
    # Ray takes SIGTERM for itself, with exit code 15.
    handle(raise_terminated)
    return _measure(config, idle_cpus=cores)


@contextlib.contextmanager
def _in_groups_of_their_own() -> Iterator[None]:
    """Start Ray's processes where no signal reaches them that is meant for the job.

    `timeout`, for one, sends SIGTERM to a process group. Without the cluster's head no trial could keep its state,
    and the driver would wait a minute for it. They end with the driver however it ends: Ray has the kernel see to it.
    """
    popen = services.ConsolePopen
    services.ConsolePopen = functools.partial(popen, process_group=0)
    try:
        yield
    finally:
        services.ConsolePopen = popen


@contextlib.contextmanager
def _on_the_loopback() -> Iterator[None]:
    """Start a node that nobody on the network can knock at, and that needs no network.

    Ray gives a node the machine's outer address, even if it is told the loopback's; by this switch, of its own for
    systems where it supports one machine only, it does not. The driver reads it as a constant, the processes that it
    starts in their environment; a cluster that is joined later must not see it.
    """
    name, several_machines = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, ray_constants.ENABLE_RAY_CLUSTER
    before = os.environ.get(name)
    ray_constants.ENABLE_RAY_CLUSTER, os.environ[name] = False, "0"
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = several_machines
        del os.environ[name]
        os.environ |= {} if before is None else {name: before}


def _keep_token_to_oneself() -> None:
    """Make the file of Ray's token before Ray does, which would let everyone read it.

    It is there whole or not at all: another run may begin at the same moment, and this one may end at any.

    Raises:
        StorageError: it cannot be made.
    """
    if "RAY_AUTH_TOKEN" in os.environ or os.environ.get("RAY_AUTH_MODE", "token") != "token":
        return
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", Path.home() / ".ray" / "auth_token"))
    mine = token.with_name(f".{token.name}.{uuid.uuid4().hex}")
    try:
        if _has_token(token):
            return
        token.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_hex(32))
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(OSError):
                token.hardlink_to(mine)
            # Not so where an empty one is in the way, with which Ray would not start, or where there are no links.
            if not _has_token(token):
                mine.replace(token)
        finally:
            mine.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"{token}: the file of Ray's token cannot be made ({error}). Set RAY_AUTH_TOKEN_PATH to a file in a folder "
            f"of your own that can be written, or HOME to such a folder."
        ) from error


def _has_token(file: Path) -> bool:
    """True where one is there: of a run before, or of one that began a moment ago. Then it is nobody else's to read."""
    if not file.exists() or not file.read_text().strip():
        return False
    if file.stat().st_mode & 0o077:
        file.chmod(0o600)
    return True


def _measure(config: ExperimentConfig, *, idle_cpus: int | None) -> Cluster:
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    sizes = [(int(node.get("CPU", 0)), int(node.get("GPU", 0))) for node in nodes]
    cpus, gpus = (sum(column) for column in zip(*sizes, strict=True))
    per_worker = config.cluster.gpus_per_worker
    if per_worker is None:
        per_worker = 1.0 if gpus else 0.0
    return Cluster(
        cpus=cpus,
        idle_cpus=idle_cpus or cpus,
        gpus=gpus,
        nodes=len(nodes),
        trials_at_once=trials_at_once(config.cluster, sizes, per_worker),
        gpus_per_worker=per_worker,
    )


def trials_at_once(settings: ClusterConfig, nodes: Sequence[tuple[int, int]], gpus_per_worker: float) -> int:
    """How many trials a cluster carries. A worker, with the CPUs of its data, is on one node.

    Args:
        nodes: CPUs and GPUs of each.

    Raises:
        ConfigError: not one.
    """

    def workers_on(cpus: int, gpus: int) -> int:
        by_cpus = cpus // settings.reserved_cpus
        return min(by_cpus, math.floor(gpus / gpus_per_worker)) if gpus_per_worker else by_cpus

    workers = sum(workers_on(*node) for node in nodes)
    at_once = workers // settings.workers_per_trial
    if at_once < 1:
        sizes = ", ".join(f"{cpus} CPUs and {gpus} GPUs" for cpus, gpus in sorted(set(nodes)))
        raise ConfigError(
            f"A worker needs {settings.reserved_cpus} CPUs, those for its data among them, and {gpus_per_worker:g} "
            f"GPUs of one node; a trial has {settings.workers_per_trial} of them, and the cluster room for {workers} "
            f"(nodes with {sizes}). Lower --cluster.workers-per-trial, --cluster.cpus-per-worker, "
            f"--cluster.gpus-per-worker or --cluster.data-cpus-per-worker."
        )
    return min(at_once, settings.max_concurrent_trials or at_once)


def check_nodes(run: Folder, audio_path: str) -> None:
    """Every node must read the corpus, and read and write the very run folder that the driver writes.

    Raises:
        StorageError: naming the node and the path.
    """
    token = uuid.uuid4().hex
    run.write_bytes(".probe", token.encode())
    try:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        if len(nodes) == 1 and nodes[0]["NodeID"] == ray.get_runtime_context().get_node_id():
            problems = {"this node": probe_node(run.location, audio_path, token)}
        else:
            problems = _probe_all(nodes, run.location, audio_path, token)
    finally:
        run.delete(".probe")
    for name, problem in problems.items():
        if problem:
            raise StorageError(
                f"{name}: {problem}. Every node needs the corpus and the run folder under the same path; "
                f"use shared storage for --corpus.root, --run.root and --run.cache, or an address such as s3://."
            )


def _probe_all(nodes: list[dict[str, str]], run: str, audio_path: str, token: str) -> dict[str, str | None]:
    remote = ray.remote(num_cpus=0)(probe_node)
    asked = {
        f"node {node['NodeManagerAddress']} ({node['NodeID'][:8]})": remote.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(run, audio_path, token)
        for node in nodes
    }
    _, silent = ray.wait(list(asked.values()), num_returns=len(asked), timeout=_PROBE_S)
    late = f"the corpus or the run folder does not answer there ({_PROBE_S:.0f} s)"
    return {name: late if answer in silent else ray.get(answer) for name, answer in asked.items()}


def probe_node(run: str, audio_path: str, token: str) -> str | None:
    """What this process cannot do, or None."""
    try:
        with open(audio_path, "rb") as file:
            file.read(4)
    except OSError as error:
        return f"the corpus cannot be read there ({error})"
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
