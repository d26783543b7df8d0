"""Pool the predictions of all folds and compute scores; where a result comes from."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from raysys import intervals, metrics
from raysys.calibration import at_temperature
from raysys.data.manifest import Manifest
from raysys.errors import StorageError
from raysys.report.parts import class_scores, clusters, indices, sex_scores, speaker_scores, split_scores, vote_scores
from raysys.results import CorpusFacts, FoldRow, Interval, PooledScores, Provenance, RunResult, Scores, counts
from raysys.storage import Folder

_SOURCE = Path(__file__).resolve().parents[1]
_PACKAGES = ("ray", "torch", "torchaudio", "transformers", "numpy", "pyarrow")


def pool_predictions(manifest: Manifest, tables: Sequence[pa.Table]) -> pa.Table:
    """All folds' predictions in one table, sorted by utterance id.

    Raises:
        RuntimeError: an utterance that is to be tested is scored twice, or not at all.
    """
    pooled = pa.concat_tables(tables).sort_by("utterance_id")
    scored = pooled["utterance_id"].to_pylist()
    expected = sorted(u.utterance_id for u in manifest.tested)
    if scored != expected:
        found, wanted = Counter(scored), Counter(expected)
        odd = sorted((found - wanted) | (wanted - found))[:5]
        raise RuntimeError(
            f"expected one prediction for each of {len(expected)} utterances, found {len(scored)} predictions; "
            f"missing, unknown or scored twice: {odd}"
        )
    return pooled


def summarise(manifest: Manifest, folds: Sequence[FoldRow], predictions: pa.Table, **facts: Any) -> RunResult:
    """A run's results.

    Args:
        manifest: of the whole corpus.
        predictions: of `pool_predictions`.
        facts: the fields of `RunResult` that the predictions do not tell.
    """
    labels, predicted = (indices(predictions, column, manifest.classes) for column in ("label", "prediction"))
    ordered = tuple(sorted(folds, key=lambda f: f.fold))
    wa, ua = [fold.wa for fold in ordered], [fold.ua for fold in ordered]
    return RunResult(
        **facts,
        corpus=CorpusFacts.of(manifest),
        classes=manifest.classes,
        versions={name: version(name) for name in _PACKAGES} | {"python": platform.python_version()},
        folds=ordered,
        mean=Scores(wa=statistics.fmean(wa), ua=statistics.fmean(ua)),
        std=Scores(wa=statistics.stdev(wa), ua=statistics.stdev(ua)) if len(ordered) > 1 else None,
        pooled=pooled_scores(manifest.classes, predictions, {fold.fold: fold.temperature for fold in ordered}),
        confusion=counts(metrics.confusion(labels, predicted, len(manifest.classes))),
        by_class=class_scores(predictions, manifest.classes),
        by_speaker=speaker_scores(predictions, manifest.classes),
        by_sex=sex_scores(manifest, predictions, manifest.classes),
        by_test=split_scores(manifest, predictions),
        votes=vote_scores(manifest, predictions),
        skipped=manifest.skipped,
        interval_method="t",
    )


def pooled_scores(
    classes: Sequence[str], predictions: pa.Table, temperatures: Mapping[int, float | None]
) -> PooledScores:
    """Scores over all test utterances.

    Args:
        predictions: of `pool_predictions`.
        temperatures: of the folds' models, by fold; empty, or of None: unknown.
    """
    labels, predicted = (indices(predictions, column, classes) for column in ("label", "prediction"))
    probabilities = np.stack([predictions[f"p_{name}"].to_numpy() for name in classes], axis=1)
    of_class = np.bincount(labels)
    return PooledScores(
        n=len(labels),
        wa=float(metrics.weighted_accuracy(labels, predicted)),
        ua=float(metrics.unweighted_accuracy(labels, predicted)),
        wa_ci95=interval_over_speakers(predictions, labels, predicted, "wa"),
        ua_ci95=interval_over_speakers(predictions, labels, predicted, "ua"),
        # WA: always predict the most frequent class. UA: predict any class at random.
        chance_wa=float(of_class.max() / len(labels)),
        chance_ua=float(1 / np.count_nonzero(of_class)),
        macro_f1=float(metrics.macro_f1(labels, predicted)),
        calibration_error=float(metrics.calibration_error(probabilities, labels)),
        calibrated_error=_calibrated_error(probabilities, labels, np.array(predictions["fold"]), temperatures),
        absent_classes=metrics.absent_classes(labels, classes),
    )


def _calibrated_error(
    probability_NC: np.ndarray, label_N: np.ndarray, fold_N: np.ndarray, temperatures: Mapping[int, float | None]
) -> float | None:
    """The calibration error with the probabilities of each fold at its temperature; None if one is unknown."""
    scaled_NC = probability_NC.astype(np.float64)
    for fold in np.unique(fold_N):
        temperature = temperatures.get(int(fold))
        if temperature is None:
            return None
        scaled_NC[fold_N == fold] = at_temperature(probability_NC[fold_N == fold], temperature)
    return float(metrics.calibration_error(scaled_NC, label_N))


def interval_over_speakers(
    predictions: pa.Table, label_N: np.ndarray, predicted: np.ndarray, metric: metrics.Metric
) -> Interval:
    """95 % interval of a pooled score, or of its mean over seeds.

    Args:
        predictions: their speakers and folds.
        predicted: N classes, or S x N with several seeds.
    """
    low, high = intervals.interval(label_N, predicted, clusters(predictions), predictions["fold"].to_numpy(), metric)
    return round(low, 6), round(high, 6)


def provenance(run: Folder, gpus: Iterable[str | None]) -> Provenance:
    """Date (UTC), command line, commit and hardware; for a finished run, what its results already say.

    Args:
        gpus: of each trial the GPU that it trained on, if any.
    """
    # Results that are missing or damaged say nothing.
    with contextlib.suppress(StorageError):
        if (earlier := RunResult.read(run).made) is not None:
            return earlier
    return made_now(gpus)


def made_now(gpus: Iterable[str | None]) -> Provenance:
    """Of this command; see `provenance`."""
    return Provenance(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command_line(sys.argv),
        commit=commit(_SOURCE),
        hardware=hardware(gpus),
    )


def command_line(words: list[str]) -> str:
    """The command line, quoted for a shell; credentials in addresses are removed."""
    program = Path(words[0]).name if words else ""
    return re.sub(r"//[^/\s@]*@", "//", shlex.join([program, *words[1:]]))


def commit(folder: Path) -> str | None:
    """Commit of the checkout that holds this package, and whether files have changed since; None if not in one."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != folder.parent:
            return None
        return git("rev-parse", "HEAD") + (", changed" if git("status", "--porcelain", "--", str(folder)) else "")
    except (OSError, subprocess.SubprocessError):
        return None


def hardware(gpus: Iterable[str | None] = ()) -> str:
    """The driver's processor, usable cores and memory; the GPU models."""
    processor = platform.processor() or platform.machine()
    try:
        models = re.findall(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        models = []
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    parts = [models[0] if models else processor, f"{len(os.sched_getaffinity(0))} cores", f"{memory_gib:.0f} GiB"]
    return ", ".join([*parts, *sorted({gpu for gpu in gpus if gpu})])
