"""A run tells, before its first trial, how much the second view changes; stored views need no task for it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from raysys.config import AugmentConfig, CorpusConfig, ExperimentConfig, LossConfig
from raysys.data.folds import Fold
from raysys.data.manifest import Manifest
from raysys.data.views import Source
from raysys.runs import second_view
from raysys.runs.cluster import Cluster
from raysys.runs.inputs import Ground, print_header
from raysys.runs.run import Run
from raysys.runs.second_view import with_change
from raysys.runs.trial import Trial
from raysys.storage import Folder
from tests.data.test_views import WAVEFORMS, with_kept_views, write_store
from tests.runs.results import trial_in

CLUSTER = Cluster(
    cpus=2, idle_cpus=2, gpus=0, nodes=1, trials_at_once=1, trials_at_first=1, may_grow=False, gpus_per_worker=0.0
)
FAINT = AugmentConfig(lsa=False, speed=False, noise=True, noise_snr_db=(50.0, 50.0), variants=2)


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    folder = Folder.at(str(tmp_path))
    source = Source(store=write_store(folder / "store", WAVEFORMS), augment=FAINT, crop_s=1.0, seed=0)
    config = ExperimentConfig(augment=FAINT)
    return dataclasses.replace(
        trial_in(tmp_path / "run"), config=config, source=with_kept_views(source, folder, WAVEFORMS), fold=0
    )


@pytest.fixture
def ground(trial: Trial, tmp_path: Path) -> Ground:
    manifest = Manifest(corpus="table", classes=("joy", "fear"), utterances=())
    run = Run(
        config=trial.config,
        folder=Folder.at(str(tmp_path)) / "run",
        manifest=manifest,
        points=(),
        learning_hash="",
        notes=("odd",),
    )
    fold = Fold(index=0, name="a", train=tuple(WAVEFORMS), validation=(), test=())
    return Ground(run=run, manifest=manifest, folds=(fold,), store=trial.source.store, cluster=CLUSTER)


@pytest.fixture
def _no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_view, "run_tasks", lambda *_, **__: pytest.fail("a task was started"))


@pytest.mark.usefixtures("_no_task")
def test_the_line_is_printed_and_a_tiny_change_becomes_one_of_the_runs_notes(
    ground: Ground, trial: Trial, capsys: pytest.CaptureFixture[str]
) -> None:
    found = with_change(ground, [trial])
    assert found.run.notes[0] == "odd" and "hardly changes the audio" in found.run.notes[1]
    print_header(found, "1 fold")
    lines = capsys.readouterr().out.splitlines()
    said = "audio     second view: differs from the first by 50 dB (signal to difference, mean of 2 utterances)"
    assert lines.count(said) == 1
    assert sum("the contrastive terms compare nearly the same audio" in line for line in lines) == 1


@pytest.mark.usefixtures("_no_task")
@pytest.mark.parametrize(
    "change",
    [
        {"loss": LossConfig(alpha=0, beta=0)},
        {"augment": dataclasses.replace(FAINT, noise=False)},
        {"corpus": CorpusConfig(modalities="text")},
    ],
)
def test_without_a_second_audio_view_nothing_is_told(ground: Ground, trial: Trial, change: dict[str, Any]) -> None:
    config = dataclasses.replace(trial.config, **change)
    augment = config.augment if config.needs_augmented_view else None
    source = dataclasses.replace(trial.source, augment=augment, views=())
    assert with_change(ground, [dataclasses.replace(trial, config=config, source=source)]) == ground


@pytest.mark.usefixtures("_no_task")
def test_of_a_sweep_the_first_trial_with_a_second_view_is_measured(ground: Ground, trial: Trial) -> None:
    without = dataclasses.replace(trial, config=dataclasses.replace(trial.config, loss=LossConfig(alpha=0, beta=0)))
    assert with_change(ground, [without, trial]) == with_change(ground, [trial]) != ground


def test_views_that_are_computed_are_measured_in_a_task(
    ground: Ground, trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This process would import torch for them."""
    asked = []

    def run_tasks(function, items, *, at_once):  # type: ignore[no-untyped-def]
        asked.append(at_once)
        return map(function, items)

    monkeypatch.setattr(second_view, "run_tasks", run_tasks)
    fresh = dataclasses.replace(trial, source=dataclasses.replace(trial.source, views=()))
    assert with_change(ground, [fresh]) == with_change(ground, [trial])
    assert asked == [1]


@pytest.mark.usefixtures("_no_task")
def test_without_contrastive_terms_the_note_names_what_reads_both_views(ground: Ground, trial: Trial) -> None:
    config = dataclasses.replace(
        trial.config,
        loss=LossConfig(alpha=0, beta=0),
        augment=dataclasses.replace(FAINT, classify_augmented=True),
    )
    assert "cross-entropy reads" in with_change(ground, [dataclasses.replace(trial, config=config)]).run.notes[1]
