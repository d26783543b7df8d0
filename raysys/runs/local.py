"""A private Ray cluster on this machine: for its user only, without services that one machine does not need."""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
from ray._private import node, ray_constants, services

from raysys.allocator import ENVIRONMENT
from raysys.config import ClusterConfig
from raysys.errors import ClusterError, StorageError
from raysys.runs.session_folder import session_folder

_OBJECT_STORE_BYTES = 2 * 1024**3
_NO_IDLE_PROCESSES = {"RAY_prestart_worker_first_driver": "0", "RAY_enable_worker_prestart": "0"}
"""Ray would start one process per CPU at once; most stay idle, and their imports delay the trials."""
_SPARE = ("start_monitor", "start_log_monitor", "start_api_server")
"""Ray services that scale a cluster, print its logs and serve its dashboard: 4 CPU seconds of imports."""


def start_local(settings: ClusterConfig, cores: int) -> None:
    """Start a cluster with room for one more trial than the cores suggest.

    Otherwise the last of five folds would train alone on one of two cores. Trials of several workers get no extra
    room, because their workers wait for each other.

    Raises:
        StorageError: Ray's token file cannot be created.
        ClusterError: Ray cannot start.
    """
    for name, value in {**ENVIRONMENT, **_NO_IDLE_PROCESSES}.items():
        os.environ.setdefault(name, value)
    workers = settings.workers_per_trial
    trial_cores = workers * settings.cpus_per_worker
    trials = max(1, cores // trial_cores) + (1 if workers == 1 else 0)
    keep_token_private()
    folder = session_folder(_OBJECT_STORE_BYTES)
    try:
        with _on_the_loopback(), _in_groups_of_their_own(), _without_spare_services():
            ray.init(
                address="local",
                # Augmentation tasks are short and share the cores with the trials.
                num_cpus=trials * workers * settings.reserved_cpus,
                object_store_memory=_OBJECT_STORE_BYTES,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="warning",
                _temp_dir=folder,
            )
    # Ray has no class for what keeps it from starting.
    except Exception as error:
        raise ClusterError(
            f"Ray cannot be started on this machine ({first_line(error)}). Its logs are in "
            f"{folder}/session_*_{os.getpid()}/logs. Are there enough memory, processes (ulimit -u), open files "
            f"(ulimit -n), and cores that other programs leave idle? --cluster.address HOST:PORT joins a running one."
        ) from error


def first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


@contextlib.contextmanager
def _in_groups_of_their_own() -> Iterator[None]:
    """Start Ray's processes in their own process groups, where signals meant for the job do not reach them.

    `timeout`, for example, sends SIGTERM to a process group. Without the cluster's head no trial could save its state,
    and the driver would wait a minute for it. They still end with the driver: Ray has the kernel kill them.
    """
    popen = services.ConsolePopen
    services.ConsolePopen = functools.partial(popen, process_group=0)
    try:
        yield
    finally:
        services.ConsolePopen = popen


@contextlib.contextmanager
def _without_spare_services() -> Iterator[None]:
    """Ray has no switch for these. If a version renames them they simply start, which only costs time."""
    kept = {name: getattr(node.Node, name) for name in _SPARE if hasattr(node.Node, name)}
    for name in kept:
        setattr(node.Node, name, _start_nothing)
    try:
        yield
    finally:
        for name, method in kept.items():
            setattr(node.Node, name, method)


def _start_nothing(*_: Any, **__: Any) -> None:
    pass


@contextlib.contextmanager
def _on_the_loopback() -> Iterator[None]:
    """Start a node that listens on loopback only and needs no network.

    Ray gives a node the machine's outer address even when asked for the loopback's, except on systems where it
    supports a single machine only, which this switch claims to be. The driver reads it as a constant, its processes
    from their environment; a cluster joined later must not see it.
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


def keep_token_private() -> None:
    """Create Ray's token file, readable by its user only, before Ray creates one that everyone can read.

    Atomic: another run may start at the same moment, and this one may end at any.

    Raises:
        StorageError: it cannot be created.
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
            # Fails where an empty file is in the way (Ray would not start with it), or without hard links.
            if not _has_token(token):
                mine.replace(token)
        finally:
            mine.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"{token}: Ray's token file cannot be created ({error}). Set RAY_AUTH_TOKEN_PATH to a file in a folder "
            f"that you can write to, or HOME to such a folder."
        ) from error


def _has_token(file: Path) -> bool:
    """Whether an earlier or concurrent run created one; if so, make sure that only its user can read it."""
    if not file.exists() or not file.read_text().strip():
        return False
    if file.stat().st_mode & 0o077:
        file.chmod(0o600)
    return True
