"""Whose folder it is: another configuration or corpus is refused with what differs; times are those of the training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from raysys.config import ExperimentConfig, LossConfig, RunConfig, TrainConfig
from raysys.data.manifest import Manifest, Utterance
from raysys.errors import ConfigError, StorageError
from raysys.runs.claim import claimed
from raysys.runs.finish import seconds_of
from raysys.runs.run import CLAIM, CONFIG, Run
from raysys.runs.tuner import Outcome
from raysys.storage import Folder
from tests.report.made_up import run_result
from tests.runs.results import trial_in


def run_in(folder: Path, config: ExperimentConfig, emotion: str = "joy") -> Run:
    utterance = Utterance(utterance_id="a", audio_path="a.wav", speaker="S1", emotion=emotion)
    return Run(
        config=config,
        folder=Folder.at(str(folder)),
        manifest=Manifest(corpus="table", classes=("joy", "fear"), utterances=(utterance,)),
        points=(),
        learning_hash=config.learning_hash(),
        notes=(),
    )


CONFIGURED = ExperimentConfig(train=TrainConfig(epochs=3))
OTHERWISE = replace(
    CONFIGURED, train=TrainConfig(epochs=3, seed=1), loss=LossConfig(alpha=0.5), run=RunConfig(name="x")
)


@pytest.mark.parametrize(
    ("config", "emotion", "said"),
    [
        (replace(CONFIGURED, train=TrainConfig(epochs=5)), "joy", "corpus: train.epochs is 3 there and 5 here. Choose"),
        (
            replace(
                CONFIGURED, train=TrainConfig(epochs=3, seed=1), loss=LossConfig(alpha=0.5), run=RunConfig(name="x")
            ),
            "joy",
            "corpus: loss.alpha is 0.1 there and 0.5 here; train.seed is 0 there and 1 here. Choose",
        ),
        (CONFIGURED, "fear", "corpus: the corpus has other utterances, labels or audio. Choose"),
    ],
    ids=["a setting", "settings, and its own place", "the corpus"],
)
def test_a_folder_of_another_configuration_or_corpus_is_refused_with_what_differs(
    tmp_path: Path, config: ExperimentConfig, emotion: str, said: str
) -> None:
    with claimed(run_in(tmp_path, CONFIGURED)):
        pass
    before = (tmp_path / CONFIG).read_bytes()
    with pytest.raises(ConfigError) as error, claimed(run_in(tmp_path, config, emotion)):
        pass
    assert str(error.value).startswith(f"{tmp_path}: ") and said in str(error.value)
    assert (tmp_path / CONFIG).read_bytes() == before
    with claimed(run_in(tmp_path, replace(CONFIGURED, run=RunConfig(cache="/elsewhere")))):
        pass


@pytest.mark.parametrize("config", [None, b"{", b"- a"])
def test_without_a_configuration_that_can_be_read_it_is_refused_all_the_same(
    tmp_path: Path, config: bytes | None
) -> None:
    with claimed(run_in(tmp_path, CONFIGURED)):
        pass
    (tmp_path / CONFIG).unlink()
    if config is not None:
        (tmp_path / CONFIG).write_bytes(config)
    with (
        pytest.raises(ConfigError, match="of another configuration or corpus"),
        claimed(run_in(tmp_path, replace(CONFIGURED, train=TrainConfig(epochs=5)))),
    ):
        pass


def test_a_damaged_claim_is_named(tmp_path: Path) -> None:
    (tmp_path / CLAIM).write_text("{")
    with pytest.raises(StorageError, match=rf"^{tmp_path}/{CLAIM} is damaged"), claimed(run_in(tmp_path, CONFIGURED)):
        pass


def test_a_finished_run_keeps_the_seconds_of_its_first_time(tmp_path: Path) -> None:
    folder = Folder.at(str(tmp_path))
    trials = (trial_in(tmp_path), trial_in(tmp_path))
    kept = Outcome(trials=trials, results={}, stopped={}, failed={}, n_trained=0)
    assert seconds_of(folder, kept, 13.0) == 13.0, "its results were lost"
    run_result(seconds=103.0).write(folder)
    assert seconds_of(folder, kept, 13.0) == 103.0
    assert seconds_of(folder, replace(kept, n_trained=1), 13.0) == 103.0, "one was damaged"
    assert seconds_of(folder, replace(kept, n_trained=2), 13.0) == 13.0
    (tmp_path / "results.json").write_text("{")
    assert seconds_of(folder, kept, 13.0) == 13.0
