"""Sentences that explain the scores: the protocols, and what was run."""

from __future__ import annotations

from typing import Any

from raysys.report.reading import Run

KINDS = {"crossval": "Cross-validation", "gridsearch": "Grid search", "ablation": "Ablation"}

MEASURES = (
    "WA (weighted accuracy) is overall accuracy, UA (unweighted accuracy) the mean of the class recalls. Pooled scores "
    "count every test utterance once; their 95 % intervals come from a bootstrap that resamples speakers within folds. "
    "Scores over folds are mean and standard deviation. All are in per cent."
)


def protocol(run: Run) -> str:
    """How epochs and points were selected without the test parts."""
    results = run.results
    if results.protocol != "nested":
        return f"Protocol: {results.protocol}."
    chosen = "grid point and epoch are" if run.kind == "gridsearch" else "the epoch is"
    differ = " Points may differ by fold." if run.kind == "gridsearch" else ""
    withheld = ""
    if run.config.get("corpus", {}).get("test_modalities") == "audio" and results.modalities == "both":
        withheld = " Validation and test had no transcripts."
    return (
        f"Nested protocol: each of the {len(results.folds)} folds tests one group of speakers, and no speaker is in "
        f"two parts of a fold. In each fold, {chosen} chosen by UA on the fold's own validation speakers; the test "
        f"part is then scored once.{differ}{withheld}"
    )


def scored(run: Run) -> str:
    """Which model the scores at the top belong to."""
    match run.kind:
        case "gridsearch":
            return "Scores of the nested choice."
        case "ablation":
            return f"Scores of the full model with the first seed ({run.results.seed})."
        case _:
            return f"Scores of one seed ({run.results.seed})."


def heard(modalities: str) -> str:
    return {"both": "audio and text", "audio": "audio only", "text": "text only"}.get(modalities, modalities)


def encoders(config: dict[str, Any], modalities: str) -> str:
    model = config["model"]
    names = {"audio": [model["audio"]], "text": [model["text"]]}.get(modalities, [model["audio"], model["text"]])
    return " + ".join(names)
