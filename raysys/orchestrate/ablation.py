"""Ablations: variants of one model over the same folds and seeds, and what each costs against the full model."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from raysys import metrics
from raysys.config import ExperimentConfig
from raysys.data.manifest import Manifest
from raysys.errors import ConfigError, TrainingError
from raysys.orchestrate import session
from raysys.orchestrate.crossval import RESULTS, print_header
from raysys.orchestrate.groundwork import Ground, Point, check, claimed, lay, make_tasks
from raysys.orchestrate.places import report, results_line
from raysys.orchestrate.points import FULL, Variant, ablations, parse_variants, variant_points
from raysys.orchestrate.sweep import Sweep, keep_summary, run_sweep, seconds_beyond_training
from raysys.orchestrate.task import PREDICTIONS, FoldTask
from raysys.report.provenance import provenance
from raysys.report.results import pool_predictions, summarise
from raysys.report.tables import SYNTHETIC, ablation_table, result_table


def ablation(config: ExperimentConfig, own: Sequence[str], seeds: Sequence[int]) -> dict[str, Any]:
    """Train the full model and its variants on every fold and seed, and compare each variant with the full model.

    Leaves in `<run.root>/<run.name>` what a cross-validation leaves, with the scores of the full model on the first
    seed, and a folder a trial in `trials/`. A sweep that was stopped goes on with the same command.

    Args:
        own: the user's variants as typed, 'name=flag,flag', beside the seven of METHOD, section 8.
        seeds: each variant is trained on all of them.

    Returns: the content of results.json.

    Raises:
        UserError: anything that the user must fix, before any training where it can be known then.
    """
    began = time.monotonic()
    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError(f"--seeds {' '.join(map(str, seeds))}: expected different seeds, at least one.")
    variants = (*ablations(config), *parse_variants(own))
    by_seed = {seed: variant_points(config, variants, seed) for seed in seeds}
    checked = check(config, [point for points in by_seed.values() for point in points], "ablation")
    with claimed(checked):
        with session.running(config) as cluster:
            ground = lay(checked, cluster)
            checked = ground.checked
            tasks = make_tasks(ground, checked.points)
            seeded = f"{len(seeds)} seed{'s' * (len(seeds) > 1)}"
            trials = f"{len(variants)} variants x {seeded} x {len(ground.folds)} folds"
            print_header(checked, ground.manifest, trials, cluster)
            sweep = run_sweep(tasks, cluster, chosen_by_validation=False)
        if sweep.failed:
            lines = [f"{t.point}, fold {t.fold + 1}: {error}" for t in tasks if (error := sweep.failed.get(t.trial_id))]
            raise TrainingError("trials failed; the same command retries them:\n" + "\n".join(lines))
        results = _add_up(ground, sweep, variants, seeds, seconds=time.monotonic() - began)
    print(f"\n{ablation_table(results)}\n\nfull model, seed {seeds[0]}\n{result_table(results)}")
    if config.corpus.name == "demo":
        print(f"\n{SYNTHETIC}")
    print(f"\n{results['seconds']:.0f} s; {results_line(checked.run)}", flush=True)
    return results


def _add_up(
    ground: Ground, sweep: Sweep, variants: Sequence[Variant], seeds: Sequence[int], *, seconds: float
) -> dict[str, Any]:
    checked, manifest = ground.checked, ground.manifest
    config, run = checked.config, checked.run
    # Points are in the order of make_tasks: seed by seed, variant by variant.
    points: dict[tuple[str, int], Point] = {}
    for number, point in enumerate(checked.points):
        points[variants[number % len(variants)].name, seeds[number // len(variants)]] = point
    tasks = {key: [t for t in sweep.tasks if t.point == point.name] for key, point in points.items()}
    tables = {key: pool_predictions(manifest, [_predictions(t) for t in own]) for key, own in tasks.items()}
    full = [tables[FULL, seed] for seed in seeds]
    rows = []
    for variant in variants:
        own = [tables[variant.name, seed] for seed in seeds]
        rows.append(
            {
                "name": variant.name,
                "flags": list(variant.flags),
                "parameters": max(sweep.results[t.trial_id].parameters for t in tasks[variant.name, seeds[0]]),
                **_scores(manifest, own),
                "difference": None if variant.name == FULL else _difference(manifest, full, own),
                "trial": tasks[variant.name, seeds[0]][0].place,
            }
        )
    trials = {row["name"]: row["trial"] for row in rows}
    overhead = seconds_beyond_training(sweep.results.values())
    first = tasks[FULL, seeds[0]]
    results = summarise(
        manifest,
        [sweep.results[t.trial_id].row(t.place) for t in first],
        full[0],
        kind="ablation",
        protocol="nested",
        modalities=config.corpus.resolved_modalities,
        seed=seeds[0],
        parameters=rows[0]["parameters"],
        made=provenance(checked.run, RESULTS, (r.gpu for r in sweep.results.values())),
        notes=[*checked.notes, *sweep.notes()],
        seconds=round(seconds, 1),
        tsne={"without": trials["no CPC, no ECL"], "with": trials[FULL]},
        ablation={
            "seeds": list(seeds),
            "variants": rows,
            "n_trials": len(sweep.tasks),
            "seconds_beyond_training": None if overhead is None else round(overhead, 2),
        },
    )
    run.write_table(PREDICTIONS, full[0])
    run.write_json(RESULTS, results)
    report(run)
    keep_summary(checked, rows, results["pooled"])
    return results


def _predictions(task: FoldTask) -> pa.Table:
    return task.folder.read_table(PREDICTIONS)


def _classes(manifest: Manifest, table: pa.Table, column: str) -> np.ndarray:
    index = {name: i for i, name in enumerate(manifest.classes)}
    return np.array([index[name] for name in table[column].to_pylist()])


def _scores(manifest: Manifest, tables: Sequence[pa.Table]) -> dict[str, Any]:
    """Pooled scores of each seed, their mean and deviation, and the confusion of all seeds together."""
    n_classes = len(manifest.classes)
    matrices = [
        metrics.confusion(_classes(manifest, t, "label"), _classes(manifest, t, "prediction"), n_classes)
        for t in tables
    ]
    scores: dict[str, Any] = {"confusion": sum(matrices[1:], matrices[0]).tolist()}
    for name in ("wa", "ua"):
        values = [float(metrics.score(matrix, name)) for matrix in matrices]  # type: ignore[arg-type]
        scores[name] = values
        scores[f"{name}_mean"] = statistics.fmean(values)
        scores[f"{name}_std"] = statistics.stdev(values) if len(values) > 1 else None
    return scores


def _difference(manifest: Manifest, full: Sequence[pa.Table], own: Sequence[pa.Table]) -> dict[str, Any]:
    """Variant minus full model, the same speakers drawn for both; the mean over seeds."""
    table = full[0]
    difference: dict[str, Any] = {}
    for name in ("wa", "ua"):
        mean, low, high = metrics.paired_difference(
            _classes(manifest, table, "label"),
            np.stack([_classes(manifest, t, "prediction") for t in full]),
            np.stack([_classes(manifest, t, "prediction") for t in own]),
            np.array(table["speaker"].to_pylist()),
            np.array(table["fold"].to_pylist()),
            name,  # type: ignore[arg-type]
        )
        difference |= {name: mean, f"{name}_ci95": [low, high]}
    return difference
