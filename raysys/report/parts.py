"""Scores of parts of the test utterances: by class, speaker, sex, kind of dialog and published test part; each with n,
and its interval.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raysys import intervals, metrics
from raysys.data.folds import Fold
from raysys.data.manifest import UNKNOWN, Manifest
from raysys.data.partition import parts_tested
from raysys.results import ClassScores, PartScores, VoteScores

_SEXES = {"F": "female", "M": "male"}
_ALONE = "\0"
"""Begins the cluster of an utterance whose speaker is unknown; names of speakers contain no control characters."""


def clusters(predictions: pa.Table) -> NDArray[np.str_]:
    """What intervals are over: the speaker of each utterance; one of an unknown speaker is a cluster of its own."""
    speaker_N = np.array(predictions["speaker"].to_pylist())
    if not (unknown_N := speaker_N == UNKNOWN).any():
        return speaker_N
    return np.where(unknown_N, [_ALONE + name for name in predictions["utterance_id"].to_pylist()], speaker_N)


def class_scores(predictions: pa.Table, classes: Sequence[str]) -> tuple[ClassScores, ...]:
    """Precision n_cc / sum_k n_kc, recall n_cc / sum_k n_ck and F1 of each class of a confusion matrix n."""
    label_N, predicted_N = (indices(predictions, column, classes) for column in ("label", "prediction"))
    speaker_N, fold_N = _grouping(predictions)
    counts_CC = metrics.confusion(label_N, predicted_N, len(classes))
    scores = []
    for index, name in enumerate(classes):
        own_N = label_N == index
        hits, n, predicted = int(counts_CC[index, index]), int(own_N.sum()), int(counts_CC[:, index].sum())
        scores.append(
            ClassScores(
                name=name,
                n=n,
                speakers=_n_known(speaker_N[own_N]),
                precision=hits / predicted if predicted else None,
                recall=hits / n if n else None,
                # The recall of a class is the accuracy on its utterances.
                recall_ci95=intervals.interval(
                    label_N[own_N], predicted_N[own_N], speaker_N[own_N], fold_N[own_N], "wa"
                )
                if len(set(speaker_N[own_N])) > 1
                else None,
                f1=2 * hits / (n + predicted) if n + predicted else None,
            )
        )
    return tuple(scores)


def speaker_scores(predictions: pa.Table, classes: Sequence[str]) -> tuple[PartScores, ...]:
    """Scores of each speaker, by name; UA is over the classes that the speaker has."""
    speaker_N = np.array(predictions["speaker"].to_pylist())
    chosen = {name: speaker_N == name for name in sorted(set(speaker_N.tolist()))}
    return _parts(predictions, classes, chosen)


def part_scores(name: str, predictions: pa.Table, classes: Sequence[str]) -> PartScores:
    """Scores of all utterances, as those of a part; with one speaker there are no intervals."""
    (scores,) = _parts(predictions, classes, {name: np.ones(len(predictions), dtype=np.bool_)})
    return scores


def sex_scores(manifest: Manifest, predictions: pa.Table, classes: Sequence[str]) -> tuple[PartScores, ...]:
    """Scores of women's and of men's utterances, those of unknown sex left out; empty where no sex is known."""
    sex_of = {u.utterance_id: u.sex for u in manifest.utterances}
    sex_N = np.array([sex_of[name] or "" for name in predictions["utterance_id"].to_pylist()])
    known = set(sex_N.tolist()) - {""}
    return _parts(predictions, classes, {_SEXES.get(sex, sex): sex_N == sex for sex in sorted(known)})


def split_scores(manifest: Manifest, predictions: pa.Table) -> tuple[PartScores, ...]:
    """Scores of each test part of a published partition, or of each of several corpora; empty where there are not
    several.
    """
    multi = manifest.corpus == "multi"
    split_of = {u.utterance_id: u.fold if multi else u.split for u in manifest.utterances}
    split_N = np.array([split_of[name] or "" for name in predictions["utterance_id"].to_pylist()])
    names = sorted({*split_N.tolist()}) if multi else parts_tested(manifest)
    return _parts(predictions, manifest.classes, {name: split_N == name for name in names}) if len(names) > 1 else ()


def vote_scores(manifest: Manifest, predictions: pa.Table) -> VoteScores | None:
    """How far the predicted probabilities are from the annotators' votes; None where no test utterance has votes."""
    votes_of = {u.utterance_id: u.votes for u in manifest.utterances if u.votes is not None}
    ids = predictions["utterance_id"].to_pylist()
    rows = [row for row, name in enumerate(ids) if name in votes_of]
    if not rows:
        return None
    votes_NC = np.array([votes_of[ids[row]] for row in rows])
    probability_NC = np.stack([predictions[f"p_{name}"].to_numpy() for name in manifest.classes], axis=1)[rows]
    return VoteScores(
        n=len(rows),
        kl=float(metrics.kl_divergence(votes_NC, probability_NC).mean()),
        js=float(metrics.js_divergence(votes_NC, probability_NC).mean()),
    )


def dialog_scores(manifest: Manifest, folds: Iterable[Fold], predictions: pa.Table) -> tuple[PartScores, ...]:
    """Scores on all, improvised, scripted and script-disjoint utterances; empty unless the corpus is like IEMOCAP.

    The dialog type is read from the utterance id. Script-disjoint utterances are those whose normalised transcript
    occurs in no training utterance of their fold; utterances without a transcript are left out.

    Args:
        folds: at least those that were tested; their index starts at 0, while predictions count folds from 1.
    """
    if manifest.corpus not in ("demo", "iemocap"):
        return ()
    # Imports torch, which nothing waits for before a run's end.
    from raysys.data.text import normalise_transcript

    ids, fold_of = predictions["utterance_id"].to_pylist(), predictions["fold"].to_pylist()
    words = {
        u.utterance_id: normalise_transcript(u.transcript) for u in manifest.utterances if u.transcript is not None
    }
    trained = {f.index + 1: {words[name] for name in f.train if name in words} for f in folds}
    chosen = {
        "all": [True for _ in ids],
        "improvised": ["impro" in name for name in ids],
        "scripted": ["script" in name for name in ids],
        "script-disjoint": [
            name in words and words[name] not in trained[fold] for name, fold in zip(ids, fold_of, strict=True)
        ],
    }
    return _parts(predictions, manifest.classes, {name: np.array(mask) for name, mask in chosen.items()})


def indices(predictions: pa.Table, column: str, classes: Sequence[str]) -> NDArray[np.int64]:
    """A column of class names as indices."""
    index = {name: i for i, name in enumerate(classes)}
    return np.array([index[name] for name in predictions[column].to_pylist()], dtype=np.int64)


def _parts(
    predictions: pa.Table, classes: Sequence[str], chosen: Mapping[str, NDArray[np.bool_]]
) -> tuple[PartScores, ...]:
    label_N, predicted_N = (indices(predictions, column, classes) for column in ("label", "prediction"))
    speaker_N, fold_N = _grouping(predictions)
    return tuple(
        _part(name, label_N[mask_N], predicted_N[mask_N], speaker_N[mask_N], fold_N[mask_N])
        for name, mask_N in chosen.items()
    )


def _part(
    name: str,
    label_N: NDArray[np.int64],
    predicted_N: NDArray[np.int64],
    speaker_N: NDArray[np.str_],
    fold_N: NDArray[np.int64],
) -> PartScores:
    if not len(label_N):
        return PartScores(name=name, n=0, speakers=0)
    several = len(set(speaker_N.tolist())) > 1

    def interval(metric: metrics.Metric) -> intervals.Interval | None:
        return intervals.interval(label_N, predicted_N, speaker_N, fold_N, metric) if several else None

    return PartScores(
        name=name,
        n=len(label_N),
        speakers=_n_known(speaker_N),
        wa=metrics.weighted_accuracy(label_N, predicted_N),
        ua=metrics.unweighted_accuracy(label_N, predicted_N),
        wa_ci95=interval("wa"),
        ua_ci95=interval("ua"),
    )


def _grouping(predictions: pa.Table) -> tuple[NDArray[np.str_], NDArray[np.int64]]:
    return clusters(predictions), np.array(predictions["fold"].to_pylist())


def _n_known(speaker_N: NDArray[np.str_]) -> int:
    return sum(not name.startswith(_ALONE) for name in set(speaker_N.tolist()))
