"""A published partition on a real cluster: one training, each test part scored, and none of it learned from."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from raysys.cli import parse
from raysys.inference import load_model
from raysys.runs.crossval import crossval
from raysys.runs.grid import gridsearch
from tests.ray.conftest import Head

pytestmark = pytest.mark.cluster
PARTS = {"ana": "train", "bo": "Train", "cy": "dev", "di": "Test1", "": "test2"}
"""By speaker; who speaks in the second test part is unknown. Bo is validated on too."""


def _write_table(folder: Path) -> Path:
    """Two emotions told apart by pitch, eight utterances a speaker."""
    generator = np.random.default_rng(0)
    rows = []
    for speaker, split in PARTS.items():
        for i in range(8):
            emotion = ("calm", "tense")[i % 2]
            seconds = np.arange(4000) / 8000
            tone = 0.3 * np.sin(2 * np.pi * (200 if emotion == "calm" else 900) * seconds)
            path = folder / f"{speaker or 'x'}{i}.wav"
            soundfile.write(path, tone + 0.01 * generator.standard_normal(len(seconds)), 8000)
            part = "dev" if (speaker, i) == ("bo", 7) else split
            rows.append([f"{speaker or 'x'}-{i}", path.name, speaker, emotion, part])
    table = folder / "calls.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([["utterance_id", "audio_path", "speaker", "emotion", "split"], *rows])
    return table


def test_a_given_partition_trains_once_and_its_test_parts_are_never_learned_from(
    joined: Head, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--corpus.name", "table", "--corpus.root", str(_write_table(tmp_path)), "--corpus.folds", "given"]
    flags += ["--model.width", "32", "--model.heads", "4", "--model.feed-forward", "64", "--train.epochs", "2"]
    flags += ["--train.batch-size", "4", "--run.root", str(tmp_path / "runs"), "--track.no-wandb"]
    stamp = "given partition, whose parts share 1 of 4 known speakers (0 of 1 tested ones)"

    results = crossval(parse([*flags, "--run.name", "own"]).config, final_model=True)
    said = capsys.readouterr().out
    assert f"note      {stamp}: train 15, validation 9, test1 8, test2 8 utterances" in said
    assert "note      8 utterances are of unknown speakers" in said
    assert f"pooled over 16 test utterances of test1 and test2, each scored once ({stamp})" in said
    run = tmp_path / "runs" / "own"
    tested = pq.read_table(run / "predictions.parquet")["utterance_id"].to_pylist()
    assert tested == [f"{who}-{i}" for who in ("di", "x") for i in range(8)]
    assert [(part.name, part.n, part.speakers) for part in results.by_test] == [("test1", 8, 1), ("test2", 8, 0)]
    assert (results.protocol, len(results.folds), results.std) == (stamp, 1, None)
    assert stamp in (run / "report.html").read_text()
    # The final model learns from the training and validation parts, never from the test parts.
    assert json.loads((run / "final" / "result.json").read_text())["n_train"] == 24
    assert stamp in (run / "model" / "README.md").read_text()
    assert "on the training and validation parts" in load_model(str(run)).origin
    assert load_model(str(run / "folds" / "1" / "model")).classes == ("calm", "tense")

    searched = gridsearch(parse([*flags, "--run.name", "grid"]).config, ["loss.alpha=0.1,0.01"], early_stopping=False)
    assert searched.grid is not None and len(searched.grid.points) == 2 and searched.protocol == stamp
    assert searched.grid.final is not None and searched.grid.final.data == "the training and validation parts"
