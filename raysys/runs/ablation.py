"""Ablations: variants of one model over the same folds and seeds, and what each costs against the full model."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from raysys import intervals, metrics
from raysys.config import ExperimentConfig
from raysys.data.manifest import Manifest
from raysys.errors import TrainingError
from raysys.metrics import Metric
from raysys.report.parts import clusters
from raysys.report.results import interval_over_speakers, pool_predictions
from raysys.report.tables import ablation_table
from raysys.results import AblationResult, Difference, Interval, RunResult, VariantScores, counts
from raysys.runs.adopt import adopt
from raysys.runs.claim import claimed
from raysys.runs.cluster import Cluster, running
from raysys.runs.finish import add_up, finish, log_summary
from raysys.runs.inputs import Ground, counted_folds, make_trials, prepare_run, print_header
from raysys.runs.run import Run, check
from raysys.runs.second_view import with_change
from raysys.runs.trial import Trial
from raysys.runs.tuner import Outcome, run_trials
from raysys.runs.variants import FULL, WITHOUT_TASKS, Variant, points_by_seed
from raysys.selection import Tested, optimistic
from raysys.storage import Folder


def ablation(config: ExperimentConfig, variants: Sequence[Variant], seeds: Sequence[int]) -> RunResult:
    """Train the full model and its variants on every fold and seed, and compare each variant with the full model.

    Leaves in `<run.root>/<run.name>` what a cross-validation leaves, with the scores of the full model on the first
    seed, and a folder per trial in `trials/`. A sweep that was stopped is resumed by the same command.

    Args:
        variants: see `variants.chosen`.
        seeds: to train each variant with.

    Returns: the content of results.json.

    Raises:
        UserError: anything that the user must fix, before any training where it can be known then.
    """
    started = time.monotonic()
    by_seed = points_by_seed(config, variants, seeds)
    run = check(config, [point for points in by_seed.values() for point in points], "ablation")
    names = {
        (variant.name, seed): point.name
        for seed, points in by_seed.items()
        for variant, point in zip(variants, points, strict=True)
    }
    with claimed(run):
        with running(config) as cluster:
            trained = train_variants(run, cluster, variants, seeds, lambda variant, seed, fold: names[variant, seed])
        return add_up_variants(trained, started)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """Variants whose trials are trained.

    Attributes:
        of_variant: trials by variant and seed, in the order of the folds.
    """

    ground: Ground
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]
    of_variant: dict[tuple[str, int], list[Trial]]
    outcome: Outcome


def train_variants(
    run: Run,
    cluster: Cluster,
    variants: Sequence[Variant],
    seeds: Sequence[int],
    point_of: Callable[[str, int, int], str],
    *,
    grid: Folder | None = None,
) -> Trained:
    """Train every variant on every fold with each seed; the run is claimed.

    Args:
        point_of: name of the run's point for a variant, a seed and a fold's number.
        grid: of a grid search over the same corpus and folds: its trials are taken where they are the same. As there,
            the test part is then scored after every epoch too, for the optimistic protocol.

    Raises:
        UserError: see `ablation`.
    """
    ground = prepare_run(run, cluster)
    curves = grid is not None
    trials = [
        dataclasses.replace(t, test_curve=curves, keeps_model=False) for t in make_trials(ground, ground.run.points)
    ]
    by_place = {(trial.point, trial.fold): trial for trial in trials}
    of_variant = {
        (variant.name, seed): [
            by_place[point_of(variant.name, seed, fold.index + 1), fold.index] for fold in ground.folds
        ]
        for seed in seeds
        for variant in variants
    }
    wanted = [trial for own in of_variant.values() for trial in own]
    seeded = f"{len(seeds)} seed{'s' * (len(seeds) > 1)}"
    ground = with_change(ground, wanted)
    print_header(ground, f"{len(variants)} variants x {seeded} x {counted_folds(ground.folds)}")
    if grid is not None:
        taken = adopt(wanted, grid)
        print(f"taken     {taken} of {len(wanted)} trials are the grid search's own", flush=True)
    outcome = run_trials(wanted, cluster, keep="none")
    if outcome.failed:
        lines = [f"{t.title}: {error}" for t in wanted if (error := outcome.failed.get(t.trial_id))]
        raise TrainingError("trials failed; the same command retries them:\n" + "\n".join(lines))
    return Trained(ground=ground, variants=tuple(variants), seeds=tuple(seeds), of_variant=of_variant, outcome=outcome)


def add_up_variants(trained: Trained, started: float) -> RunResult:
    """Scores of the variants, written with their report.

    Args:
        started: by the monotonic clock.
    """
    ground, outcome, seeds = trained.ground, trained.outcome, trained.seeds
    rows = _variant_scores(ground, outcome, trained.variants, seeds, trained.of_variant)
    places = {row.name: row.trial for row in rows}
    results = add_up(
        ground.run,
        ground.manifest,
        ground.folds,
        trained.of_variant[FULL, seeds[0]],
        outcome,
        kind="ablation",
        seconds=round(time.monotonic() - started, 1),
        tsne={"without": places[WITHOUT_TASKS], "with": places[FULL]},
        ablation=AblationResult(
            seeds=seeds,
            variants=rows,
            n_trials=len(outcome.trials),
            seconds_beyond_training=outcome.seconds_beyond_training(),
        ),
    )
    log_summary(ground.run, rows, results)
    finish(ground.run, results, f"{ablation_table(results)}\n\nfull model, seed {seeds[0]}")
    return results


def _variant_scores(
    ground: Ground,
    outcome: Outcome,
    variants: Sequence[Variant],
    seeds: Sequence[int],
    of_variant: dict[tuple[str, int], list[Trial]],
) -> tuple[VariantScores, ...]:
    """Each variant's pooled scores by seed, their mean and deviation, and the difference from the full model."""
    manifest = ground.manifest
    tables = {
        key: pool_predictions(manifest, [trial.predictions() for trial in own]) for key, own in of_variant.items()
    }
    full = [tables[FULL, seed] for seed in seeds]
    rows = []
    for variant in variants:
        own = [tables[variant.name, seed] for seed in seeds]
        matrices = [_confusion(manifest, table) for table in own]
        wa, ua = (tuple(float(metrics.score(matrix, name)) for matrix in matrices) for name in ("wa", "ua"))
        first = of_variant[variant.name, seeds[0]]
        rows.append(
            VariantScores(
                name=variant.name,
                flags=variant.flags,
                parameters=max(outcome.results[trial.trial_id].parameters for trial in first),
                confusion=counts(sum(matrices[1:], matrices[0])),
                wa=wa,
                wa_mean=statistics.fmean(wa),
                wa_std=statistics.stdev(wa) if len(wa) > 1 else None,
                ua=ua,
                ua_mean=statistics.fmean(ua),
                ua_std=statistics.stdev(ua) if len(ua) > 1 else None,
                wa_ci95=_interval(manifest, own, "wa"),
                ua_ci95=_interval(manifest, own, "ua"),
                difference=None if variant.name == FULL else _difference(manifest, full, own),
                trial=first[0].place,
                **_on_test_folds(first),
            )
        )
    return tuple(rows)


def _on_test_folds(trials: Sequence[Trial]) -> dict[str, float]:
    """Optimistic scores of a variant's trials, each fold's epoch chosen on its test part; none if that was not kept."""
    if not all(trial.test_curve for trial in trials):
        return {}
    # The points may differ by fold, and are not chosen here.
    curves = [Tested(point=FULL, fold=trial.fold + 1, curve=trial.tested_epochs()) for trial in trials]
    pooled = np.sum(list(optimistic(curves, len(trials)).confusions.values()), axis=0)
    return {f"optimistic_{name}": float(metrics.score(pooled, name)) for name in ("wa", "ua")}


def _interval(manifest: Manifest, tables: Sequence[pa.Table], metric: Metric) -> Interval:
    """Of the pooled score, the mean over seeds."""
    predicted_SN = np.stack([_classes(manifest, table, "prediction") for table in tables])
    return interval_over_speakers(tables[0], _classes(manifest, tables[0], "label"), predicted_SN, metric)


def _classes(manifest: Manifest, table: pa.Table, column: str) -> np.ndarray:
    index = {name: i for i, name in enumerate(manifest.classes)}
    return np.array([index[name] for name in table[column].to_pylist()])


def _confusion(manifest: Manifest, table: pa.Table) -> np.ndarray:
    labels, predicted = (_classes(manifest, table, column) for column in ("label", "prediction"))
    return metrics.confusion(labels, predicted, len(manifest.classes))


def _difference(manifest: Manifest, full: Sequence[pa.Table], own: Sequence[pa.Table]) -> Difference:
    """Variant minus full model, paired by speaker; the mean over seeds."""
    table = full[0]

    def between(metric: Metric) -> tuple[float, float, float]:
        return intervals.paired_difference(
            _classes(manifest, table, "label"),
            np.stack([_classes(manifest, t, "prediction") for t in full]),
            np.stack([_classes(manifest, t, "prediction") for t in own]),
            clusters(table),
            np.array(table["fold"].to_pylist()),
            metric,
        )

    (wa, *wa_ends), (ua, *ua_ends) = between("wa"), between("ua")
    return Difference(wa=wa, ua=ua, wa_ci95=(wa_ends[0], wa_ends[1]), ua_ci95=(ua_ends[0], ua_ends[1]))
