"""Which errors of a trial are tried again, and what the user reads of the others at their first failure."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray.exceptions
import ray.train
import torch
import torch.distributed
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError
from torch import nn

from raysys.errors import MachineError, StorageError, TrainingError
from raysys.runs import faults
from raysys.runs.follow import MAX_FAILURES, Follow
from raysys.runs.ledger import Ledger
from raysys.runs.lines import EpochLines, Lines, TrialLines
from raysys.runs.trial import run_trial
from raysys.storage import Folder
from raysys.training.loop import Paused
from tests.runs.results import trial_in

PEER = RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:538] Connection closed by peer [127.0.0.1]")


def in_a_task(cause: Exception) -> ray.exceptions.RayTaskError:
    return ray.exceptions.RayTaskError("_fetch", "Traceback ...", cause)


@pytest.mark.parametrize(
    "error",
    [
        MachineError("the trial was given a GPU, but PyTorch finds none"),
        OSError(5, "Input/output error"),
        MemoryError(),
        torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        torch.OutOfMemoryError("CUDA out of memory."),
        torch.distributed.DistBackendError("NCCL communicator was aborted on rank 0."),
        PEER,
        RuntimeError("can't start new thread"),
        ray.exceptions.ActorDiedError(),
        in_a_task(ConnectionResetError(104, "Connection reset by peer")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_faults_of_machines_are_tried_again(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(type(error)) as raised, faults.named(Folder.at(str(tmp_path))):
        raise error
    assert raised.value is error and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (4x8 and 16x2)"),
        KeyError("a7"),
        AssertionError(),
        in_a_task(ValueError("a view of no samples")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_of_the_program_are_told_once_with_their_text_and_traceback(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(TrainingError) as raised, faults.named(Folder.at(str(tmp_path)), rank=1):
        raise error
    said = str(raised.value)
    error = getattr(error, "cause", None) or error
    assert said.startswith(type(error).__name__) and " ".join(str(error).split()) in said
    assert f"Traceback: {tmp_path}/error-1.txt" in said
    assert "test_errors_of_the_program" in (tmp_path / "error-1.txt").read_text()


@pytest.mark.parametrize("error", [StorageError("no room"), TrainingError("not finite"), Paused("stopped")])
def test_what_the_user_must_fix_and_a_stop_stay_what_they_are(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(type(error)) as raised, faults.named(Folder.at(str(tmp_path))):
        raise error
    assert raised.value is error and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("code", "again"), [("ESTALE", True), ("EIO", True), ("ENOTCONN", True), ("ENOSPC", False)])
def test_a_lost_mount_is_tried_again_and_a_full_disk_ends_the_trial(
    code: str, again: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither is the training's own failure: a selection is not made without the trial."""
    number = getattr(errno, code)

    def fails(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.fsync", fails)
    with (
        pytest.raises(MachineError if again else StorageError, match=r"x: cannot be written .*free space") as raised,
        faults.named(Folder.at(str(tmp_path))),
    ):
        Folder.at(str(tmp_path)).write_bytes("x", b"1")
    assert faults.passes(raised.value) == again and not isinstance(raised.value, TrainingError)


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_parameters_that_ddp_misses_are_no_lost_machine(group: None, tmp_path: Path) -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x)

    network = nn.parallel.DistributedDataParallel(Half())

    def train() -> None:
        for _ in range(2):
            network(torch.ones(1, 2)).sum().backward()

    said = r"^RuntimeError: Expected to have finished reduction .*\. No machine is at fault"
    with pytest.raises(TrainingError, match=said), faults.named(Folder.at(str(tmp_path))):
        train()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(5, "Input/output error", "/runs/x"), "OSError: [Errno 5] Input/output error: '/runs/x'"),
        (ray.exceptions.ActorDiedError(), ""),
        (
            ray.train.WorkerGroupError("", {0: OSError(5, "Input/output error")}),
            "OSError: [Errno 5] Input/output error",
        ),
        # The others only saw their peer go.
        (ray.train.WorkerGroupError("", {0: PEER, 1: WorkerHealthCheckFailedError("gone", OSError())}), ""),
    ],
    ids=["an error", "a lost process", "a worker's error", "a lost worker"],
)
def test_a_fault_is_told_with_its_text_or_as_a_lost_process(error: Exception, said: str) -> None:
    assert faults.fault(error) == said


@pytest.mark.parametrize("lines", [TrialLines([]), EpochLines([], {})], ids=["trials", "epochs"])
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KeyError("a7"), "failed: KeyError: 'a7'. No machine is at fault"),
        (OSError(5, "Input/output error"), "fold 2: OSError: [Errno 5] Input/output error; it resumes from its last"),
    ],
)
def test_an_error_is_told_at_its_first_failure_and_retried_only_if_it_can_pass(
    error: Exception, told: str, lines: Lines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, reported, screen = trial_in(tmp_path), [], io.StringIO()

    def train_fold(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("raysys.runs.worker.train_fold", train_fold)
    monkeypatch.setattr("ray.tune.report", reported.append)
    with pytest.raises((TrainingError, OSError)):
        run_trial(own, 0.0)
    follow = Follow([own], Ledger([own], keep="all"), lines, screen)
    tunes: Any = SimpleNamespace(config={"trial": 0}, max_failures=MAX_FAILURES, num_failures=0)
    for result in reported:
        follow.on_trial_result(0, [], tunes, result)
    # As Tune does, by its own two counts.
    again = tunes.max_failures > 0
    (follow.on_trial_recover if again else follow.on_trial_error)(0, [], tunes)
    assert told in screen.getvalue()
    assert again == isinstance(error, OSError)
