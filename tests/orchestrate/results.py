"""Made-up results of trials."""

from __future__ import annotations

from typing import Any

from raysys.orchestrate.result import FoldResult
from raysys.orchestrate.task import FoldTask


def fold_result(trial_id: str = "t", **values: Any) -> FoldResult:
    """A finished trial's, of a fold with a validation and a test part."""
    found: dict[str, Any] = {
        "trial_id": trial_id, "point": "", "seed": 0, "fold": 1, "name": "S1", "n_train": 6, "n_validation": 2, "n": 2,
        "epoch": 1, "epochs": 2, "validation_ua": 0.5, "validation_loss": 1.0, "wa": 0.5, "ua": 0.5,
        "confusion": [[1, 0], [1, 0]], "parameters": 100, "node": "n", "process": "n 1", "gpu": None, "started": 0.0,
        "first_step": 1.0, "fit_s": 2.0, "ended": 3.0,
    }  # fmt: skip
    return FoldResult(**(found | values))


def result_of(task: FoldTask, **values: Any) -> FoldResult:
    return fold_result(task.trial_id, point=task.point, fold=task.fold + 1, **values)
