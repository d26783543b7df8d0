"""What an evaluation found: `evaluation.json`, and the table that the terminal shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from raysys import metrics
from raysys.data.manifest import Manifest
from raysys.report.parts import class_scores, indices, part_scores, sex_scores, speaker_scores
from raysys.results import ClassScores, CorpusFacts, PartScores, Provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Scores of the same utterances under one condition.

    Attributes:
        name: for files; title: for people.
        scores: over all utterances, with intervals over speakers where there are two.
        calibration_error: expected calibration error of the top class.
        changed: share of the utterances whose predicted class is not the one of the first condition.
    """

    name: str
    title: str
    scores: PartScores
    calibration_error: float
    changed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Attributes:
    model: what was evaluated; classes: its own, of which the corpus may lack some.
    seen: whether the model has learned from this very corpus, so that its scores are none of unseen speech; None where
        nothing beside the model says what it has learned from.
    conditions: the corpus as it is, then distorted.
    """

    model: str
    classes: tuple[str, ...]
    corpus: CorpusFacts
    modalities: str
    seen: bool | None
    conditions: tuple[Condition, ...]
    by_class: tuple[ClassScores, ...]
    by_speaker: tuple[PartScores, ...]
    by_sex: tuple[PartScores, ...]
    made: Provenance
    notes: tuple[str, ...]


def predictions_of(manifest: Manifest, classes: Sequence[str], probabilities_NC: np.ndarray) -> pa.Table:
    """Rows as of a run's predictions.parquet, all of one fold, in the manifest's order.

    Args:
        classes: of the columns of probabilities_NC.
    """
    return pa.table(
        {
            "utterance_id": [u.utterance_id for u in manifest.utterances],
            "speaker": [u.speaker for u in manifest.utterances],
            "fold": pa.array([1] * len(manifest.utterances), pa.int64()),
            "label": [u.emotion for u in manifest.utterances],
            "prediction": [classes[i] for i in probabilities_NC.argmax(axis=1)],
            **{f"p_{name}": pa.array(probabilities_NC[:, i].astype(np.float32)) for i, name in enumerate(classes)},
        }
    )


def condition_of(name: str, title: str, predictions: pa.Table, first: pa.Table, classes: Sequence[str]) -> Condition:
    """Scores of one condition.

    Args:
        first: predictions under the first one, of the same rows.
    """
    probabilities_NC = np.stack([predictions[f"p_{c}"].to_numpy() for c in classes], axis=1)
    labels_N = indices(predictions, "label", classes)
    here_N, there_N = (indices(table, "prediction", classes) for table in (predictions, first))
    return Condition(
        name=name,
        title=title,
        scores=part_scores(name, predictions, classes),
        calibration_error=float(metrics.calibration_error(probabilities_NC, labels_N)),
        changed=float((here_N != there_N).mean()),
    )


def parts_of(
    manifest: Manifest, predictions: pa.Table, classes: Sequence[str]
) -> tuple[tuple[ClassScores, ...], tuple[PartScores, ...], tuple[PartScores, ...]]:
    """Scores by class, by speaker and by sex; of classes, only those that the corpus has."""
    there = {u.emotion for u in manifest.utterances}
    by_class = tuple(row for row in class_scores(predictions, classes) if row.name in there)
    return by_class, speaker_scores(predictions, classes), sex_scores(manifest, predictions, classes)


def evaluation_table(evaluation: Evaluation) -> str:
    """The scores as text for a terminal, in per cent."""
    width = max(len(condition.title) for condition in evaluation.conditions)
    lines = [f"{'':<{width}}     WA     UA   95 % interval of UA   calibration error   answers changed"]
    for i, condition in enumerate(evaluation.conditions):
        scores = condition.scores
        ends = "–" if scores.ua_ci95 is None else "{:.1f} to {:.1f}".format(*(100 * end for end in scores.ua_ci95))
        changed = "" if i == 0 else f"{100 * condition.changed:5.1f}"
        lines.append(
            f"{condition.title:<{width}}  {_percent(scores.wa)}  {_percent(scores.ua)}   {ends:>19}"
            f"   {100 * condition.calibration_error:17.1f}   {changed:>15}".rstrip()
        )
    names = max(len(row.name) for row in evaluation.by_class)
    lines += ["", f"{'class':<{names}}      n  recall  precision"]
    lines += [
        f"{row.name:<{names}}  {row.n:5d}   {_percent(row.recall)}      {_percent(row.precision)}"
        for row in evaluation.by_class
    ]
    return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "    –" if share is None else f"{100 * share:5.1f}"
