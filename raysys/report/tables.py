"""Results as text for a terminal."""

from __future__ import annotations

from typing import Any

from raysys.data.manifest import Manifest

SYNTHETIC = (
    "The demo corpus is synthetic: speech made by eSpeak NG, with emotions that a script wrote into rate, pitch and "
    "words.\nIts scores show that the system works; they say nothing about people."
)


def corpus_lines(manifest: Manifest) -> str:
    """What the corpus holds."""
    hours = sum(u.duration_s or 0.0 for u in manifest.utterances) / 3600
    counts = {c: sum(u.emotion == c for u in manifest.utterances) for c in manifest.classes}
    spoken = sum(u.transcript is not None for u in manifest.utterances)
    lines = [
        f"corpus    {manifest.corpus}: {len(manifest.utterances)} utterances, {hours:.2f} h, "
        f"{len(manifest.speakers)} speakers, {spoken} with a transcript",
        "classes   " + ", ".join(f"{name} {n}" for name, n in counts.items()),
    ]
    if manifest.skipped:
        lines.append(f"skipped   {len(manifest.skipped)} utterances that cannot be used (listed in results.json)")
    return "\n".join(lines)


def result_table(results: dict[str, Any]) -> str:
    """Folds, mean, pooled scores with intervals, and the confusion matrix."""
    width = max(4, *(len(f["name"]) for f in results["folds"]))
    lines = [f"{'fold':<{width}}  train  valid   test  epoch     WA     UA"]
    for fold in results["folds"]:
        lines.append(
            f"{fold['name']:<{width}}  {fold['n_train']:5d}  {fold['n_validation']:5d}  {fold['n']:5d}  "
            f"{fold['epoch']:5d}  {100 * fold['wa']:5.1f}  {100 * fold['ua']:5.1f}"
        )
    pad = " " * (width + 29)
    for name in ("mean", "std"):
        scores = results[name]
        lines.append(f"{name}{pad[4:]} {100 * scores['wa']:5.1f}  {100 * scores['ua']:5.1f}")
    pooled = results["pooled"]
    lines += ["", f"pooled over {pooled['n']} test utterances, each scored once ({results['protocol']} protocol)"]
    for name, meaning in (("wa", "overall accuracy"), ("ua", "mean class recall")):
        low, high = (100 * v for v in pooled[f"{name}_ci95"])
        lines.append(
            f"  {name.upper()} {100 * pooled[name]:5.1f}   95 % interval {low:.1f} to {high:.1f}, "
            f"resampling speakers ({meaning})"
        )
    lines += ["", _confusion(results)]
    return "\n".join(lines)


def _confusion(results: dict[str, Any]) -> str:
    classes = results["classes"]
    width = max(6, *(len(c) for c in classes))
    lines = ["rows: true class, columns: predicted"]
    lines.append(" " * width + "".join(f"  {c[:width]:>{width}}" for c in classes) + "  recall")
    for name, row in zip(classes, results["confusion"], strict=True):
        own, total = row[classes.index(name)], sum(row)
        recall = f"{100 * own / total:5.1f}" if total else "    -"
        lines.append(f"{name:<{width}}" + "".join(f"  {n:>{width}d}" for n in row) + f"   {recall}")
    return "\n".join(lines)
