"""Mistakes in a table or in flags are told before torch and Ray are imported, which takes seconds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RUN = """
import sys
from raysys.__main__ import main
try:
    main()
except SystemExit as error:
    slow = {"torch", "torchaudio", "ray", "transformers", "sklearn", "matplotlib"} & {*sys.modules}
    print(error.code, sorted(slow))
"""
GOOD = "path,speaker,emotion\n" + "".join(f"{s}{e}.wav,s{s},{e}\n" for s in range(10) for e in "xy")
NO_SPEAKER = "path,emotion\na.wav,x\n"
TWO_SPELLINGS = GOOD + "a.wav,S0,x\n"
TABLE = ("--corpus.root", "my.csv")


@pytest.mark.parametrize(
    ("command", "table", "flags", "found"),
    [
        ("crossval", NO_SPEAKER, TABLE, "my.csv, line 1: column 'speaker' is missing, found 'path', 'emotion'"),
        ("crossval", GOOD, ("--corpus.root", "other.csv"), "other.csv: no such file. Set --corpus.root"),
        ("crossval", TWO_SPELLINGS, TABLE, "'s0' (line 2 and 1 more) and 'S0' (line 22)"),
        ("crossval", GOOD, (*TABLE, "--corpus.classes", "x", "z"), "no utterance has the emotion z"),
        ("crossval", GOOD, (*TABLE, "--corpus.n-folds", "20"), "--corpus.folds auto means speaker for this table"),
        ("crossval", GOOD, (*TABLE, "--corpus.folds", "groups", "--corpus.n-folds", "20"), "there are 10 speakers"),
        ("crossval", GOOD, ("--corpus.root", "other.csv", "--dry-run"), "other.csv: no such file"),
        ("crossval", GOOD, ("--corpus.name", "ravdess", "--corpus.root", "nowhere"), "nowhere: no such folder"),
        ("crossval", GOOD, (*TABLE, "--augment.noise-folder", "nowhere"), "--augment.noise-folder nowhere: no such"),
        ("ablation", GOOD, (*TABLE, "--augment.room-folder", "."), "there is no audio file among the 1 file in it"),
        ("crossval", GOOD, ("--train.epochs", "0"), "--train.epochs is 0"),
        ("crossval", GOOD, (*TABLE, "--seeds", "1", "1"), "--seeds 1 1: expected different seeds"),
        ("crossval", GOOD, (*TABLE, "--seeds"), "--seeds: expected different seeds, at least one"),
        ("crossval", GOOD, (*TABLE, "--seeds", "1", "2", "--train.seed=0"), "--train.seed 0 is not one of --seeds 1 2"),
        ("prepare", NO_SPEAKER, TABLE, "column 'speaker' is missing"),
        ("gridsearch", NO_SPEAKER, TABLE, "column 'speaker' is missing"),
        ("gridsearch", GOOD, (*TABLE, "--grid", "loss.alpah=1"), "--loss.alpah; did you mean --loss.alpha?"),
        ("paper", GOOD, (), "--iemocap and --ravdess are both missing"),
        ("paper", GOOD, ("--iemocap", "nowhere"), "nowhere: no such folder"),
        ("paper", GOOD, ("--iemocap", "nowhere", "--dry-run"), "Set --iemocap"),
        ("paper", GOOD, ("--ravdess", ".", "--corpus.name", "table", *TABLE), "the paper's corpora are given with"),
        ("paper", GOOD, ("--ravdess", ".", "--grid", "loss.alpah=1"), "--loss.alpah; did you mean --loss.alpha?"),
        ("paper", GOOD, ("--ravdess", ".", "--gpu", "A100"), "--gpu A100: nothing was measured on it"),
        ("paper", GOOD, ("--ravdess", ".", "--price-per-gpu-hour=-1"), "--price-per-gpu-hour is -1.0"),
        ("ablation", NO_SPEAKER, TABLE, "column 'speaker' is missing"),
        ("ablation", GOOD, (*TABLE, "--variant", "x=--model.poling mean"), "did you mean --model.pooling?"),
        ("ablation", GOOD, (*TABLE, "--seeds", "1", "1"), "--seeds 1 1: expected different seeds"),
    ],
)
def test_a_mistake_is_told_before_torch_and_ray_are_imported(
    tmp_path: Path, command: str, table: str, flags: tuple[str, ...], found: str
) -> None:
    (tmp_path / "my.csv").write_text(table)
    done = subprocess.run(
        [sys.executable, "-c", RUN, command, "--preset", "light", *flags],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    assert done.stdout.splitlines()[-1] == "2 []", done.stdout
    assert done.stderr.startswith("error: ") and found in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"my.csv"}, "nothing is written"
