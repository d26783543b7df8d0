"""Audio shared by a fold's training and test parts stops a run before its first trial."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from raysys.cli import parse
from raysys.config import ExperimentConfig
from raysys.data.audio import decode
from raysys.data.cache import INDEX_SCHEMA, write_index, write_part
from raysys.data.duplicates import waveform_digest
from raysys.data.manifest import Manifest
from raysys.data.precompute import DecodedCorpus
from raysys.errors import ManifestError
from raysys.runs import inputs
from raysys.runs.cluster import Cluster
from raysys.runs.inputs import prepare_run
from raysys.runs.points import Point
from raysys.runs.run import Run, check
from raysys.storage import Folder

CLUSTER = Cluster(
    cpus=2, idle_cpus=2, gpus=0, nodes=1, trials_at_once=1, trials_at_first=1, gpus_per_worker=0, may_grow=False
)
Flags = Callable[..., ExperimentConfig]


def write(path: Path, seed: int, subtype: str = "PCM_16") -> None:
    samples_S = np.random.default_rng(seed).integers(-9_000, 9_000, 1_000).astype(np.int16)
    soundfile.write(path, samples_S, 16_000, subtype=subtype)


@pytest.fixture
def corpus(tmp_path: Path) -> Flags:
    """A configuration of a corpus of three speakers with five utterances of each class, all different."""
    rows = []
    for number, name in enumerate(f"{speaker}{i}" for speaker in ("ana", "bo", "cy") for i in range(10)):
        write(tmp_path / f"{name}.wav", number)
        rows.append(f"{name},{name}.wav,{name[:-1]},{('calm', 'tense')[number % 2]},Word {number}.")
    table = tmp_path / "corpus.csv"
    table.write_text("utterance_id,audio_path,speaker,emotion,transcript\n" + "\n".join(rows) + "\n")
    flags = ["--corpus.name", "table", "--corpus.root", str(table), "--model.audio", "light", "--model.text", "light"]
    flags += ["--run.root", str(tmp_path / "runs")]
    return lambda *more: parse([*flags, *more]).config


def checked(config: ExperimentConfig) -> Run:
    return check(config, [Point(name="", config=config)], "crossval")


def decoded(manifest: Manifest, cache: str, **_: Any) -> DecodedCorpus:
    """Like `decode_corpus`, without Ray."""
    folder = Folder.at(cache) / "decoded"
    waveforms = [decode(u) for u in manifest.utterances]
    places = write_part(folder, "part-00000.arrow", waveforms)
    rows = [{"utterance_id": u.utterance_id, **place} for u, place in zip(manifest.utterances, places, strict=True)]
    write_index(folder, pa.Table.from_pylist(rows, schema=INDEX_SCHEMA))
    digests = {u.utterance_id: waveform_digest(w) for u, w in zip(manifest.utterances, waveforms, strict=True)}
    return DecodedCorpus(folder.location, errors={}, remarks={}, digests=digests)


@pytest.fixture
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "decode_corpus", decoded)
    monkeypatch.setattr(inputs, "check_nodes", lambda run, path: None)


@pytest.mark.usefixtures("_no_ray")
def test_a_corpus_without_duplicates_reports_nothing(corpus: Flags) -> None:
    ground = prepare_run(checked(corpus()), CLUSTER)
    assert ground.run.notes == ()


def test_equal_bytes_are_refused_before_a_cluster_starts_and_no_run_is_left(corpus: Flags, tmp_path: Path) -> None:
    (tmp_path / "cy1.wav").write_bytes((tmp_path / "ana1.wav").read_bytes())
    with pytest.raises(ManifestError, match="equal to the byte") as error:
        checked(corpus())
    assert str(tmp_path / "cy1.wav") in str(error.value) and str(tmp_path / "ana1.wav") in str(error.value)
    assert not list((tmp_path / "runs").glob("*/run.json"))
    (note,) = checked(corpus("--corpus.allow-duplicates")).notes
    assert "ana1 = cy1" in note and "inflates" in note


@pytest.mark.usefixtures("_no_ray")
def test_equal_samples_in_different_files_are_refused_before_the_first_trial(corpus: Flags, tmp_path: Path) -> None:
    write(tmp_path / "cy1.wav", seed=1, subtype="PCM_24")
    held = checked(corpus())
    assert held.notes == ()
    with pytest.raises(ManifestError, match="equal to the sample once decoded") as error:
        prepare_run(held, CLUSTER)
    assert str(tmp_path / "cy1.wav") in str(error.value) and str(tmp_path / "ana1.wav") in str(error.value)
    ground = prepare_run(checked(corpus("--corpus.allow-duplicates")), CLUSTER)
    (note,) = ground.run.notes
    assert "ana1 = cy1" in note and "once decoded" in note


@pytest.mark.usefixtures("_no_ray")
def test_duplicates_of_one_speaker_are_noted_once(corpus: Flags, tmp_path: Path) -> None:
    (tmp_path / "ana3.wav").write_bytes((tmp_path / "ana1.wav").read_bytes())
    ground = prepare_run(checked(corpus()), CLUSTER)
    (note,) = ground.run.notes
    assert "ana1 = ana3" in note and "inflates" not in note


def test_a_text_only_model_ignores_duplicate_audio(corpus: Flags, tmp_path: Path) -> None:
    (tmp_path / "cy1.wav").write_bytes((tmp_path / "ana1.wav").read_bytes())
    assert len(checked(corpus("--corpus.modalities", "text")).notes) == 1


def test_allowing_duplicates_changes_no_result(corpus: Flags) -> None:
    assert corpus("--corpus.allow-duplicates").learning_hash() == corpus().learning_hash()
