"""Wait until a cluster has nodes or GPUs, and hold the GPUs while a command runs.

    python cluster/hold.py --gpus 5 -- python jobs/crossval.py ...

raysys plans how many folds train at once from what the cluster has when a job starts; a cluster that scales up from
zero has nothing then. So this script requests the GPUs first. While the command runs, the autoscaler keeps them: a
preempted spot machine is replaced. They are released when it ends; `--gpus 0` without a command releases those of a
killed job.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import subprocess
import sys
import time
from types import FrameType

import ray
from ray.autoscaler.sdk import request_resources

PATIENCE_S = 1800.0
"""How long machines may take to start; a cloud that has no spot GPUs does not say so."""
POLL_S = 2.0
RENEWED_S = 5.0
"""The last request by any process counts, and Ray Data sends its own: repeat ours."""
TRY_AGAIN = 75
"""Exit code of raysys's jobs after SIGTERM."""


def join(deadline: float) -> None:
    """Connect to the cluster of RAY_ADDRESS or of this job, once its head answers."""
    while True:
        try:
            ray.init(address="auto", log_to_driver=False, logging_level="warning")
            return
        except (ConnectionError, TimeoutError):
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_S)


def wait(gpus: int, nodes: int, deadline: float) -> None:
    """Wait until the cluster has this many GPUs and nodes."""
    while True:
        ask(gpus)
        has_gpus = int(ray.cluster_resources().get("GPU", 0))
        has_nodes = sum(bool(node["Alive"]) for node in ray.nodes())
        if has_gpus >= gpus and has_nodes >= nodes:
            return
        if time.monotonic() > deadline:
            raise SystemExit(
                f"error: after {PATIENCE_S / 60:.0f} minutes the cluster has {has_gpus} of {gpus} GPUs and {has_nodes} "
                f"of {nodes} nodes. Request fewer, or check the autoscaler's log (`ray status`)."
            )
        time.sleep(POLL_S)


def ask(gpus: int) -> None:
    """Request GPUs from the autoscaler, replacing the previous request."""
    request_resources(bundles=[{"GPU": 1}] * gpus)


def run(command: list[str], gpus: int) -> int:
    """Run a command, hold the GPUs, forward SIGTERM to it, and return its exit code."""
    child: subprocess.Popen[bytes] | None = None
    received: list[int] = []

    def hand_on(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if child is not None:
            child.send_signal(number)

    signal.signal(signal.SIGTERM, hand_on)
    child = subprocess.Popen(command)
    if received:
        # It arrived while the command was starting.
        child.send_signal(received[0])
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = child.wait(timeout=RENEWED_S)
            return code if code >= 0 else 128 - code
        # A head that is temporarily unreachable is no reason to end a run.
        with contextlib.suppress(Exception):
            if gpus:
                ask(gpus)


def terminated(number: int, frame: FrameType | None) -> None:
    raise SystemExit(TRY_AGAIN)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, default=0, help="number of GPUs to request and wait for")
    parser.add_argument("--nodes", type=int, default=1, help="number of nodes to wait for, including the head")
    parser.add_argument("command", nargs="*", help="command to run, after --")
    wanted = parser.parse_args()
    deadline = time.monotonic() + PATIENCE_S
    signal.signal(signal.SIGTERM, terminated)
    join(deadline)
    # ray.init installs its own SIGTERM handler: replace it.
    signal.signal(signal.SIGTERM, terminated)
    try:
        wait(wanted.gpus, wanted.nodes, deadline)
        return run(wanted.command, wanted.gpus) if wanted.command else 0
    finally:
        if wanted.command:
            ask(0)


if __name__ == "__main__":
    sys.exit(main())
