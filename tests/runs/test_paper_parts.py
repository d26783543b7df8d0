"""What the paper's command plans: which trials, at which points, and what they take; without Ray."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from raysys.config import ExperimentConfig
from raysys.corpora.read import read_corpus
from raysys.cost import Rate
from raysys.data.folds import make_folds
from raysys.errors import ConfigError, CorpusError
from raysys.presets import PRESETS
from raysys.report.reference import PAPER_VARIANTS
from raysys.runs.axes import PAPER_GRID
from raysys.runs.paper_costs import DECODED_GB_PER_HOUR, costs_of, part_lines, total_lines
from raysys.runs.paper_parts import paper_parts
from raysys.runs.variants import FULL, WITHOUT_TASKS, ablations
from tests.corpora.iemocap_folder import write_iemocap

GRID = ("loss.alpha=1,0.1", "loss.beta=0.01")


def light(**train: int) -> ExperimentConfig:
    config = PRESETS["light"]()
    return dataclasses.replace(config, train=dataclasses.replace(config.train, **train))


@pytest.fixture(scope="module")
def iemocap(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_iemocap(tmp_path_factory.mktemp("corpus") / "IEMOCAP", sessions=3, traps=False))


def test_both_corpora_get_a_grid_in_the_papers_folds_and_iemocap_the_ablation(iemocap: str) -> None:
    first, second = paper_parts(light(), PAPER_GRID, iemocap=iemocap, ravdess=iemocap)
    assert (first.corpus, second.corpus) == ("iemocap", "ravdess")
    assert first.config.corpus.folds == second.config.corpus.folds == "paper"
    assert first.config.corpus.resolved_modalities == "both" and second.config.corpus.resolved_modalities == "audio"
    assert len(first.points) == len(second.points) == 16
    assert second.variants == () and second.variant_points == {}
    assert set(PAPER_VARIANTS) <= {variant.name for variant in first.variants}


def test_every_variant_is_planned_at_every_grid_point_with_both_settings(iemocap: str) -> None:
    (part,) = paper_parts(light(seed=3), GRID, iemocap=iemocap, ravdess=None)
    assert len(part.variant_points) == 2 * len(ablations(part.config))
    for point in part.points:
        # The very configuration of the grid's trials, so that they need not be trained twice.
        assert part.variant_points[FULL, point.name].config == point.config
        assert part.variant_points["no CCB1", point.name].config == dataclasses.replace(
            point.config, model=dataclasses.replace(point.config.model, ccb1=False)
        )
        assert part.variant_points[WITHOUT_TASKS, point.name].config.loss.alpha == 0
        assert part.variant_points[FULL, point.name].config.train.seed == 3
    names = [point.name for point in part.variant_points.values()]
    assert len(set(names)) == len(names) and "no CCB1, alpha=0.1 beta=0.01" in names


def test_what_cannot_be_planned_is_refused(iemocap: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--iemocap and --ravdess are both missing"):
        paper_parts(light(), PAPER_GRID, iemocap=None, ravdess=None)
    with pytest.raises(CorpusError, match=r"nowhere: no such folder.*Set --ravdess"):
        paper_parts(light(), PAPER_GRID, iemocap=iemocap, ravdess=str(tmp_path / "nowhere"))
    own = dataclasses.replace(light(), corpus=dataclasses.replace(light().corpus, name="table", root="my.csv"))
    with pytest.raises(ConfigError, match=r"--corpus.name table: the paper's corpora are given with --iemocap"):
        paper_parts(own, PAPER_GRID, iemocap=iemocap, ravdess=None)
    off = dataclasses.replace(light(), loss=dataclasses.replace(light().loss, gamma=0.0))
    with pytest.raises(ConfigError, match=r"--grid, at alpha=0 beta=0: 'full, seed 0' and .* same configuration"):
        paper_parts(off, ("loss.alpha=1,0", "loss.beta=0"), iemocap=iemocap, ravdess=None)


def test_trials_epochs_and_disk_are_counted_from_the_corpus(iemocap: str, tmp_path: Path) -> None:
    """48 utterances of three sessions: each is trained on, validates and is tested once."""
    (part,) = paper_parts(light(epochs=2), GRID, iemocap=iemocap, ravdess=None)
    manifest = read_corpus(part.config.corpus, cache=tmp_path)
    folds = make_folds(manifest, part.config.corpus)
    costs = costs_of(part, manifest, folds)
    n_variants = len(part.variants) - 1
    assert len(manifest.utterances) == 48 and len(folds) == 3
    assert (costs.grid.trials, costs.final.trials) == (2 * 3, 1)
    assert (costs.grid.trained_on, costs.grid.evaluated, costs.grid.epochs) == (2 * 48, 2 * 2 * 48, 2)
    assert (costs.final.trained_on, costs.final.evaluated) == (48, 0)
    assert [work.trials for work in costs.ablation.values()] == [3] * n_variants, "the full model is the grid's"
    hours = sum(u.duration_s or 0.0 for u in manifest.utterances) / 3600
    shared = hours * DECODED_GB_PER_HOUR * (1 + part.config.augment.variants)
    features = 48 * 2 * part.config.model.width * 4 * (2 + n_variants)
    weights = 4 * 4 * costs.grid.parameters
    assert costs.disk_gb == pytest.approx(shared + (features + weights) / 1e9, rel=0.02)
    rate = Rate(utterances_per_s=2.0, source="--utterances-per-second")
    shown = "\n".join(part_lines(part, manifest, folds, costs, rate))
    assert "2 points x 3 folds x 2 epochs" in shown and f"{3 * n_variants} trials" in shown
    n_trials = 6 + 1 + 3 * n_variants
    total, *_ = total_lines([costs], "H100", None, None)
    assert total == f"total     {n_trials} trials"


def test_the_total_has_hours_and_dollars_of_all_parts() -> None:
    from raysys.cost import Work
    from raysys.runs.paper_costs import Costs

    hour = Work(trials=1, epochs=1, trained_on=3587, evaluated=0, views=2, parameters=0)
    part = Costs(grid=hour, final=hour, ablation={"a": hour, "b": hour}, disk_gb=1.25, running_gb=0.5)
    rate = Rate(utterances_per_s=1.0, source="--utterances-per-second")
    shown = total_lines([part, part], "A100", rate, 2.5)
    assert shown[0].startswith("total     8 trials, 8.0 GPU hours on A100: 8.0 h on one GPU, 1.0 h on eight")
    assert "price     $20.00 at $2.50 a GPU hour" in shown
    assert shown[-1].startswith("disk      2.50 GB stay") and "at most 0.50 GB for each trial" in shown[-1]
