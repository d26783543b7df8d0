"""The paper's tables and figures: a grid search per corpus and an ablation, one after another on one cluster."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

from raysys.config import ExperimentConfig
from raysys.report.paper import MISSING, PaperRun
from raysys.runs.ablation import add_up_variants, train_variants
from raysys.runs.claim import claimed
from raysys.runs.cluster import Cluster, running
from raysys.runs.finish import results_line, write_report
from raysys.runs.grid import add_up_grid, search
from raysys.runs.paper_parts import Part
from raysys.runs.points import Point
from raysys.runs.run import Run, check, hash_of_points, with_places
from raysys.storage import Folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A part that may start.

    Attributes:
        ablation: with every variant at every grid point, since nothing is chosen yet; None without an ablation.
    """

    part: Part
    grid: Run
    ablation: Run | None

    @property
    def runs(self) -> tuple[Run, ...]:
        return (self.grid,) if self.ablation is None else (self.grid, self.ablation)


def paper(config: ExperimentConfig, parts: Sequence[Part]) -> Folder:
    """Run the parts of the paper, and report the paper's numbers beside those found.

    Leaves in `<run.root>/<run.name>` the runs `<corpus>-grid` and `<corpus>-ablation`, each as its own job leaves it,
    and paper.json, report.html, paper.tex, paper.md and paper.csv. What was stopped is resumed by the same command;
    the parts share decoded audio, views, texts and features through the cache.

    Args:
        config: with the settings of the cluster and of the run's place.

    Returns: the folder.

    Raises:
        UserError: anything that the user must fix, of all parts before any training where it can be known then.
    """
    checked, folder = check_parts(config, parts)
    with contextlib.ExitStack() as stack:
        for run in (run for one in checked for run in one.runs):
            stack.enter_context(claimed(run))
        with running(config) as cluster:
            for one in checked:
                _train(one, cluster)
    absent = [what for corpus, what in MISSING.items() if corpus not in {part.corpus for part in parts}]
    PaperRun(
        grids={one.part.corpus: _name(one.grid) for one in checked},
        ablations={one.part.corpus: _name(one.ablation) for one in checked if one.ablation is not None},
        notes=tuple(absent),
    ).write(folder)
    for note in absent:
        print(f"note      {note}")
    write_report(folder)
    print(results_line(folder), flush=True)
    return folder


def check_parts(config: ExperimentConfig, parts: Sequence[Part]) -> tuple[list[Checked], Folder]:
    """Read every corpus and try the encoders of all that may be trained.

    Returns: the runs, in their folders below the returned one.
    """
    found = []
    for part in parts:
        variants = tuple(part.variant_points.values())
        # A run of its own name; the points of the ablation contain those of the grid.
        both = check(part.config, (*part.points, *variants), "paper")
        found.append((part, both, variants))
    name = config.run.name or _default_name([both for _, both, _ in found])
    folder = Folder.at(str(with_places(config).run.root)) / name
    return [
        Checked(
            part=part,
            grid=_narrowed(both, folder, f"{part.corpus}-grid", both.points[: len(part.points)]),
            ablation=_narrowed(both, folder, f"{part.corpus}-ablation", both.points[len(part.points) :])
            if variants
            else None,
        )
        for part, both, variants in found
    ], folder


def _narrowed(both: Run, folder: Folder, name: str, points: Sequence[Point]) -> Run:
    """A run of some of the checked points, in its own folder."""
    place = dataclasses.replace(both.config.run, root=folder.location, name=name)
    return dataclasses.replace(
        both,
        config=dataclasses.replace(both.config, run=place),
        folder=folder / name,
        points=tuple(dataclasses.replace(p, config=dataclasses.replace(p.config, run=place)) for p in points),
        learning_hash=hash_of_points(points),
    )


def _default_name(runs: Sequence[Run]) -> str:
    everything = " ".join(f"{run.learning_hash} {run.manifest.fingerprint()}" for run in runs)
    return f"paper-{hashlib.sha256(everything.encode()).hexdigest()[:8]}"


def _name(run: Run) -> str:
    return run.folder.location.rsplit("/", 1)[-1]


def _train(checked: Checked, cluster: Cluster) -> None:
    """Train and report a corpus's grid, then its ablation at what each fold chose on its validation part."""
    started = time.monotonic()
    part = checked.part
    print(f"\npart      {part.corpus}: grid search", flush=True)
    searched = search(checked.grid, cluster, early_stopping=False)
    add_up_grid(searched, part.axes, started)
    if checked.ablation is None:
        return
    started = time.monotonic()
    print(f"\npart      {part.corpus}: ablation", flush=True)

    def point_of(variant: str, seed: int, fold: int) -> str:
        return f"{variant}, {searched.nested[fold]}"

    seeds = (part.config.train.seed,)
    trained = train_variants(checked.ablation, cluster, part.variants, seeds, point_of, grid=checked.grid.folder)
    add_up_variants(trained, started)
