"""Synthetic trials and their results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from raysys.config import ExperimentConfig
from raysys.data.views import Source
from raysys.results import FoldResult
from raysys.runs.trial import Trial


def fold_result(trial_id: str = "t", **values: Any) -> FoldResult:
    """Of a finished trial, on a fold with a validation and a test part."""
    found: dict[str, Any] = {
        "trial_id": trial_id, "point": "", "seed": 0, "fold": 1, "name": "S1", "n_train": 6, "n_validation": 2, "n": 2,
        "epoch": 1, "epochs": 2, "validation_ua": 0.5, "validation_wa": 0.5, "validation_macro_f1": 0.5,
        "validation_loss": 1.0, "wa": 0.5, "ua": 0.5, "confusion": [[1, 0], [1, 0]], "parameters": 100, "node": "n",
        "process": "n 1", "gpu": None, "started": 0.0, "first_step": 1.0, "fit_s": 2.0, "ended": 3.0,
    }  # fmt: skip
    return FoldResult(**(found | values))


def result_of(trial: Trial, **values: Any) -> FoldResult:
    return fold_result(trial.trial_id, point=trial.point, fold=trial.fold + 1, **values)


def trial_in(run: Path) -> Trial:
    """The second fold of a run in this folder."""
    source = Source(store="/cache/waveforms-0f", augment=None, crop_s=13.0, seed=0)
    return Trial(config=ExperimentConfig(), run=str(run), source=source, fold=1, fingerprint="00ff", code="c0de")
