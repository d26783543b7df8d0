"""Keeping a fold's course: Weights & Biases, or nothing. The one file that imports wandb."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import wandb

log = logging.getLogger(__name__)


class Tracker(Protocol):
    """Takes metrics once an epoch and a summary at the end; never raises, never stops a training."""

    def epoch(self, metrics: Mapping[str, float], epoch: int) -> None: ...

    def finish(self, summary: Mapping[str, float]) -> None: ...


class NoTracker:
    """Keeps nothing."""

    def epoch(self, metrics: Mapping[str, float], epoch: int) -> None:
        pass

    def finish(self, summary: Mapping[str, float]) -> None:
        pass


class WandbTracker:
    """One Weights & Biases run a fold, grouped by experiment.

    Offline unless WANDB_API_KEY is set or WANDB_MODE says otherwise: `wandb sync` of the folder is then all that is
    left to do. What W&B raises is logged once, and tracking ends there.

    Args:
        folder: absolute local folder for the run's files.
        run_id: stable, so that a resumed fold goes on in the same run.
    """

    def __init__(
        self, *, project: str, group: str, name: str, run_id: str, folder: str, config: dict[str, Any]
    ) -> None:
        self._run: Any = None
        online = "WANDB_API_KEY" in os.environ
        mode: Any = os.environ.get("WANDB_MODE") or ("online" if online else "offline")
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self._run = wandb.init(
                project=project,
                group=group,
                name=name,
                id=run_id,
                resume="allow" if online else None,
                dir=folder,
                config=config,
                mode=mode,
                settings=wandb.Settings(silent=True, init_timeout=20, x_disable_stats=True, console="off"),
            )
        except Exception as error:
            self._give_up(error)

    def epoch(self, metrics: Mapping[str, float], epoch: int) -> None:
        if self._run is not None:
            try:
                self._run.log(dict(metrics) | {"epoch": epoch}, step=epoch)
            except Exception as error:
                self._give_up(error)

    def finish(self, summary: Mapping[str, float]) -> None:
        if self._run is not None:
            try:
                self._run.summary.update(dict(summary))
                self._run.finish()
            except Exception as error:
                self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        log.warning("Weights & Biases is left out from here on: %s", error)
        self._run = None
