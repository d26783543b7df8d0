"""An evaluation from the command line to its files, on a table of tones and a model of random weights."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from raysys.config import CorpusConfig
from raysys.errors import AudioError, ConfigError
from raysys.evaluation import job
from raysys.evaluation.distortions import DISTORTIONS
from raysys.evaluation.job import evaluate
from raysys.evaluation.page import page
from raysys.evaluation.scores import Evaluation
from raysys.inference import EmotionModel, load_model, read_waveform
from raysys.metrics import unweighted_accuracy
from raysys.results import RunResult
from raysys.storage import Folder
from tests.report.made_up import run_result
from tests.test_inference import make, save


def write_table(folder: Path, emotions: tuple[str, ...] = ("anger", "joy"), speakers: int = 3) -> str:
    rng = np.random.default_rng(0)
    with (folder / "my.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["audio_path", "speaker", "emotion", "sex", "transcript"])
        for i in range(4 * speakers):
            soundfile.write(folder / f"{i}.wav", 0.1 * rng.standard_normal(rng.integers(4000, 9000)), 16_000)
            speaker = i % speakers
            writer.writerow(
                [f"{i}.wav", f"s{speaker}", emotions[i // speakers % len(emotions)], "FM"[speaker % 2], "well"]
            )
    return str(folder / "my.csv")


@pytest.fixture
def location(tmp_path: Path) -> str:
    """Of a model with the classes anger, joy and fear, trained on audio and text."""
    return save(make(), tmp_path / "model")


def asked(tmp_path: Path, location: str, table: str, *, robustness: bool = False, **corpus: object) -> Evaluation:
    config = CorpusConfig(name="table", root=table, **corpus)  # type: ignore[arg-type]
    return evaluate(location, config, cache=tmp_path, out=str(tmp_path / "out"), robustness=robustness)


def test_scores_are_those_of_the_models_own_predictions(
    tmp_path: Path, location: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = asked(tmp_path, location, write_table(tmp_path))
    model = load_model(location)
    rows = pq.read_table(tmp_path / "out" / "predictions.parquet").to_pylist()
    assert len(rows) == 12
    for row in rows:
        path = str(tmp_path / row["utterance_id"]) if row["utterance_id"].endswith(".wav") else row["utterance_id"]
        expected_1C = model.probabilities([read_waveform(path)], ["well"])
        np.testing.assert_allclose([[row[f"p_{name}"] for name in model.classes]], expected_1C, atol=1e-5)
    labels, predicted = ([model.classes.index(row[name]) for row in rows] for name in ("label", "prediction"))
    (condition,) = found.conditions
    assert condition.scores.ua == unweighted_accuracy(labels, predicted)
    assert condition.changed == 0 and condition.scores.ua_ci95 is not None
    assert {row.name for row in found.by_class} == {"anger", "joy"}, "the corpus has no fear"
    assert [row.n for row in found.by_speaker] == [4, 4, 4] and {row.name for row in found.by_sex} == {"female", "male"}
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["corpus"]["utterances"] == 12
    assert "as recorded" in capsys.readouterr().out


def test_each_distortion_is_scored_and_the_page_tells_of_them(tmp_path: Path, location: str) -> None:
    found = asked(tmp_path, location, write_table(tmp_path), robustness=True)
    assert [condition.name for condition in found.conditions] == ["as-recorded", *(d.name for d in DISTORTIONS)]
    written = (tmp_path / "out" / "evaluation.html").read_text()
    assert written == page(found)
    assert all(d.title in written for d in DISTORTIONS)
    assert not re.search(r"https?://", written), "the page asks no other host"


def test_a_share_of_answers_changes(tmp_path: Path, location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that hears loudness alone: what is quieter is another class."""

    def probabilities(self: EmotionModel, waveforms: list[np.ndarray], transcripts: object) -> np.ndarray:
        return np.array([[1.0, 0, 0] if np.abs(w).max() > 0.1 else [0, 1.0, 0] for w in waveforms], np.float32)

    monkeypatch.setattr(EmotionModel, "probabilities", probabilities)
    monkeypatch.setattr(job, "load_model", lambda *_: make()[0])
    found = {c.name: c for c in asked(tmp_path, location, write_table(tmp_path), robustness=True).conditions}
    assert (found["quiet"].changed, found["noise-20-db"].changed) == (1.0, 0.0)
    assert found["as-recorded"].scores.wa == 0.5 and found["as-recorded"].calibration_error == pytest.approx(0.5)


def test_unknown_emotions_are_named_with_the_remedy_and_may_be_mapped(tmp_path: Path, location: str) -> None:
    table = write_table(tmp_path, ("anger", "happy", "bored", "fear"))
    with pytest.raises(ConfigError, match=r"bored, happy, which the model does not know.*emotion-map bored=... happy"):
        asked(tmp_path, location, table)
    found = asked(tmp_path, location, table, emotion_map=("happy=joy", "bored="))
    assert {row.name for row in found.by_class} == {"anger", "joy", "fear"} and found.corpus.utterances == 9


def test_one_speaker_has_scores_without_intervals(tmp_path: Path, location: str) -> None:
    found = asked(tmp_path, location, write_table(tmp_path, speakers=1))
    assert found.conditions[0].scores.ua is not None and found.conditions[0].scores.ua_ci95 is None


def test_a_model_of_text_alone_needs_texts(tmp_path: Path) -> None:
    location = save(make(modalities="text"), tmp_path / "model")
    assert len(asked(tmp_path, location, write_table(tmp_path), robustness=True).conditions) == 1, "nothing to distort"
    with pytest.raises(ConfigError, match="12 utterances have no transcript"):
        asked(tmp_path, location, write_table(tmp_path), modalities="audio")


def test_a_model_is_told_to_have_learned_from_its_own_corpus(tmp_path: Path) -> None:
    table = write_table(tmp_path)
    run = tmp_path / "run"
    location = save(make(), run / "model")
    assert asked(tmp_path, location, table).seen is None
    seen = asked(tmp_path, location, table).corpus.fingerprint
    facts = {"name": "table", "title": "my", "utterances": 12, "speakers": 3}
    for fingerprint, expected in ((seen, True), ("other", False)):
        results: RunResult = run_result(corpus=facts | {"fingerprint": fingerprint})
        results.write(Folder.at(str(run)))
        assert asked(tmp_path, location, table).seen is expected


def test_a_file_that_breaks_off_is_named(tmp_path: Path, location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(_: object) -> np.ndarray:
        raise AudioError("is truncated")

    monkeypatch.setattr(job, "decode", decode)
    with pytest.raises(AudioError, match=r"0\.wav: is truncated\. Fix the file"):
        asked(tmp_path, location, write_table(tmp_path))
