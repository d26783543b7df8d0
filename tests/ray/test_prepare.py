"""Preparing a corpus on a real Ray cluster: decoded once, for every run after it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile

from raysys.cli import parse
from raysys.errors import ManifestError
from raysys.runs.crossval import crossval
from raysys.runs.inputs import prepare
from tests.ray.conftest import Head

pytestmark = pytest.mark.cluster
FLAGS = ["--preset", "light", "--model.text", "tiny", "--model.width", "32", "--model.feed-forward", "64"]
FLAGS += ["--augment.variants", "2", "--train.epochs", "1", "--run.name", "own", "--track.no-wandb"]


def _write_table(folder: Path) -> Path:
    """Three speakers of eight utterances; ana1 and cy1 are one file, and bo1 is ana0 as FLAC."""
    generator = np.random.default_rng(0)
    rows = []
    for speaker in ("ana", "bo", "cy"):
        for i in range(8):
            path = folder / f"{speaker}{i}.wav"
            tone = 0.3 * np.sin(2 * np.pi * (200, 900)[i % 2] * np.arange(8000) / 16_000)
            soundfile.write(path, tone + 0.01 * generator.standard_normal(8000), 16_000)
            rows.append([f"{speaker}{i}", path.name, speaker, ("calm", "tense")[i % 2]])
    (folder / "cy1.wav").write_bytes((folder / "ana1.wav").read_bytes())
    samples, rate_hz = soundfile.read(folder / "ana0.wav", dtype="int16")
    soundfile.write(folder / "bo1.flac", samples, rate_hz)
    next(row for row in rows if row[0] == "bo1")[1] = "bo1.flac"
    table = folder / "table.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([["utterance_id", "audio_path", "speaker", "emotion"], *rows])
    return table


def _made(cache: Path) -> dict[str, int]:
    """Files of decoded audio and of views, with when they were written."""
    entries = [*cache.glob("waveforms-*/*"), *cache.glob("views-*/*")]
    return {str(path.relative_to(cache)): path.stat().st_mtime_ns for path in entries}


def test_what_is_prepared_is_not_made_again_and_is_what_a_cross_validation_reads(
    joined: Head, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = _write_table(tmp_path)
    flags = ["--corpus.name", "table", "--corpus.root", str(table), "--run.root", str(tmp_path / "runs")]
    config = parse([*FLAGS, *flags]).config
    statistics = prepare(config)
    assert statistics.speakers == {"ana": 8, "bo": 8, "cy": 8}
    assert [d.utterance_ids for d in statistics.same_bytes] == [("ana1", "cy1")]
    assert [d.utterance_ids for d in statistics.same_waveform or ()] == [("ana0", "bo1")]
    printed = capsys.readouterr().out
    cache = tmp_path / "runs" / ".cache"
    (decoded,) = cache.glob("waveforms-*")
    # 24 utterances of 8000 samples, 2 bytes each, as in their files.
    assert f"decoded     {decoded}, 0.4 MB" in printed
    assert "  ana: 8, 8, 8" in printed
    assert "ana1, cy1 (ana, cy; tense): DIFFERENT SPEAKERS" in printed
    made = _made(cache)
    assert len(list(cache.glob("views-*"))) == 2
    assert list((tmp_path / "runs").iterdir()) == [cache], "only the cache is written, no run"
    assert prepare(config) == statistics
    assert _made(cache) == made
    with pytest.raises(ManifestError, match=r"fold 'ana' tests .*ana1\.wav .* as .*cy1\.wav"):
        crossval(config)
    crossval(parse([*FLAGS, *flags, "--corpus.allow-duplicates"]).config)
    assert _made(cache) == made, "the cross-validation made audio that was prepared"
