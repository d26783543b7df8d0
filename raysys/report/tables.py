"""Results as text for the terminal."""

from __future__ import annotations

from raysys.data.manifest import Manifest
from raysys.results import AblationResult, FinalModel, GridResult, PartScores, RunResult, SeedsResult
from raysys.selection import TITLES, shown

SYNTHETIC = (
    "The demo corpus is synthetic: speech made by eSpeak NG, with emotions scripted into rate, pitch and words.\n"
    "Its scores show that the system works; they say nothing about people."
)


def corpus_lines(manifest: Manifest) -> str:
    """Summary of the corpus."""
    hours = sum(u.duration_s or 0.0 for u in manifest.utterances) / 3600
    counts = {c: sum(u.emotion == c for u in manifest.utterances) for c in manifest.classes}
    spoken = sum(u.transcript is not None for u in manifest.utterances)
    voted = sum(u.votes is not None for u in manifest.utterances)
    speakers = f"{len(manifest.speakers)} speakers"
    if unknown := manifest.n_unknown:
        speakers += f" and {unknown} utterances of unknown ones"
    lines = [
        f"corpus    {manifest.title}: {len(manifest.utterances)} utterances, {hours:.2f} h, "
        f"{speakers}, {spoken} with a transcript" + (f", {voted} with votes" if voted else ""),
        "classes   " + ", ".join(f"{name} {n}" for name, n in counts.items()),
    ]
    if manifest.skipped:
        lines.append(f"skipped   {len(manifest.skipped)} utterances that cannot be used (listed in results.json)")
    return "\n".join(lines)


def result_table(results: RunResult) -> str:
    """Folds, mean, pooled scores with intervals, and the confusion matrix."""
    width = max(4, *(len(f.name) for f in results.folds))
    lines = [f"{'fold':<{width}}  train  valid   test  epoch     WA     UA"]
    for fold in results.folds:
        lines.append(
            f"{fold.name:<{width}}  {fold.n_train:5d}  {fold.n_validation:5d}  {fold.n:5d}  "
            f"{fold.epoch:5d}  {100 * fold.wa:5.1f}  {100 * fold.ua:5.1f}"
        )
    pad = " " * (width + 29)
    for name, scores in (("mean", results.mean), ("std", results.std)):
        if scores is not None and len(results.folds) > 1:
            lines.append(f"{name}{pad[4:]} {100 * scores.wa:5.1f}  {100 * scores.ua:5.1f}")
    pooled = results.pooled
    parts = f" of {' and '.join(part.name for part in results.by_test)}" if results.by_test else ""
    protocol = results.protocol if results.partition is not None else f"{results.protocol} protocol"
    lines += [
        "",
        f"pooled over {pooled.n} test utterances{parts}, each scored once ({protocol}{results.selected})",
    ]
    for name, meaning in (("wa", "overall accuracy"), ("ua", "mean class recall")):
        low, high = (100 * v for v in getattr(pooled, f"{name}_ci95"))
        chance = getattr(pooled, f"chance_{name}")
        said = "" if chance is None else f"; chance {100 * chance:.1f}"
        lines.append(
            f"  {name.upper()} {100 * getattr(pooled, name):5.1f}   95 % interval {low:.1f} to {high:.1f} "
            f"over speakers ({meaning}){said}"
        )
    lines += [_test_part(part) for part in results.by_test]
    if (votes := results.votes) is not None:
        lines.append(
            f"  annotators' votes: KL divergence {votes.kl:.3f}, Jensen-Shannon {votes.js:.3f} nats (means over "
            f"{votes.n} test utterances that have votes)"
        )
    if results.final is not None:
        lines += ["", final_line(results.final)]
    lines += ["", _confusion(results)]
    return "\n".join(lines)


def _test_part(part: PartScores) -> str:
    """A test part's own scores; without an interval where it has one speaker."""
    line = f"  {part.name}, {part.n} utterances:"
    for name, value, ends in (("WA", part.wa, part.wa_ci95), ("UA", part.ua, part.ua_ci95)):
        interval = "" if ends is None else f" ({100 * ends[0]:.1f} to {100 * ends[1]:.1f})"
        line += f"  {name} {100 * (value or 0.0):.1f}{interval}"
    return line


def _confusion(results: RunResult) -> str:
    classes = results.classes
    width = max(6, *(len(c) for c in classes))
    lines = ["rows: true class, columns: predicted"]
    lines.append(" " * width + "".join(f"  {c[:width]:>{width}}" for c in classes) + "  recall")
    for name, row in zip(classes, results.confusion, strict=True):
        own, total = row[classes.index(name)], sum(row)
        recall = f"{100 * own / total:5.1f}" if total else "    -"
        lines.append(f"{name:<{width}}" + "".join(f"  {n:>{width}d}" for n in row) + f"   {recall}")
    return "\n".join(lines)


def grid_table(results: RunResult) -> str:
    """Points with their validation scores, the folds that chose them, and both protocols."""
    grid = results.grid
    assert grid is not None
    chosen_by: dict[str, list[str]] = {}
    for fold, name in grid.nested.items():
        chosen_by.setdefault(name, []).append(fold)
    width = max(5, *(len(point.name) for point in grid.points))
    by = results.select
    heading = f"validation {TITLES[by]}"
    lines = [f"{'point':<{width}}  {heading}  chosen by fold"]
    sign = 1 if by == "loss" else -1
    for point in sorted(grid.points, key=lambda p: (p.score is None, sign * (p.score or 0.0))):
        score = "stopped" if point.score is None else shown(point.score, by)
        folds = " ".join(chosen_by.get(point.name, []))
        lines.append(f"{point.name:<{width}}  {score:>{len(heading)}}  {folds}".rstrip())
    best, pooled, final = grid.optimistic, results.pooled, grid.final
    lines += [
        "",
        f"nested      WA {100 * pooled.wa:5.1f}  UA {100 * pooled.ua:5.1f}  pooled; point and epoch chosen per "
        f"fold on its own validation {'part' if results.partition else 'speakers'}{results.selected}",
        f"optimistic  WA {100 * best.pooled_wa:5.1f}  UA {100 * best.pooled_ua:5.1f}  pooled; {best.point} "
        f"and each fold's epoch chosen on the test folds, as the paper does: not an estimate",
    ]
    if final is not None:
        lines += ["", final_line(final)]
    return "\n".join([*lines, *_costs(grid)])


def final_line(final: FinalModel) -> str:
    what = ", ".join(filter(None, [final.point, f"{final.epochs} epochs on {final.data}"]))
    return f"final model in {final.folder}/: {what}; it has no test score"


def ablation_table(results: RunResult) -> str:
    """Variants with their pooled scores over seeds and their difference from the full model."""
    found = results.ablation
    assert found is not None
    width = max(7, *(len(row.name) for row in found.variants))
    lines = [f"{'variant':<{width}}     WA     UA   std   UA against full, 95 % interval"]
    for row in found.variants:
        std = "    -" if row.ua_std is None else f"{100 * row.ua_std:5.1f}"
        line = f"{row.name:<{width}}  {100 * row.wa_mean:5.1f}  {100 * row.ua_mean:5.1f} {std}"
        if row.difference is not None:
            low, high = (100 * value for value in row.difference.ua_ci95)
            line += f"   {100 * row.difference.ua:+5.1f}   {low:+.1f} to {high:+.1f}"
        lines.append(line)
    seeds = ", ".join(map(str, found.seeds))
    lines.append(f"pooled over all test utterances, mean and deviation over seeds {seeds}; intervals are over speakers")
    return "\n".join([*lines, *_costs(found)])


def seeds_table(seeds: SeedsResult) -> str:
    """Pooled scores of each seed, their mean and deviation, and the ensemble's."""
    mean, ensemble = seeds.mean, seeds.ensemble
    lines = ["seed         WA     UA"]
    rows = [*((str(scores.seed), scores.wa, scores.ua, "") for scores in seeds.each)]
    for name, scores in (("mean", mean), ("ensemble", ensemble)):
        wa, ua = (" to ".join(f"{100 * end:.1f}" for end in ends) for ends in (scores.wa_ci95, scores.ua_ci95))
        rows.append((name, scores.wa, scores.ua, f"   95 % intervals: WA {wa}, UA {ua}"))
    rows.insert(-1, ("std", mean.wa_std, mean.ua_std, ""))
    lines += [f"{name:<8}  {100 * wa:5.1f}  {100 * ua:5.1f}{more}" for name, wa, ua, more in rows]
    lines.append(
        "pooled over all test utterances; the ensemble predicts by the mean of the seeds' probabilities; intervals are "
        "over speakers"
    )
    return "\n".join(lines)


def _costs(sweep: GridResult | AblationResult) -> list[str]:
    lines: list[str] = []
    if sweep.seconds_beyond_training is not None:
        lines.append(
            f"{sweep.n_trials} trials; one costs {sweep.seconds_beyond_training:.1f} s beyond its training (median)"
        )
    if isinstance(sweep, GridResult) and sweep.n_stopped:
        lines.append(f"{sweep.n_stopped} trials were stopped early, which saved {sweep.epochs_saved} epochs")
    if isinstance(sweep, GridResult) and sweep.n_failed:
        lines.append(f"{sweep.n_failed} trials failed and were excluded from selection (see notes)")
    return lines
