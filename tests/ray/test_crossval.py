"""The main job on a real Ray cluster, on small corpora with tiny encoders."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import soundfile

from raysys.calibration import at_temperature
from raysys.cli import parse
from raysys.config import ExperimentConfig
from raysys.errors import ConfigError, ManifestError
from raysys.inference import load_model, read_waveform
from raysys.results import RunResult
from raysys.runs.cluster import running
from raysys.runs.crossval import crossval
from raysys.runs.inputs import make_trials, prepare_run
from raysys.runs.points import Point
from raysys.runs.run import check
from raysys.runs.tuner import run_trials
from raysys.storage import Folder
from tests.corpora.iemocap_folder import write_iemocap
from tests.model.encoder_folders import write_encoders
from tests.ray.conftest import Head

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).resolve().parents[2]
TINY = ["--model.audio", "tiny", "--model.text", "tiny", "--model.width", "32", "--model.heads", "4"]
TINY += ["--model.feed-forward", "64"]
ONE_PROCESS = ["--cluster.max-concurrent-trials", "1"]
"""All folds in one trial's process, for each imports for seconds."""


def _write_table(folder: Path, *, broken: int = 0) -> Path:
    """Three speakers, two emotions told apart by pitch, no transcripts, 12 utterances each, silence around them."""
    generator = np.random.default_rng(0)
    rows = []
    for speaker in ("ana", "bo", "cy"):
        for i in range(12):
            emotion = ("calm", "tense")[i % 2]
            seconds = np.arange(int(8000 * generator.uniform(0.4, 0.7))) / 8000
            tone = 0.3 * np.sin(2 * np.pi * (200 if emotion == "calm" else 900) * seconds)
            path = folder / f"{speaker}{i}.wav"
            noisy = tone + 0.01 * generator.standard_normal(len(seconds))
            soundfile.write(path, np.pad(noisy, 4000), 8000)
            if len(rows) < broken:
                soundfile.write(path, np.full(4000, np.nan, np.float32), 8000, subtype="FLOAT")
            rows.append([f"{speaker}-{i}", path.name, speaker, emotion])
    table = folder / "table.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["utterance_id", "audio_path", "speaker", "emotion"])
        writer.writerows(rows)
    return table


def _flags(tmp_path: Path, *flags: str) -> ExperimentConfig:
    return parse([*flags, "--run.root", str(tmp_path / "runs"), "--track.no-wandb"]).config


def test_a_table_of_three_speakers_without_transcripts_trains_and_reports(
    joined: Head, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = _write_table(tmp_path, broken=1)
    # Of one speaker the same sound in other bytes: it is told, and leaks nowhere.
    samples_S, rate_hz = soundfile.read(tmp_path / "ana1.wav")
    soundfile.write(tmp_path / "ana3.wav", samples_S, rate_hz, subtype="PCM_24")
    flags = ["--corpus.name", "table", "--corpus.root", str(table), "--train.epochs", "6", *TINY]
    flags += ["--model.audio", "light", "--train.batch-size", "4", "--corpus.trim-db", "40", "--run.name", "own"]
    flags += ONE_PROCESS
    with pytest.raises(ManifestError, match=r"ana0\.wav.*not finite(?s:.*)on-error skip"):
        crossval(_flags(tmp_path, *flags))
    config = _flags(tmp_path, *flags, "--corpus.on-error", "skip")
    results = crossval(config)
    run = tmp_path / "runs" / "own"
    predictions = pq.read_table(run / "predictions.parquet")
    assert predictions.num_rows == 35
    assert len(set(predictions["utterance_id"].to_pylist())) == 35
    assert predictions.column_names[-2:] == ["p_calm", "p_tense"]
    assert RunResult.read(Folder.at(str(run))) == results
    assert [s.utterance_id for s in results.skipped] == ["ana-0"]
    assert sum("ana-1 = ana-3" in note for note in results.notes) == 1
    assert results.pooled.ua > 0.8, "two tones 700 Hz apart were not told apart"
    (decoded,) = (tmp_path / "runs" / ".cache").glob("waveforms-*/index.parquet")
    lengths = pq.read_table(decoded)["samples"].drop_null().to_numpy() / 16_000
    assert lengths.max() < 0.7 + 2 * 0.13, "a second of silence was not cut off"
    assert not (run / "folds" / "1" / "last.safetensors").exists()
    # A fold's model gives the test predictions of its fold, at the temperature that its validation part gave.
    (fold,) = (row for row in results.folds if row.fold == 1)
    own = predictions.filter(pc.equal(predictions["fold"], 1)).to_pylist()
    paths = [str(tmp_path / f"{row['utterance_id'].replace('-', '')}.wav") for row in own]
    found_NC = load_model(str(run / fold.trial / "model")).probabilities([read_waveform(path) for path in paths])
    known_NC = at_temperature([[row["p_calm"], row["p_tense"]] for row in own], fold.temperature)
    np.testing.assert_allclose(found_NC, known_NC, atol=1e-5)
    # The same command again repeats nothing.
    before = (run / "folds" / "1" / "result.json").stat().st_mtime_ns
    capsys.readouterr()
    crossval(config)
    assert "3 of 3 trials are finished already" in capsys.readouterr().out
    assert (run / "folds" / "1" / "result.json").stat().st_mtime_ns == before
    # The folder belongs to this configuration.
    with pytest.raises(ConfigError, match="another configuration"):
        crossval(dataclasses.replace(config, train=dataclasses.replace(config.train, seed=1)))


def test_paper_preset_at_tiny_width_runs_on_an_iemocap_folder(
    joined: Head, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_iemocap(tmp_path / "IEMOCAP", sessions=3)
    flags = ["--preset", "paper", "--corpus.name", "iemocap", "--corpus.root", str(root), *TINY]
    crossval(_flags(tmp_path, *flags, "--train.max-steps", "2", *ONE_PROCESS, "--run.name", "paper"))
    assert "second view: differs from the first by" in capsys.readouterr().out, "views are computed, in a task"
    run = tmp_path / "runs" / "paper"
    assert pq.read_table(run / "predictions.parquet").num_rows == 3 * 2 * 4 * 2
    losses = json.loads((run / "folds" / "1" / "history.jsonl").read_text().splitlines()[0])["losses"]
    assert all(np.isfinite(losses[name]) and losses[name] > 0 for name in ("ce", "scl", "acl", "cpc"))


@pytest.mark.nightly
def test_each_seed_of_several_predicts_what_it_predicts_alone(
    joined: Head, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--corpus.name", "table", "--corpus.root", str(_write_table(tmp_path)), "--train.epochs", "1", *TINY]
    flags += ["--model.audio", "light", "--train.batch-size", "4", *ONE_PROCESS]
    alone = crossval(_flags(tmp_path, *flags, "--train.seed", "2", "--run.name", "alone"))
    assert alone.seeds is None
    config = _flags(tmp_path, *flags, "--run.name", "both")
    results = crossval(config, (1, 2))
    assert results.seeds is not None and results.seed == 1 and results.folds[0].point == "seed 1"
    assert [scores.seed for scores in results.seeds.each] == [1, 2]
    assert (results.seeds.each[0].ua, results.seeds.each[1].ua) == (results.pooled.ua, alone.pooled.ua)
    run = tmp_path / "runs" / "both"
    one, two, both = (pq.read_table(run / f"predictions-{name}.parquet") for name in ("seed-1", "seed-2", "ensemble"))
    assert two.equals(pq.read_table(tmp_path / "runs" / "alone" / "predictions.parquet"))
    assert one.equals(pq.read_table(run / "predictions.parquet")) and not one.equals(two)
    mean = (one["p_calm"].to_numpy().astype("f8") + two["p_calm"].to_numpy()) / 2
    np.testing.assert_allclose(both["p_calm"], mean, atol=1e-7)
    assert RunResult.read(Folder.at(str(run))) == results
    # The same command again repeats nothing; other seeds are another run.
    capsys.readouterr()
    crossval(config, (1, 2))
    assert "6 of 6 trials are finished already" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="another configuration"):
        crossval(config, (1, 2, 3))


FirstFold = Callable[..., tuple[list[float], Any]]


@pytest.fixture
def first_fold(joined: Head, tmp_path: Path) -> FirstFold:
    """Trains fold 1 with all random parts off; gives the losses of its steps and its predictions."""
    corpus = write_iemocap(tmp_path / "IEMOCAP", sessions=3, per_class=3)
    flags = ["--corpus.name", "iemocap", "--corpus.root", str(corpus), *TINY]
    flags += ["--train.epochs", "2", "--train.batch-size", "6", "--train.accumulate", "2"]
    # Views are made as they are needed, by data tasks.
    flags += ["--model.dropout", "0", "--train.text-dropout", "0", "--augment.variants", "0"]

    def train(name: str, *more: str) -> tuple[list[float], Any]:
        config = _flags(tmp_path, *flags, *more, "--run.name", name)
        run = check(config, [Point(name="", config=config)], "crossval")
        with running(config) as cluster:
            trial = make_trials(prepare_run(run, cluster), run.points)[0]
            run_trials([dataclasses.replace(trial, torch_trainer=name == "trainer")], cluster, keep="all")
        fold = run.folder / "folds" / "1"
        lines = fold.read_bytes("history.jsonl").decode().splitlines()
        losses = [loss for line in lines for loss in json.loads(line)["step_losses"]]
        return losses, fold.read_table("predictions.parquet")

    return train


@pytest.mark.nightly
def test_torch_trainer_gives_what_the_trials_own_process_gives(first_fold: FirstFold) -> None:
    # Three cores to train and one for its data are all that the cluster has.
    whole = ["--cluster.cpus-per-worker", "3"]
    losses, predictions = first_fold("in-process", *whole)
    assert len(losses) >= 8
    # One worker under TorchTrainer: the same to the bit.
    trainer_losses, trainer_predictions = first_fold("trainer", *whole)
    assert trainer_losses == losses
    assert trainer_predictions.equals(predictions)
    # Two workers: the same batches, split; every test utterance once.
    two_losses, two_predictions = first_fold("two", "--cluster.workers-per-trial", "2")
    np.testing.assert_allclose(two_losses[:5], losses[:5], atol=1e-4, rtol=0)
    assert two_predictions["utterance_id"].equals(predictions["utterance_id"])


@pytest.mark.slow
def test_frozen_encoders_are_heard_once_for_all_trials(
    joined: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = write_iemocap(tmp_path / "IEMOCAP", sessions=3)
    audio, text = write_encoders(tmp_path)
    # Relative to the command's folder: neither the cluster's processes nor Tune's work there.
    monkeypatch.chdir(tmp_path)
    flags = ["--corpus.name", "iemocap", "--corpus.root", str(corpus), "--train.epochs", "2", *TINY]
    flags += ["--model.audio", audio.name, "--model.text", text.name, "--model.freeze-audio", "all", *ONE_PROCESS]
    flags += ["--model.freeze-text", "all", "--augment.variants", "2", "--augment.cbca-model", "light"]
    crossval(_flags(tmp_path, *flags, "--run.name", "kept"))
    kept = pq.read_table(tmp_path / "runs" / "kept" / "predictions.parquet")
    # Whole utterances, two augmented views of each, and the texts.
    assert len(list((tmp_path / "runs" / ".cache").glob("features-*"))) == 4
    for name in ("keeps_audio_features", "keeps_text_features"):
        monkeypatch.setattr(ExperimentConfig, name, property(lambda _: False))
    crossval(_flags(tmp_path, *flags, "--run.name", "heard"))
    heard = pq.read_table(tmp_path / "runs" / "heard" / "predictions.parquet")
    assert kept["prediction"].equals(heard["prediction"])
    for column in kept.column_names:
        if column.startswith("p_"):
            np.testing.assert_allclose(kept[column], heard[column], atol=1e-3)


def _submit(head: Head, *flags: str, working_dir: bool = True) -> str:
    """Run jobs/crossval.py as a submitted job. Returns: what it printed."""
    command = ["ray", "job", "submit", "--address", head.dashboard]
    command += ["--working-dir", str(ROOT)] if working_dir else []
    command += ["--", "python", "jobs/crossval.py", *flags]
    environment = {k: v for k, v in head.environment.items() if k != "RAY_ADDRESS"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1500)
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed[-5000:]
    return printed


def _where(printed: str) -> Path:
    """The run's folder, as the job's last line gives it."""
    (line,) = (line for line in printed.splitlines() if "; results in " in line)
    found = re.fullmatch(
        r"\d+ s; results in (\S+), to look at: report\.html; to fetch them: scp -r [\w.]+:(\S+) \.", line
    )
    assert found is not None, line
    assert found[1] == found[2]
    return Path(found[1])


@pytest.mark.slow
def test_a_submitted_job_needs_no_place_and_says_where_its_results_are(head: Head, tmp_path: Path) -> None:
    table = _write_table(tmp_path)
    flags = ["--corpus.name", "table", "--corpus.root", str(table), "--train.epochs", "1", *TINY]
    printed = _submit(head, *flags)
    run = _where(printed)
    runs = Path(head.environment["HOME"]) / "raysys" / "runs"
    assert run.parent == runs
    assert pq.read_table(run / "predictions.parquet").num_rows == 36
    assert list((run / "wandb").glob("offline-run-*")), "no W&B run was kept"
    assert (run / "report.html").exists()
    for name in ("WANDB_API_KEY", "RAY_AUTH_TOKEN"):
        secret = head.environment[name]
        assert not _told(secret, runs, printed), name
        assert not _told(secret, Path(head.environment["HOME"]) / "ray", ""), name
    # The same command again repeats nothing. Without a working directory the code is what lies where the head was
    # started, as in cluster/Dockerfile's image, whose WORKDIR holds jobs/.
    again = _submit(head, *flags, working_dir=False)
    assert "3 of 3 trials are finished already" in again
    assert _where(again) == run


@pytest.mark.nightly
def test_the_bare_command_cross_validates_the_demo(head: Head) -> None:
    run = _where(_submit(head))
    assert pq.read_table(run / "predictions.parquet").num_rows == 600


@pytest.mark.slow
def test_the_default_command_needs_no_network_and_keeps_its_token_to_itself(tmp_path: Path) -> None:
    without = ["unshare", "--user", "--map-root-user", "--net", "--mount"]
    if subprocess.run([*without, "true"], capture_output=True).returncode != 0:
        pytest.skip("only root, or who may make user namespaces, can take the network away")
    home, seen = tmp_path / "home", tmp_path / "network.json"
    home.mkdir()
    command = [*without, sys.executable, str(ROOT / "tests" / "ray" / "loopback.py"), str(seen)]
    command += [sys.executable, str(ROOT / "jobs" / "crossval.py"), "--train.epochs", "1", "--train.max-steps", "2"]
    # One view of each utterance in place of four, which take most of the time.
    command += ["--augment.variants", "1"]
    fresh = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "WANDB_"))}
    done = subprocess.run(
        [*command, "--run.root", str(tmp_path / "runs")],
        env=fresh | {"HOME": str(home)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "synthetic" in done.stdout
    assert "pooled over 600 test utterances" in done.stdout
    (run,) = (tmp_path / "runs").glob("crossval-demo-*")
    assert pq.read_table(run / "predictions.parquet").num_rows == 600
    network = json.loads(seen.read_text())
    assert network["without a way"] == 0, "something asked for an address outside"
    assert set(network["names"]) <= {"metadata.google.internal"}, "and Ray alone, which cloud it is in"
    # 127.0.0.1, and the same as IPv6 writes it.
    assert set(network["listening"]) <= {"0100007F", "0000000000000000FFFF00000100007F"}
    token = home / ".ray" / "auth_token"
    assert token.stat().st_mode & 0o777 == 0o600
    assert not _told(token.read_text(), tmp_path / "runs", done.stdout + done.stderr)


def _told(secret: str, folder: Path, said: str) -> list[str]:
    """Where a secret can be read."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files and len(secret) >= 40
    told = [str(path) for path in files if secret.encode() in path.read_bytes()]
    return [*told, "what it printed"] if secret in said else told
