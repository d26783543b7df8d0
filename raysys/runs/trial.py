"""A trial: one configuration on one fold. What it is told, where it leaves what it found, and its body under Tune.

A trial's id is a hash of everything its result depends on. It is finished when its own `result.json` has that id;
nothing else counts.
"""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from raysys.config import ExperimentConfig
from raysys.data.fold_file import packed, unpacked
from raysys.data.folds import Fold
from raysys.data.manifest import Manifest
from raysys.data.views import Source
from raysys.errors import DamagedError, MachineError, StorageError, TrainingError, UserError
from raysys.results import MODEL, MODEL_CONFIG, PREDICTIONS, RESULT, FoldResult
from raysys.runs import faults
from raysys.sources import digest_of
from raysys.storage import Folder
from raysys.training import checkpoint_files

if TYPE_CHECKING:
    import pyarrow as pa
    import torch
    from torch import nn

    from raysys.data.batch import TextFeatures

# The driver imports this module to hand it to Tune; torch, which takes seconds to import, is imported in the trials.

HISTORY = "history.jsonl"
FEATURES = "features.parquet"
TEST_CURVE = "test_curve.json"
STOPPED = "stopped.json"
MANIFEST = "manifest.parquet"
LEFT = (PREDICTIONS, FEATURES, HISTORY, TEST_CURVE)
"""What belongs to a finished trial's result."""
FOLDS = "folds.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One trial of one run; about a kilobyte. Manifest and folds are read from the run's folder.

    Attributes:
        config: the whole configuration.
        run: location of the run's folder.
        source: the decoded corpus and its views.
        texts: file with the new texts of the fold's training part (CBCA); None without.
        text_features: features of a frozen text encoder; None where texts are read in the trial.
        fold: index of the fold.
        fingerprint: of the manifest.
        code: `code_version` of the driver.
        point: name of the configuration in a sweep; empty in a cross-validation.
        test_curve: also score the test part after every epoch, for the optimistic protocol; it selects nothing.
        keeps_model: save the trained network as a model that can be loaded.
        final: it trains on all data, and its model is the run's.
        temperature: of its model, where it has no validation part to find it.
        torch_trainer: train under TorchTrainer even with a single worker.
    """

    config: ExperimentConfig
    run: str
    source: Source
    fold: int
    fingerprint: str
    code: str
    texts: str | None = None
    text_features: TextFeatures | None = None
    point: str = ""
    test_curve: bool = False
    keeps_model: bool = True
    final: bool = False
    temperature: float | None = None
    torch_trainer: bool = False

    @property
    def trial_id(self) -> str:
        """Hash of everything the trial's result depends on: configuration, corpus, fold, inputs, code."""
        features = None if self.text_features is None else self.text_features.location
        inputs = [*self.source.locations, self.texts, features]
        # Cache entries are named by their content, wherever the cache is.
        names = [None if location is None else location.rsplit("/", 1)[-1] for location in inputs]
        how = [self.code, self.test_curve, self.torch_trainer, self.source.recorded]
        key = json.dumps([self.config.learning_hash(), self.fingerprint, self.fold, names, *how])
        return hashlib.sha256(key.encode()).hexdigest()[:16]

    @property
    def place(self) -> str:
        """The trial's folder, below the run's."""
        if self.final:
            return "final"
        return f"trials/{self.trial_id}" if self.point else f"folds/{self.fold + 1}"

    @property
    def folder(self) -> Folder:
        return Folder.at(self.run) / self.place

    @property
    def model(self) -> Folder:
        """Where its model is saved."""
        return (Folder.at(self.run) if self.final else self.folder) / MODEL

    def delete_model(self) -> None:
        """Delete what no selection can want, so that what a killed deletion leaves is no model."""
        self.model.delete(MODEL_CONFIG)
        self.model.delete_all()

    @property
    def title(self) -> str:
        """Its name for people."""
        return ", ".join(filter(None, [self.point, "" if self.final else f"fold {self.fold + 1}"]))

    @property
    def in_process(self) -> bool:
        """Whether it trains in Tune's own process; otherwise under TorchTrainer."""
        return self.config.cluster.workers_per_trial == 1 and not self.torch_trainer

    def result(self) -> FoldResult | None:
        """None if this very trial is not finished, or what it left is damaged."""
        try:
            return FoldResult.read(self.folder, self.trial_id)
        except DamagedError:
            return None

    def why_again(self) -> str | None:
        """Why a trial that left a result is trained again; None if it left none."""
        if not self.folder.exists(RESULT):
            return None
        try:
            FoldResult.read(self.folder, self.trial_id)
        except DamagedError as error:
            return str(error)
        others = " or with other recordings" if any(self.source.recorded) else ""
        return f"its result was made by other code{others}"

    def predictions(self) -> pa.Table:
        """Of its test part, see `tested.predictions_table`."""
        return self._left(PREDICTIONS, self.folder.read_table)

    def tested_epochs(self) -> list[list[list[int]]]:
        """Confusion matrix of the test part after every epoch."""
        curve: list[list[list[int]]] = self._left(TEST_CURVE, self.folder.read_json)
        return curve

    def _left(self, name: str, read: Callable[[str], Any]) -> Any:
        """Raises: StorageError: it cannot be read; only results of early versions have no checksum that says so."""
        try:
            return read(name)
        except (DamagedError, FileNotFoundError, ValueError) as error:
            raise StorageError(
                f"{self.folder.location}/{name} cannot be read ({error}). Remove the folder {self.folder.location}: "
                f"the same command trains {self.title} again."
            ) from error

    def history(self) -> list[dict[str, Any]]:
        """One record per epoch trained so far, by any run of this command."""
        if not self.folder.exists(HISTORY):
            return []
        try:
            return [json.loads(line) for line in self.folder.read_bytes(HISTORY).splitlines()]
        except ValueError:
            # Damaged; it is written again after the next epoch.
            return []


def code_version() -> str:
    """Hash of the code that trains a trial and makes its fold; a result of other code is trained again."""
    return digest_of("raysys.runs.trial:run_trial", "raysys.data.folds:make_folds")


def write_folds(run: Folder, manifest: Manifest, folds: tuple[Fold, ...]) -> None:
    """Write what every trial reads into the run's folder."""
    run.write_table(MANIFEST, manifest.to_table())
    run.write_bytes(FOLDS, json.dumps(packed(manifest, folds)).encode())


def read_fold(run: Folder, fold: int) -> tuple[Manifest, Fold]:
    """The manifest and one fold."""
    manifest = Manifest.from_table(run.read_table(MANIFEST))
    return manifest, unpacked(run.read_json(FOLDS), manifest, fold)


def run_trial(trial: Trial, gpus_per_worker: float) -> None:
    """Train a trial: the body of a Tune trial. Errors that would come again, and a stop, are reported and not retried.

    Raises:
        UserError, Paused, or a fault of the machine: so that Tune ends the process and does not use it again.
    """
    if trial.result() is not None:
        # Its process was lost after the result was written and before Tune heard of it.
        checkpoint_files.delete_all(trial.folder)
        return
    from ray import tune

    from raysys.runs.worker import train_fold
    from raysys.training.evaluation import Workers
    from raysys.training.loop import Paused

    try:
        if trial.in_process:
            device = _device(gpus_per_worker)
            with faults.named(trial.folder):
                train_fold(trial, workers=Workers(), device=device, parallel=lambda net: net, report=tune.report)
        else:
            _under_torch_trainer(trial, gpus_per_worker)
    except (UserError, Paused) as error:
        tune.report({"error": str(error), "its_own": isinstance(error, TrainingError)})
        raise
    except Exception as error:
        tune.report({"fault": faults.fault(error)})
        raise


def _device(gpus: float) -> torch.device:
    """Raises: MachineError: the trial has a GPU, and PyTorch finds none."""
    import torch

    if gpus and not torch.cuda.is_available():
        # Retried, on another node if there is one: on a CPU it would take weeks, and nobody would know why.
        raise MachineError(
            f"{socket.gethostname()}: the trial was given a GPU, but PyTorch finds none (see nvidia-smi there)"
        )
    return torch.device("cuda" if gpus else "cpu")


def _under_torch_trainer(trial: Trial, gpus: float) -> None:
    import ray.train
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    settings = trial.config.cluster
    folder = Folder.at(trial.run) / "train"
    resources = {"CPU": settings.reserved_cpus} | ({"GPU": gpus} if gpus else {})
    trainer = TorchTrainer(
        _train_worker,
        train_loop_config={"trial": trial},
        scaling_config=ray.train.ScalingConfig(
            num_workers=settings.workers_per_trial, use_gpu=bool(gpus), resources_per_worker=resources
        ),
        run_config=ray.train.RunConfig(
            name=f"fold-{trial.fold + 1}-{trial.trial_id}",
            storage_path=folder.path,
            storage_filesystem=None if folder.is_local else folder.filesystem,
            # Tune restarts the trial unless a user must fix something; Ray Train cannot tell the two apart.
            failure_config=ray.train.FailureConfig(max_failures=0),
            callbacks=[TuneReportCallback()],
        ),
    )
    try:
        trainer.fit()
    except ray.train.WorkerGroupError as error:
        for failure in error.worker_failures.values():
            cause = getattr(failure, "cause", failure)
            if isinstance(cause, UserError):
                raise cause from None
        raise


def _train_worker(loop_config: dict[str, Any]) -> None:
    import ray.train.torch

    from raysys.runs.worker import train_fold
    from raysys.training.evaluation import Workers

    context = ray.train.get_context()
    workers = Workers(rank=context.get_world_rank(), size=context.get_world_size())

    def parallel(network: nn.Module) -> nn.Module:
        if workers.size == 1:
            return network
        # An encoder that is not ours may leave parameters out of a step. Without this, DDP also sorts its buckets again
        # after the first step, and with three workers or more then adds in another order: a resumed run would differ
        # in the last bit.
        return ray.train.torch.prepare_model(network, parallel_strategy_kwargs={"find_unused_parameters": True})

    device = ray.train.torch.get_device()
    trial = loop_config["trial"]
    with faults.named(trial.folder, rank=workers.rank):
        train_fold(trial, workers=workers, device=device, parallel=parallel, report=ray.train.report)
