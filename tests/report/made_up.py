"""Made-up results of a run, from the values that a test is about."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import TypeAdapter

from raysys.results import RunResult, SeedsResult

T = TypeVar("T")
_SIZES = {"n_train": 3, "n_validation": 1, "n": 2, "epoch": 4, "wa": 0.5, "ua": 0.5}
_INTERVALS = {"wa_ci95": [0.4, 0.6], "ua_ci95": [0.4, 0.6]}
_POOLED = {"n": 12, "wa": 0.5, "ua": 0.5, **_INTERVALS, "macro_f1": 0.5, "calibration_error": 0.1}
_POINT = {"stopped": False, "validation_ua_folds": [], "epochs": [], "test_ua": None, "test_wa": None, "values": {}}
_OPTIMISTIC = {"point": "p", "wa": 0.5, "ua": 0.5, "folds": [], "pooled_wa": 0.5, "pooled_ua": 0.5, "confusion": []}


def typed(kind: type[T], values: Any) -> T:
    """Nested dictionaries and lists as what they stand for."""
    return TypeAdapter(kind).validate_python(values)


def grid(**values: Any) -> dict[str, Any]:
    points = [_POINT | point for point in values.get("points", [])]
    optimistic = _OPTIMISTIC | values.get("optimistic", {})
    made = {"axes": {}, "nested": {}, "final": None, "n_trials": 1}
    return made | values | {"points": points, "optimistic": optimistic}


def ablation(**values: Any) -> dict[str, Any]:
    variants = [{"confusion": []} | variant for variant in values.get("variants", [])]
    return {"seeds": [0], "n_trials": 1} | values | {"variants": variants}


def seeds(**values: Any) -> SeedsResult:
    """Seeds 0 and 3, their mean and their ensemble."""
    made: dict[str, Any] = {
        "each": [{"seed": 0, "wa": 0.5, "ua": 0.4}, {"seed": 3, "wa": 0.6, "ua": 0.6}],
        "mean": {"wa": 0.55, "ua": 0.5, "wa_std": 0.0707, "ua_std": 0.1414, **_INTERVALS},
        "ensemble": _POOLED | {"wa": 0.7, "ua": 0.68, "wa_ci95": [0.61, 0.79], "ua_ci95": [0.6, 0.76]},
    }
    return typed(SeedsResult, made | values)


def run_result(**values: Any) -> RunResult:
    made: dict[str, Any] = {
        "protocol": "nested",
        "modalities": "both",
        "seed": 0,
        "parameters": 1000,
        "notes": [],
        "seconds": 1.0,
        "classes": ["a", "b"],
        "versions": {},
        "mean": {"wa": 0.5, "ua": 0.5},
        "std": {"wa": 0.1, "ua": 0.1},
        "confusion": [[1, 0], [0, 1]],
        "skipped": [],
    }
    made |= values
    made["corpus"] = {"name": "table", "utterances": 12, "speakers": 3, "fingerprint": "abc"} | values.get("corpus", {})
    made["pooled"] = _POOLED | values.get("pooled", {})
    made["folds"] = [_SIZES | fold for fold in values.get("folds", [{"fold": 1, "name": "a"}])]
    return typed(RunResult, made)
