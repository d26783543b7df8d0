"""Compare two finished runs over the same corpus: how much better the second is, and whether it may be chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysys import intervals, metrics
from raysys.errors import ConfigError, DamagedError, StorageError
from raysys.metrics import Metric
from raysys.report.parts import clusters
from raysys.results import PREDICTIONS, RESULTS, RunResult
from raysys.selection import TITLES
from raysys.storage import Folder


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """A run's metadata, and its predictions sorted by utterance id."""

    location: str
    results: RunResult
    utterance_ids: list[str]
    label_N: NDArray[np.int64]
    predicted_N: NDArray[np.int64]
    speaker_N: NDArray[np.str_]
    fold_N: NDArray[np.int64]


def compare(a: Folder, b: Folder) -> dict[str, Any]:
    """Scores of both runs and their differences, b minus a, paired by speaker (METHOD, section 8).

    Args:
        a, b: folders of finished runs; the same folder twice gives differences of 0.

    Returns:
        JSON-serialisable: `a` and `b` (run, kind, protocol, modalities, seed, select, parameters, wa, ua), `corpus`,
        `n`, `speakers`, `difference` (wa and ua, each with _ci95 and _excludes_0), `recalls` (one per class), `folds`
        (UA of each fold of a), and `folds_differ`: the runs split the corpus differently, and the folds are those of a.

    Raises:
        StorageError: a folder holds no finished run, or cannot be read.
        ConfigError: the runs are over different corpora, utterances or classes.
    """
    one, other = _read(a), _read(b)
    _refuse_different(one, other)
    classes = one.results.classes
    confusions = [metrics.confusion(one.label_N, run.predicted_N, len(classes)) for run in (one, other)]
    return {
        "a": _about(one, confusions[0]),
        "b": _about(other, confusions[1]),
        "corpus": {"name": one.results.corpus.title, "fingerprint": one.results.corpus.fingerprint},
        "n": len(one.label_N),
        "speakers": len(set(one.speaker_N.tolist())),
        "difference": _difference(one, other, "wa") | _difference(one, other, "ua"),
        "recalls": [
            {"class": name, "n": int(confusions[0][c].sum())}
            | _scores(*(_recall(confusion_CC, c) for confusion_CC in confusions))
            for c, name in enumerate(classes)
        ],
        "folds": _folds(one, other),
        "folds_differ": not np.array_equal(one.fold_N, other.fold_N),
    }


def comparison_table(comparison: dict[str, Any]) -> str:
    """The comparison as text for a terminal, in per cent."""
    a, b, difference = comparison["a"], comparison["b"], comparison["difference"]
    names = [row["class"] for row in comparison["recalls"]] + [row["name"] for row in comparison["folds"]]
    width = max(6, *map(len, names))
    lines = [
        *(f"{letter}  {_described(run)}" for letter, run in (("a", a), ("b", b))),
        "",
        f"{'pooled':<{width}}      n      a      b  b - a   95 % interval",
    ]
    for name in ("wa", "ua"):
        low, high = (100 * end for end in difference[f"{name}_ci95"])
        verdict = "excludes 0" if difference[f"{name}_excludes_0"] else "includes 0: may be chance"
        line = _row(name.upper(), width, {"n": comparison["n"], **_scores(a[name], b[name])})
        lines.append(f"{line}   {low:+.1f} to {high:+.1f}, {verdict}")
    lines += ["", f"{'recall':<{width}}      n      a      b  b - a"]
    lines += [_row(row["class"], width, row) for row in comparison["recalls"]]
    lines += ["", f"{'UA of':<{width}}      n      a      b  b - a"]
    lines += [_row(row["name"], width, row) for row in comparison["folds"]]
    lines += [
        "",
        f"Intervals are over the {comparison['speakers']} speakers, paired: a speaker is scored by both runs.",
        "They do not cover variation between seeds.",
    ]
    if comparison["folds_differ"]:
        lines.append("The runs use different folds: those of a are used here, for both.")
    if a["protocol"] != b["protocol"]:
        lines.append(f"The protocols differ, and so may how easy the test is. a: {a['protocol']}; b: {b['protocol']}.")
    elif a["protocol"] != "nested":
        lines.append(f"Both: {a['protocol']}.")
    return "\n".join(lines)


def _read(folder: Folder) -> _Run:
    try:
        absent = [name for name in (RESULTS, PREDICTIONS) if not folder.exists(name)]
        if absent:
            raise StorageError(
                f"{folder.location}: there is no {' and no '.join(absent)} in it. Expected the folder of a finished "
                f"run, <run.root>/<run.name>; a stopped run is resumed by the command that started it."
            )
        results = RunResult.read(folder)
        predictions = folder.read_table(PREDICTIONS).sort_by("utterance_id")
        table = predictions.to_pydict()
        index = {name: i for i, name in enumerate(results.classes)}
        return _Run(
            location=folder.location,
            results=results,
            utterance_ids=table["utterance_id"],
            label_N=np.array([index[name] for name in table["label"]]),
            predicted_N=np.array([index[name] for name in table["prediction"]]),
            speaker_N=clusters(predictions),
            fold_N=np.array(table["fold"]),
        )
    except (DamagedError, OSError, ValueError, KeyError) as error:
        raise StorageError(
            f"{folder.location}: its {RESULTS} and {PREDICTIONS} cannot be read ({type(error).__name__}: {error}). "
            f"Expected them as a run writes them; run the job again under another --run.name."
        ) from error


def _refuse_different(a: _Run, b: _Run) -> None:
    where = f"{a.location} and {b.location}"
    one, other = a.results.corpus, b.results.corpus
    if one.name != other.name or (one.title != other.title and one.fingerprint != other.fingerprint):
        raise ConfigError(
            f"{where} are runs over different corpora, {one.title} and {other.title}: their scores cannot be compared. "
            f"Give two runs over the same corpus."
        )
    if a.results.classes != b.results.classes:
        raise ConfigError(
            f"{where} have different classes: {', '.join(a.results.classes)}, and {', '.join(b.results.classes)}. "
            f"Run both with the same --corpus.classes and --corpus.emotion-map."
        )
    mine, others = set(a.utterance_ids), set(b.utterance_ids)
    if mine != others:
        alone = sorted(mine ^ others)
        raise ConfigError(
            f"{where} score different utterances: {len(mine - others)} only in the first, {len(others - mine)} only "
            f"in the second, such as {alone[0]!r}. Run both over the same corpus, with the same --corpus flags."
        )
    if a.results.corpus.fingerprint != b.results.corpus.fingerprint:
        raise ConfigError(
            f"{where} use different corpora, with fingerprints {a.results.corpus.fingerprint} and "
            f"{b.results.corpus.fingerprint}: the ids match, but audio, labels, speakers, transcripts, sessions or "
            f"folds differ. Run both over the same corpus."
        )


def _about(run: _Run, confusion_CC: NDArray[np.int64]) -> dict[str, Any]:
    scores = {"wa": float(metrics.score(confusion_CC, "wa")), "ua": float(metrics.score(confusion_CC, "ua"))}
    about = {
        name: getattr(run.results, name) for name in ("kind", "protocol", "modalities", "seed", "select", "parameters")
    }
    return {"run": run.location, **about, **scores}


def _difference(a: _Run, b: _Run, metric: Metric) -> dict[str, Any]:
    mean, low, high = intervals.paired_difference(
        a.label_N, a.predicted_N, b.predicted_N, a.speaker_N, a.fold_N, metric
    )
    return {metric: mean, f"{metric}_ci95": [low, high], f"{metric}_excludes_0": low > 0 or high < 0}


def _recall(confusion_CC: NDArray[np.int64], c: int) -> float | None:
    total = int(confusion_CC[c].sum())
    return int(confusion_CC[c, c]) / total if total else None


def _folds(a: _Run, b: _Run) -> list[dict[str, Any]]:
    rows = []
    names = {fold.fold: fold.name for fold in a.results.folds}
    for fold in np.unique(a.fold_N).tolist():
        own = a.fold_N == fold
        scores = [metrics.unweighted_accuracy(a.label_N[own], run.predicted_N[own]) for run in (a, b)]
        rows.append({"fold": fold, "name": names[fold], "n": int(own.sum()), **_scores(*scores)})
    return rows


def _scores(a: float | None, b: float | None) -> dict[str, float | None]:
    return {"a": a, "b": b, "difference": None if a is None or b is None else b - a}


def _described(run: dict[str, Any]) -> str:
    selected = "" if run["select"] == "ua" else f", by validation {TITLES[run['select']]}"
    return f"{run['run']} ({run['kind']}, modalities: {run['modalities']}, seed {run['seed']}{selected})"


def _row(name: str, width: int, row: dict[str, Any]) -> str:
    if row["difference"] is None:
        return f"{name:<{width}}  {row['n']:5d}      -      -      -"
    return (
        f"{name:<{width}}  {row['n']:5d}  {100 * row['a']:5.1f}  {100 * row['b']:5.1f}  {100 * row['difference']:+5.1f}"
    )
