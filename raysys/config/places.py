"""Where an experiment runs, and where its results go."""

from __future__ import annotations

from dataclasses import dataclass

from raysys.config.check import require


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    address: str | None = None
    """Address of a running Ray cluster. Default: the cluster that a submitted job runs in; otherwise start one here."""
    workers_per_trial: int = 1
    """Data-parallel workers (DDP) per trial, under Ray Train. A single worker trains in the trial's own process."""
    cpus_per_worker: int = 1
    """CPU cores, and torch threads, per training worker."""
    gpus_per_worker: float | None = None
    """GPUs per training worker. Default: 1 if the cluster has any, otherwise 0."""
    data_cpus_per_worker: int = 1
    """Additional CPUs reserved per worker for the tasks that load and augment its utterances."""
    max_concurrent_trials: int | None = None
    """Trials running at the same time. Default: as many as the cluster's CPUs and GPUs allow."""
    hang_limit_s: float = 1800.0
    """Seconds without a training step after which a worker counts as hung: its process exits and is restarted from its
    last checkpoint. Must exceed the 90 s that an unreachable W&B server may take."""

    def __post_init__(self) -> None:
        for name in ("workers_per_trial", "cpus_per_worker", "data_cpus_per_worker"):
            value = getattr(self, name)
            require(value >= 1, f"--cluster.{name.replace('_', '-')} is {value}; at least 1 is needed.")
        limit = self.hang_limit_s
        require(limit >= 10, f"--cluster.hang-limit-s is {limit}; expected at least 10, longer than any step.")
        gpus = self.gpus_per_worker
        require(gpus is None or gpus >= 0, f"--cluster.gpus-per-worker is {gpus}; it cannot be negative.")
        require(
            self.max_concurrent_trials is None or self.max_concurrent_trials >= 1,
            f"--cluster.max-concurrent-trials is {self.max_concurrent_trials}; at least 1 is needed.",
        )

    @property
    def reserved_cpus(self) -> int:
        """CPUs of a worker and its data tasks."""
        return self.cpus_per_worker + self.data_cpus_per_worker


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackConfig:
    wandb: bool = True
    """Log one Weights & Biases run per fold; offline unless WANDB_API_KEY or WANDB_MODE is set."""
    project: str | None = None
    """Weights & Biases project. Default: $WANDB_PROJECT, otherwise raysys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    root: str | None = None
    """Folder for all runs: a path (on a cluster, one that every node sees) or an address such as s3://bucket/runs.
    Default: $RAYSYS_RUN_ROOT, otherwise `runs`, or ~/raysys/runs in a job submitted to a single-node cluster."""
    name: str | None = None
    """Name of this run and of its folder. Default: derived from the corpus, its contents and the configuration."""
    cache: str | None = None
    """Folder or address for decoded audio and the demo corpus, shared by all runs. Default: <root>/.cache."""
