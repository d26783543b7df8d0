"""A request from its command line to its output, done in this process instead of by Ray, and broken off on the way."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from raysys.config import ClusterConfig
from raysys.errors import ConfigError, CorpusError, ModelFolderError, StorageError
from raysys.inference import load_model, read_waveform
from raysys.lock import locked
from raysys.prediction import job, pipeline
from raysys.prediction.inputs import look
from raysys.prediction.request import Cutting, Request
from raysys.runs.cluster import Cluster
from raysys.storage import Folder
from tests.test_inference import CLASSES, make, save

torch.set_num_threads(1)
ROOT = Path(__file__).resolve().parents[2]
WHOLE = Cutting(segments="none", segment_s=5.0, max_duration_s=60.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save(make(modalities="audio"), tmp_path_factory.mktemp("model") / "model")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 recordings, of which one is no audio: three shards."""
    folder = tmp_path_factory.mktemp("recordings")
    generator = np.random.default_rng(0)
    for i in range(120):
        soundfile.write(folder / f"{i:03d}.wav", 0.1 * generator.standard_normal(800 + 20 * i), 16_000)
    (folder / "050.wav").write_text("no audio")
    return folder


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Which shards are done, one after another, last first, in this process."""
    order: list[int] = []

    def run(shards: Sequence[int], work: pipeline.Work, cluster: Cluster) -> Iterator[pipeline.Done]:
        predictor = pipeline.Predictor(work)
        for shard in reversed(shards):
            order.append(shard)
            for batch in pipeline.decode(pa.table({"shard": [shard]}), work):
                (row,) = predictor(batch).to_pylist()
                yield pipeline.Done(**row)

    @contextlib.contextmanager
    def running(config: object) -> Iterator[Any]:
        yield Cluster(
            cpus=1,
            idle_cpus=1,
            gpus=0,
            nodes=1,
            trials_at_once=1,
            trials_at_first=1,
            may_grow=False,
            gpus_per_worker=0.0,
        )

    monkeypatch.setattr(pipeline, "run_shards", run)
    monkeypatch.setattr(job, "running", running)
    monkeypatch.setattr(job, "check_nodes", lambda *_: None)
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    return order


def predict(model: str, inputs: Sequence[object], out: Path | str, cutting: Cutting = WHOLE) -> None:
    request = Request(model=model, inputs=tuple(map(str, inputs)), out=str(out), cutting=cutting)
    job.predict(request, ClusterConfig(), texts=look(request.inputs))


def breaking(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Let the driver be interrupted when so many blocks are done."""
    run: Callable[..., Iterator[pipeline.Done]] = pipeline.run_shards

    def broken(*arguments: Any) -> Iterator[pipeline.Done]:
        for n, block in enumerate(run(*arguments)):
            if n == after:
                raise KeyboardInterrupt
            yield block

    monkeypatch.setattr(pipeline, "run_shards", broken)


def test_each_recording_is_what_the_model_says_of_it_alone(
    model: str, recordings: Path, done: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predict(model, [recordings], tmp_path / "out.parquet")
    found = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["path"] for row in found] == [f"{recordings}/{i:03d}.wav" for i in range(120)]
    loaded = load_model(model)
    for i in (0, 47, 48, 119):
        (alone_C,) = loaded.probabilities([read_waveform(found[i]["path"])])
        np.testing.assert_allclose([found[i][f"p_{name}"] for name in CLASSES], alone_C, rtol=0, atol=1e-6)
    assert found[50]["prediction"] is None and "does not decode" in found[50]["note"]
    assert {path.name for path in tmp_path.iterdir()} == {"out.parquet"}
    said = capsys.readouterr().out
    assert "files     120 in 3 shards\n" in said and "rows 120, of which 1 have no prediction" in said
    assert f"1 such as {recordings}/050.wav: does not decode" in said and "h of audio per hour" in said


def test_that_nothing_could_be_predicted_is_an_error(
    model: str, done: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "calls"
    folder.mkdir()
    for i in range(2):
        (folder / f"{i}.wav").write_bytes(b"RIFF, but no more than that")
    with pytest.raises(CorpusError, match="not one of 2 recordings could be predicted; column note says why"):
        predict(model, [folder], tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().count("does not decode") == 2
    assert not (tmp_path / "out.csv.parts").exists()


def test_broken_off_it_continues_and_ends_with_the_same_file(
    model: str, recordings: Path, done: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict(model, [recordings], tmp_path / "whole.parquet")
    out = tmp_path / "out.parquet"
    with monkeypatch.context() as patched:
        breaking(patched, after=1)
        with pytest.raises(KeyboardInterrupt):
            predict(model, [recordings], out)
    assert not out.exists()
    # What an interrupted write leaves, and a recording that came later, which was not listed.
    (tmp_path / "out.parquet.parts" / ".shard-000000-00000-end.parquet.a1b2c3d4").write_bytes(b"half")
    late = recordings / "000-late.wav"
    soundfile.write(late, np.zeros(800), 16_000)
    try:
        done.clear()
        predict(model, [recordings], out)
    finally:
        late.unlink()
    assert done == [0], "two of three shards were done before"
    assert out.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert not (tmp_path / "out.parquet.parts").exists()


def test_when_only_the_joining_is_left_no_cluster_starts(
    model: str, recordings: Path, done: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(job, "merge", refuse)
        with pytest.raises(StorageError):
            predict(model, [recordings], tmp_path / "out.csv")
    monkeypatch.setattr(job, "running", refuse)
    predict(model, [recordings], tmp_path / "out.csv")
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 121


def test_another_request_over_what_has_begun_is_refused(
    model: str, recordings: Path, done: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.csv"
    with monkeypatch.context() as patched:
        breaking(patched, after=0)
        with pytest.raises(KeyboardInterrupt):
            predict(model, [recordings], out)
    cutting = Cutting(segments="fixed", segment_s=3.0, max_duration_s=60.0)
    with pytest.raises(ConfigError, match=r"--segments was none and is fixed; --segment-s was 5\.0 and is 3\.0"):
        predict(model, [recordings], out, cutting)
    with pytest.raises(ConfigError, match="it names other recordings"):
        predict(model, [recordings / "001.wav"], out)
    other = save(make(modalities="audio", seed=1), tmp_path / "other")
    with pytest.raises(ConfigError, match="it is another model"):
        predict(other, [recordings], out)
    with locked(Folder.at(f"{out}.parts")), pytest.raises(StorageError, match="choose another --out"):
        predict(model, [recordings], out)
    predict(model, [recordings], out)
    assert len(out.read_text().splitlines()) == 121


def test_a_model_of_text_alone_needs_a_table_with_transcripts(
    recordings: Path, done: list[int], tmp_path: Path
) -> None:
    text = save(make(modalities="text"), tmp_path / "text")
    with pytest.raises(ConfigError, match="was trained on text alone, but no table with a column transcript"):
        predict(text, [recordings], tmp_path / "out.csv")
    table = tmp_path / "t.csv"
    table.write_text("audio_path,transcript\n1.wav,by the door\n2.wav,\n")
    fixed = Cutting(segments="fixed", segment_s=3.0, max_duration_s=60.0)
    with pytest.raises(ConfigError, match="which --segments fixed does not cut"):
        predict(text, [table], tmp_path / "out.csv", fixed)
    predict(text, [table], tmp_path / "out.parquet")
    found = pq.read_table(tmp_path / "out.parquet")
    assert found["prediction"][0].as_py() in CLASSES
    assert found["note"].to_pylist() == [None, "has no transcript, which is all that this model reads"]
    with pytest.raises(ModelFolderError, match="there is no such folder"):
        predict(str(tmp_path / "nowhere"), [table], tmp_path / "out.csv")
    assert {path.name for path in tmp_path.iterdir()} == {"text", "t.csv", "out.parquet"}


RUN = """
import sys
from raysys.__main__ import main
try:
    main()
except SystemExit as error:
    print(error.code, sorted({"torch", "torchaudio", "ray", "transformers", "sklearn"} & {*sys.modules}))
"""


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("a.wav", "--out", "x.txt"), "--out x.txt: expected a name that ends in .csv, .jsonl, .parquet"),
        (("a.wav", "--out", "gone/x.csv"), "there is no folder"),
        (("a.wav", "--out", "folder.csv"), "is a folder"),
        (("gone.wav", "--out", "x.csv"), "gone.wav: no such file or folder"),
        (("*.mp3", "--out", "x.csv"), "*.mp3: no audio file matches"),
        (("empty", "--out", "x.csv"), "empty: no audio file in it and below it"),
        (("t.csv", "--out", "x.csv"), "column 'audio_path' is missing"),
        (("--out", "x.csv"), "no recordings are named"),
        (("a.wav", "--out", "x.csv", "--segment-s", "0.1"), "--segment-s is 0.1; expected at least 0.5"),
        (("a.wav", "--out", "x.csv", "--max-duration-s", "0"), "--max-duration-s is 0"),
    ],
)
def test_a_mistake_is_told_before_torch_and_ray_are_imported(
    tmp_path: Path, flags: tuple[str, ...], reason: str
) -> None:
    (tmp_path / "a.wav").write_bytes(b"")
    (tmp_path / "t.csv").write_text("sound\na.wav\n")
    for folder in ("empty", "folder.csv"):
        (tmp_path / folder).mkdir()
    told = subprocess.run(
        [sys.executable, "-c", RUN, "predict", "model", *flags],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    assert told.stdout.splitlines()[-1] == "2 []", told.stdout
    assert told.stderr.startswith("error: ") and reason in told.stderr
    assert len(list(tmp_path.iterdir())) == 4, "nothing is written"
