"""Where a run is stored: by flag, environment or default, inside and outside a submitted job. Ray is not started."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from raysys.cli import CORPUS_ROOT, parse
from raysys.config import AugmentConfig, CorpusConfig, ExperimentConfig, LossConfig, ModelConfig, RunConfig, TrackConfig
from raysys.data.manifest import Manifest
from raysys.errors import ConfigError, StorageError
from raysys.runs import finish as finish_module
from raysys.runs import run as run_module
from raysys.runs.finish import log_summary, results_line
from raysys.runs.points import Point
from raysys.runs.run import CLAIM, RUN_ROOT, Run, _with_project, check, with_places
from raysys.storage import Folder
from tests.report.made_up import run_result, seeds

IN_A_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (IN_A_JOB, RUN_ROOT, CORPUS_ROOT):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def in_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(IN_A_JOB, "{}")


def nodes(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """The cluster is a stub; tests/ray submits to a real one."""
    monkeypatch.setattr(run_module, "nodes_of_this_job", lambda: count)


def config(root: str | None = "/runs", cache: str | None = None, corpus: str | None = None) -> ExperimentConfig:
    return ExperimentConfig(run=RunConfig(root=root, cache=cache), corpus=CorpusConfig(root=corpus))


def root_and_cache(found: ExperimentConfig) -> tuple[str | None, str | None]:
    return found.run.root, found.run.cache


def test_without_a_flag_a_run_is_below_the_working_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    here = os.getcwd()
    assert root_and_cache(with_places(config(None))) == (f"{here}/runs", f"{here}/runs/.cache")


def test_a_models_folder_is_meant_wherever_a_trial_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tune's processes work in folders of their own, where a relative path leads nowhere."""
    monkeypatch.chdir(tmp_path)
    for name in ("speech", "words", "light"):
        (tmp_path / name).mkdir()
    model = ModelConfig(audio="speech", text=f"../{tmp_path.name}/words", freeze_text="all")
    found = with_places(ExperimentConfig(model=model, augment=AugmentConfig(cbca_model="light")))
    assert found.model == dataclasses.replace(model, audio=str(tmp_path / "speech"), text=str(tmp_path / "words"))
    assert found.augment.cbca_model == "light"
    on_the_hub = ExperimentConfig(model=ModelConfig(audio="openai/whisper-tiny.en"))
    assert with_places(on_the_hub).model == on_the_hub.model


@pytest.mark.parametrize("root", ["/shared/runs", "s3://bucket/runs"])
def test_the_environment_gives_the_default_everywhere(
    monkeypatch: pytest.MonkeyPatch, in_a_job: None, root: str
) -> None:
    nodes(monkeypatch, 5)
    monkeypatch.setenv(RUN_ROOT, root)
    assert root_and_cache(with_places(config(None))) == (root, f"{root}/.cache")
    assert with_places(config("/mine", "/cache")).run == RunConfig(root="/mine", cache="/cache")


def test_a_job_on_one_node_keeps_its_runs_in_the_home_there(monkeypatch: pytest.MonkeyPatch, in_a_job: None) -> None:
    nodes(monkeypatch, 1)
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.setenv(RUN_ROOT, "")
    assert with_places(config(None)).run.root == "/home/ann/raysys/runs"


def test_a_job_on_several_nodes_that_share_nothing_known_is_refused(
    monkeypatch: pytest.MonkeyPatch, in_a_job: None
) -> None:
    nodes(monkeypatch, 2)
    with pytest.raises(StorageError, match=r"2 nodes.*--run\.root.*RAYSYS_RUN_ROOT"):
        with_places(config(None))


@pytest.mark.parametrize(
    ("relative", "flag"),
    [
        (config(root="runs"), "--run.root runs"),
        (config(cache="../cache"), "--run.cache ../cache"),
        (config(corpus="~/corpus"), "--corpus.root ~/corpus"),
        (ExperimentConfig(augment=AugmentConfig(noise_folder="noise")), "--augment.noise-folder noise"),
        (ExperimentConfig(augment=AugmentConfig(room_folder="rooms")), "--augment.room-folder rooms"),
    ],
)
def test_a_relative_path_is_refused_in_a_submitted_job_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, relative: ExperimentConfig, flag: str
) -> None:
    with_places(relative)
    monkeypatch.setenv(IN_A_JOB, "{}")
    with pytest.raises(StorageError) as error:
        with_places(relative)
    assert str(error.value).startswith(flag)


def test_a_relative_path_in_the_environment_is_refused_in_a_submitted_job(
    monkeypatch: pytest.MonkeyPatch, in_a_job: None
) -> None:
    monkeypatch.setenv(RUN_ROOT, "runs")
    with pytest.raises(StorageError, match="RAYSYS_RUN_ROOT=runs: expected an absolute path"):
        with_places(config(None))


def test_absolute_paths_and_addresses_are_accepted_in_a_submitted_job(in_a_job: None) -> None:
    with_places(config())
    with_places(config("s3://bucket/runs", "gs://bucket/cache", "/data/iemocap"))


def _table(tmp_path: Path) -> list[str]:
    """Flags of a corpus of three speakers with two classes."""
    rows = []
    for i, (speaker, emotion) in enumerate((s, e) for s in ("ana", "bo", "cy") for e in ("calm", "tense")):
        soundfile.write(tmp_path / f"{i}.wav", np.sin(np.arange(1600) * (i + 1) / 100), 16_000)
        rows.append(f"{i}.wav,{speaker},{emotion}\n")
    (tmp_path / "my.csv").write_text("path,speaker,emotion\n" + "".join(rows))
    return ["--preset", "light", "--corpus.root", str(tmp_path / "my.csv"), "--run.root", str(tmp_path / "runs")]


def test_recordings_are_read_at_the_start_of_every_point_that_hears_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("hum", "rain"):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "a.wav", np.ones(1600), 16_000)
    base = parse(_table(tmp_path)).config
    hum, rain = (
        dataclasses.replace(base, augment=dataclasses.replace(base.augment, noise_folder=name))
        for name in ("hum", "rain")
    )
    deaf = dataclasses.replace(rain, loss=LossConfig(alpha=0, beta=0))
    deaf = dataclasses.replace(deaf, augment=dataclasses.replace(deaf.augment, classify_augmented=False))
    points = [Point(name=name, config=point) for name, point in {"a": hum, "b": deaf, "c": hum}.items()]
    run = check(base, points, "gridsearch")
    assert [found.folder for found in run.recordings] == [str(tmp_path / "hum")]
    assert run.points[1].config.augment.noise_folder == str(tmp_path / "rain"), "as other processes understand it"
    (tmp_path / "hum" / "b.wav").write_bytes(b"damaged")
    with pytest.raises(ConfigError, match=r"(?s)--augment.noise-folder .*hum/b\.wav: "):
        check(base, points, "gridsearch")


def test_the_corpus_too_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"needs --corpus\.root"):
        parse(["--corpus.name", "iemocap"])
    monkeypatch.setenv(CORPUS_ROOT, "/shared/IEMOCAP")
    assert parse(["--corpus.name", "iemocap"]).config.corpus.root == "/shared/IEMOCAP"
    assert parse(["--corpus.name", "iemocap", "--corpus.root", "/other"]).config.corpus.root == "/other"
    monkeypatch.setenv(CORPUS_ROOT, "")
    assert parse([]).config.corpus.root is None


def test_the_last_line_of_a_job_says_how_to_fetch_what_is_on_its_node(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = Folder.at(str(tmp_path / "runs" / "mine"))
    assert results_line(run) == f"results in {run.location}, to look at: report.html"
    monkeypatch.setenv(IN_A_JOB, "{}")
    assert results_line(run).startswith(f"results in {run.location}, to look at: report.html; to fetch them: scp -r ")
    assert results_line(run).endswith(f":{run.location} .")
    assert "scp" not in results_line(Folder.at("memory://bucket/runs/mine"))


def test_two_tables_under_one_configuration_do_not_share_a_folder(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.sin(np.arange(1600) / 9), 16_000)
    rows = [f"{s}{e},a.wav,{s},{e}" for s in "123" for e in "xy"]

    def name(table: str, transcript: str, *flags: str) -> str:
        path = tmp_path / table
        path.parent.mkdir(exist_ok=True)
        audio = [row.replace("a.wav", str(tmp_path / "a.wav")) for row in rows]
        path.write_text(
            "utterance_id,audio_path,speaker,emotion,transcript\n" + "".join(f"{r},{transcript}\n" for r in audio)
        )
        command = ["--preset", "light", "--corpus.root", str(path), "--corpus.allow-duplicates", *flags]
        config = parse([*command, "--run.root", str(tmp_path / "runs")]).config
        return check(config, [Point(name="", config=config)], "crossval").folder.location.rsplit("/", 1)[-1]

    first = name("one/my calls.csv", "Yes.")
    assert first.startswith("crossval-my-calls-")
    assert name("two/my calls.csv", "No.") != first
    assert name("three/my calls.csv", "Yes.") == first, "the same contents elsewhere are the same run"
    assert name("one/my calls.csv", "Yes.", "--corpus.title", "../Ours") == first.replace("my-calls", "Ours")


# The project of Weights & Biases


@pytest.mark.parametrize(
    ("flag", "environment", "project"),
    [(None, None, "raysys"), (None, "", "raysys"), (None, "theirs", "theirs"), ("mine", "theirs", "mine")],
)
def test_the_project_is_the_flags_the_environments_or_ours_and_reaches_every_worker(
    monkeypatch: pytest.MonkeyPatch, flag: str | None, environment: str | None, project: str
) -> None:
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    if environment is not None:
        monkeypatch.setenv("WANDB_PROJECT", environment)
    # Workers on other nodes have another environment: it is part of the configuration that they get.
    assert _with_project(ExperimentConfig(track=TrackConfig(project=flag))).track.project == project


def test_a_project_that_wandb_refuses_is_refused_at_the_start_unless_nothing_is_tracked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "a/b")
    with pytest.raises(ConfigError, match=r"WANDB_PROJECT\) is 'a/b'"):
        _with_project(ExperimentConfig())
    _with_project(ExperimentConfig(track=TrackConfig(wandb=False)))


def test_the_summary_of_seeds_has_each_their_mean_and_their_ensemble(monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[Any] = []

    class Tracker:
        def __init__(self, **_: Any) -> None: ...

        def table(self, *of: Any) -> None:
            logged.extend(of)

    monkeypatch.setattr(finish_module, "WandbTracker", Tracker)
    folder = Folder.at("memory://summary/several")
    folder.write_json(CLAIM, {})
    run = Run(
        config=ExperimentConfig(),
        folder=folder,
        manifest=Manifest(corpus="table", classes=("joy",), utterances=()),
        points=(),
        learning_hash="",
        notes=(),
    )
    results = dataclasses.replace(run_result(), seeds=seeds())
    assert results.seeds is not None
    log_summary(run, results.seeds.each, results)
    _, rows, summary = logged
    assert rows == [{"seed": 0, "wa": 0.5, "ua": 0.4}, {"seed": 3, "wa": 0.6, "ua": 0.6}]
    assert (summary["ua"], summary["mean_over_seeds"]["ua_std"], summary["ensemble"]["ua"]) == (0.5, 0.1414, 0.68)
