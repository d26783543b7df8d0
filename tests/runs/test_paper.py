"""The paper's runs before they train: their folders and claims, and which point the ablation has; without a cluster."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raysys.config import ExperimentConfig
from raysys.errors import ConfigError, StorageError
from raysys.presets import PRESETS
from raysys.report.paper import MISSING, PaperRun
from raysys.runs import paper as module
from raysys.runs.claim import claimed
from raysys.runs.paper import check_parts, paper
from raysys.runs.paper_parts import Part, paper_parts
from raysys.storage import Folder
from tests.corpora.iemocap_folder import write_iemocap

GRID = ("loss.alpha=1,0.1", "loss.beta=0.1")
CHOSEN = {1: "alpha=1 beta=0.1", 2: "alpha=0.1 beta=0.1", 3: "alpha=1 beta=0.1"}


@pytest.fixture(scope="module")
def iemocap(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_iemocap(tmp_path_factory.mktemp("corpus") / "IEMOCAP", sessions=3, traps=False))


def planned(iemocap: str, root: Path, name: str | None = "small") -> tuple[ExperimentConfig, tuple[Part, ...]]:
    light = PRESETS["light"]()
    track = dataclasses.replace(light.track, wandb=False)
    config = dataclasses.replace(light, track=track, run=dataclasses.replace(light.run, root=str(root), name=name))
    return config, paper_parts(config, GRID, iemocap=iemocap, ravdess=None)


def test_the_runs_of_a_paper_are_in_its_folder_and_share_one_cache(iemocap: str, tmp_path: Path) -> None:
    (checked,), folder = check_parts(*planned(iemocap, tmp_path))
    assert checked.ablation is not None
    assert folder.location == str(tmp_path / "small")
    assert checked.grid.folder.location == str(tmp_path / "small" / "iemocap-grid")
    assert checked.ablation.folder.location == str(tmp_path / "small" / "iemocap-ablation")
    assert len(checked.grid.points) == 2 and len(checked.ablation.points) == 2 * len(checked.part.variants)
    for run in checked.runs:
        assert {str(p.config.run.cache) for p in run.points} == {str(tmp_path / ".cache")}
    assert checked.grid.learning_hash != checked.ablation.learning_hash


def test_an_unnamed_paper_has_the_same_name_again_and_another_with_other_settings(iemocap: str, tmp_path: Path) -> None:
    config, parts = planned(iemocap, tmp_path, name=None)
    names = {check_parts(config, parts)[1].location for _ in range(2)}
    shorter = dataclasses.replace(config, train=dataclasses.replace(config.train, epochs=2))
    other = check_parts(shorter, paper_parts(shorter, GRID, iemocap=iemocap, ravdess=None))[1].location
    assert len(names) == 1 and other not in names
    assert all(Path(name).name.startswith("paper-") for name in (*names, other))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """What is trained and added up, in order, by a cluster that trains nothing."""
    found: list[tuple[str, Any]] = []

    @contextlib.contextmanager
    def running(config: ExperimentConfig) -> Iterator[str]:
        found.append(("cluster", config.run.name))
        yield "cluster"

    def search(run: Any, cluster: str, *, early_stopping: bool) -> Any:
        found.append(("grid", run.folder.location))
        return SimpleNamespace(nested=CHOSEN)

    def train_variants(run: Any, cluster: str, variants: Any, seeds: Any, point_of: Any, *, grid: Folder) -> Any:
        names = {point.name for point in run.points}
        chosen = {(v.name, fold): point_of(v.name, seeds[0], fold) for v in variants for fold in CHOSEN}
        assert set(chosen.values()) <= names, "every choice is a point of the run"
        found.append(("ablation", (chosen, seeds, grid.location)))

    monkeypatch.setattr(module, "running", running)
    monkeypatch.setattr(module, "search", search)
    monkeypatch.setattr(module, "train_variants", train_variants)
    for name in ("add_up_grid", "add_up_variants"):
        monkeypatch.setattr(module, name, lambda *_, name=name: found.append((name, None)))
    monkeypatch.setattr(module, "write_report", lambda folder: found.append(("report", folder.location)))
    return found


def test_each_folds_variants_have_the_point_that_the_fold_chose(
    iemocap: str, tmp_path: Path, calls: list[tuple[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = paper(*planned(iemocap, tmp_path))
    assert [name for name, _ in calls] == ["cluster", "grid", "add_up_grid", "ablation", "add_up_variants", "report"]
    chosen, seeds, grid = dict(calls)["ablation"]
    assert seeds == (0,) and grid == str(tmp_path / "small" / "iemocap-grid")
    assert {fold: chosen["no CCB1", fold] for fold in CHOSEN} == {f: f"no CCB1, {point}" for f, point in CHOSEN.items()}
    assert PaperRun.read(folder) == PaperRun(
        grids={"iemocap": "iemocap-grid"}, ablations={"iemocap": "iemocap-ablation"}, notes=(MISSING["ravdess"],)
    )
    said = capsys.readouterr().out
    assert f"note      {MISSING['ravdess']}" in said and f"results in {tmp_path / 'small'}" in said


def test_a_folder_of_another_configuration_is_refused_before_anything_trains(
    iemocap: str, tmp_path: Path, calls: list[tuple[str, Any]]
) -> None:
    config, parts = planned(iemocap, tmp_path)
    paper(config, parts)
    calls.clear()
    longer = dataclasses.replace(config, train=dataclasses.replace(config.train, epochs=50))
    with pytest.raises(ConfigError, match="this folder holds a run of another configuration"):
        paper(longer, paper_parts(longer, GRID, iemocap=iemocap, ravdess=None))
    (checked,), _ = check_parts(config, parts)
    assert checked.ablation is not None
    with claimed(checked.ablation), pytest.raises(StorageError):
        paper(config, parts)
    assert calls == []
