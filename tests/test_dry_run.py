"""The dry run: sizes computed without weights, corpus or cluster."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from raysys.config import CorpusConfig, ExperimentConfig
from raysys.dry_run import dry_run
from raysys.errors import CorpusError
from raysys.presets import PRESETS
from tests.model.test_spectrogram import write_ast


def lines(config: ExperimentConfig, capsys: pytest.CaptureFixture[str]) -> list[str]:
    dry_run(config)
    return capsys.readouterr().out.splitlines()


def test_the_papers_model_has_the_papers_size(capsys: pytest.CaptureFixture[str]) -> None:
    """METHOD 9: 179,346,308 with four classes, and 180,526,724 with CPC and the no-text token."""
    shown = lines(PRESETS["paper"](), capsys)
    assert shown[-1] == "total_parameters 180526724"
    counted = {line[2:36].strip(): line[36:].strip() for line in shown if line.startswith("  ")}
    assert counted["audio encoder"] == "94,371,712"
    assert counted["text encoder"] == "66,362,880"
    assert counted["CCB1, audio attends to text"] == "7,087,872"
    assert counted["CCB2, text attends to audio"] == "7,087,872"
    assert counted["BiGRU"] == "2,658,816"
    assert counted["head"] == f"{1536 * 4 + 4:,}"
    assert counted["contrastive projection"] == "1,771,008"
    assert sum(int(n.replace(",", "")) for n in counted.values()) == 180_526_724


def test_what_is_trained_is_said_beside_the_total(capsys: pytest.CaptureFixture[str]) -> None:
    """By hand: 12 and 6 layers of 768 with four projections, each with 2 x 8 x 768 more; what is above is trained."""
    paper = PRESETS["paper"]()
    above = 180_526_724 - 94_371_712 - 66_362_880
    adapters = (12 + 6) * 4 * 2 * 8 * 768
    shown = lines(replace(paper, model=replace(paper.model, weights="random", adapt="lora")), capsys)
    assert f"trained   {above + adapters:,} of {180_526_724 + adapters:,} parameters" in shown
    disk = next(line for line in shown if line.startswith("disk"))
    # Adapters are merged into their projections, which become the fold's own; all else is as it was loaded.
    merged = (12 + 6) * 4 * 768**2
    encoders = 94_371_712 + 66_362_880
    own, shared = 4 * (above + merged) / 1e9, 4 * (encoders - merged) / 1e9
    assert f"at most {own:.2f} GB a fold for its model, {shared:.2f} GB once for what is frozen in them" in disk
    layer = 12 * 768**2 + 13 * 768
    shown = lines(replace(paper, model=replace(paper.model, weights="random", unfreeze_top=2)), capsys)
    assert f"trained   {above + 4 * layer:,} of 180,526,724 parameters" in shown


@pytest.mark.parametrize(
    ("corpus", "classes", "trials"),
    [
        (CorpusConfig(name="iemocap", root="/x"), "classes   4", "5 folds x"),
        (CorpusConfig(name="iemocap", root="/x", folds="speaker"), "classes   4", "10 folds x"),
        (CorpusConfig(name="ravdess", root="/x"), "classes   8", "6 folds x"),
        (CorpusConfig(name="ravdess", root="/x", folds="groups"), "classes   8", "5 folds x"),
        (CorpusConfig(name="iemocap", root="/x", classes=("ang", "sad")), "classes   2", "5 folds x"),
    ],
)
def test_classes_and_folds_follow_the_corpus(
    corpus: CorpusConfig, classes: str, trials: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder need not exist."""
    shown = lines(replace(PRESETS["light"](), corpus=corpus), capsys)
    assert classes in shown
    assert any(line.startswith(f"trials    {trials}") for line in shown)
    assert shown[-1].startswith("total_parameters ")


def test_several_seeds_multiply_trials_and_views(capsys: pytest.CaptureFixture[str]) -> None:
    light = replace(PRESETS["light"](), corpus=CorpusConfig(name="ravdess", root="/x"))
    alone = lines(light, capsys)
    dry_run(light, seeds=3)
    shown = capsys.readouterr().out.splitlines()
    (trials,) = (line for line in shown if line.startswith("trials"))
    assert trials.startswith(f"trials    18: 3 seeds x 6 folds x {light.train.epochs} epochs")
    (disk,) = (line for line in shown if line.startswith("disk"))
    assert "a fold and seed for its model, " in disk
    assert disk.endswith(f"each of {3 * light.augment.variants} augmented views")
    assert [line for line in shown if line not in (trials, disk)] == [
        line for line in alone if not line.startswith(("trials", "disk"))
    ]


def test_a_tables_classes_and_folds_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its audio need not exist."""
    rows = "".join(f"{s}{e}.wav,{s},{e}\n" for s in "123456" for e in "abc")
    (tmp_path / "my.csv").write_text(f"path,speaker,emotion\n{rows}")
    shown = lines(replace(PRESETS["light"](), corpus=CorpusConfig(name="table", root=str(tmp_path / "my.csv"))), capsys)
    assert "classes   3" in shown and any(line.startswith("trials    6 folds x") for line in shown)


def test_a_table_that_is_not_there_is_refused(tmp_path: Path) -> None:
    corpus = CorpusConfig(name="table", root=str(tmp_path / "my.csv"))
    with pytest.raises(CorpusError, match=r"my\.csv: no such file"):
        dry_run(replace(PRESETS["light"](), corpus=corpus))


def test_ravdess_has_no_text_encoder(capsys: pytest.CaptureFixture[str]) -> None:
    corpus = CorpusConfig(name="ravdess", root="/x")
    shown = lines(replace(PRESETS["paper"](), corpus=corpus), capsys)
    assert "modalities: audio" in shown[0]
    assert not any(line.startswith("  text encoder") for line in shown)


def test_disk_usage_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    paper = PRESETS["paper"]()
    frozen = replace(paper, augment=replace(paper.augment, variants=3), model=replace(paper.model, freeze_audio="all"))
    (disk,) = [line for line in lines(frozen, capsys) if line.startswith("disk")]
    assert disk.endswith(
        "decoded audio 0.12 GB an hour of speech from 16-bit files at 16 kHz, of others 0.23 GB, "
        "and 0.23 GB for each of 3 augmented views; "
        "features of the frozen wav2vec2 0.55 GB an hour of each of them"
    )
    (disk,) = [line for line in lines(paper, capsys) if line.startswith("disk")]
    assert disk.endswith("decoded audio 0.12 GB an hour of speech from 16-bit files at 16 kHz, of others 0.23 GB")


def test_features_are_counted_at_the_encoders_own_rate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """AST: 10 frames a second of 4 states of 640 values, in half precision."""
    paper = PRESETS["paper"]()
    model = replace(
        paper.model,
        audio=str(write_ast(tmp_path, hidden_size=640)),
        freeze_audio="all",
        layer="weighted_sum",
    )
    frozen = replace(paper, augment=replace(paper.augment, variants=3), model=model)
    (disk,) = [line for line in lines(frozen, capsys) if line.startswith("disk")]
    assert 10 * 4 * 640 * 2 * 3_600 == 184_320_000
    assert disk.endswith("features of the frozen audio-spectrogram-transformer 0.18 GB an hour of each of them")


def test_a_final_model_is_one_more_trial_with_everything_in_its_folder(capsys: pytest.CaptureFixture[str]) -> None:
    paper = PRESETS["paper"]()
    without = lines(paper, capsys)
    dry_run(paper, final_model=True)
    shown = capsys.readouterr().out.splitlines()
    (final,) = (line for line in shown if line not in without)
    assert final == f"final     one more trial on all data, at most {paper.train.epochs} epochs; 0.72 GB"
    assert round(4 * 180_526_724 / 1e9, 2) == 0.72
