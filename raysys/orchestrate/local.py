"""A private Ray cluster on this machine: for its user only, without services that a single machine does not need."""

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
from raysys.errors import StorageError

_OBJECT_STORE_BYTES = 2 * 1024**3
_NO_IDLE_PROCESSES = {"RAY_prestart_worker_first_driver": "0", "RAY_enable_worker_prestart": "0"}
"""Ray would start a process for every CPU at once, of which most stay idle: their imports delay those that train."""
_SPARE = ("start_monitor", "start_log_monitor", "start_api_server")
"""Of Ray's services those that scale a cluster, print its logs and serve its dashboard: 4 CPU seconds of imports."""


def start_local(settings: ClusterConfig, cores: int) -> None:
    """Start a cluster with room for one trial more than there are cores for.

    Else the last fold of five trains alone on one of two cores. Not so of groups, whose workers wait for each other.

    Raises:
        StorageError: Ray's token file cannot be created.
    """
    for name, value in {**ENVIRONMENT, **_NO_IDLE_PROCESSES}.items():
        os.environ.setdefault(name, value)
    workers = settings.workers_per_trial
    trial_cores = workers * settings.cpus_per_worker
    trials = max(1, cores // trial_cores) + (1 if workers == 1 else 0)
    keep_token_private()
    with _on_the_loopback(), _in_groups_of_their_own(), _without_spare_services():
        ray.init(
            address="local",
            # Tasks that augment are short: they share the cores with the trials.
            num_cpus=trials * workers * settings.reserved_cpus,
            object_store_memory=_OBJECT_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="warning",
        )


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
def _without_spare_services() -> Iterator[None]:
    """Ray has no switch for them. Where a version has them under other names, they start: only time is lost."""
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


def keep_token_private() -> None:
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
            f"{token}: Ray's token file cannot be created ({error}). Set RAY_AUTH_TOKEN_PATH to a file in a folder "
            f"of your own that can be written, or HOME to such a folder."
        ) from error


def _has_token(file: Path) -> bool:
    """True where one is there: of a run before, or of one that began a moment ago. Then it is nobody else's to read."""
    if not file.exists() or not file.read_text().strip():
        return False
    if file.stat().st_mode & 0o077:
        file.chmod(0o600)
    return True
