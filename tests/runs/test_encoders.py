"""The driver asks for the encoders that a run uses, and for no others, before a cluster starts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from transformers import BertConfig, BertModel, MPNetConfig, MPNetModel

from raysys.cli import parse
from raysys.config import ExperimentConfig
from raysys.data.text import train_wordpiece
from raysys.dry_run import dry_run
from raysys.errors import EncoderError
from raysys.runs.encoders import trained_line
from raysys.runs.points import Point
from raysys.runs.run import Run, check
from tests.model.encoder_folders import write_encoders

NOWHERE = "/nowhere/encoder"
BERT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture
def flags(tmp_path: Path) -> list[str]:
    """A corpus of three speakers with four utterances each, the first of 90 words."""
    rows = []
    for number, name in enumerate(f"{speaker}{i}" for speaker in ("ana", "bo", "cy") for i in range(4)):
        samples_S = np.random.default_rng(number).integers(-9_000, 9_000, 1_000).astype(np.int16)
        soundfile.write(tmp_path / f"{name}.wav", samples_S, 16_000)
        words = "kids are talking " * (30 if not number else 1)
        rows.append(f"{name},{name}.wav,{name[:-1]},{('calm', 'tense')[number % 2]},{words}{number}.")
    table = tmp_path / "corpus.csv"
    table.write_text("utterance_id,audio_path,speaker,emotion,transcript\n" + "\n".join(rows) + "\n")
    return ["--corpus.name", "table", "--corpus.root", str(table), "--run.root", str(tmp_path / "runs")]


def config_of(flags: list[str], *more: str) -> ExperimentConfig:
    return parse([*flags, *more]).config


def checked(*configs: ExperimentConfig) -> Run:
    return check(configs[0], [Point(name=str(i), config=config) for i, config in enumerate(configs)], "crossval")


@pytest.mark.parametrize(("alone", "unused", "used"), [("audio", "text", "audio"), ("text", "audio", "text")])
def test_an_encoder_that_is_not_used_is_not_asked_for(flags: list[str], alone: str, unused: str, used: str) -> None:
    common = [*flags, "--corpus.modalities", alone, f"--model.{unused}", NOWHERE]
    config = config_of(common, f"--model.{used}", "light")
    assert checked(config).notes == ()
    dry_run(config)
    with pytest.raises(EncoderError, match=rf"^--model\.{used} /elsewhere"):
        checked(config_of(common, f"--model.{used}", "/elsewhere"))


def test_each_point_asks_for_its_own_encoders(flags: list[str]) -> None:
    """An ablation to audio alone does not excuse the full model's text encoder."""
    full = config_of(flags, "--model.audio", "light", "--model.text", NOWHERE)
    alone = config_of(flags, "--model.audio", "light", "--model.text", NOWHERE, "--corpus.modalities", "audio")
    checked(alone)
    with pytest.raises(EncoderError, match=rf"^--model\.text {NOWHERE}"):
        checked(alone, full)


def test_what_is_odd_about_an_encoder_is_among_the_runs_notes(flags: list[str], tmp_path: Path) -> None:
    tokenizer = train_wordpiece(["kids are talking"] * 2 + [" ".join("0123456789.")] * 2)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    bert = BertModel(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **sizes))
    for part in (bert, tokenizer):
        part.save_pretrained(tmp_path / "bert")
    more = ["--model.audio", "light", "--model.text", str(tmp_path / "bert"), "--augment.cbca", "none"]
    (note,) = checked(config_of(flags, *more)).notes
    assert note.endswith("1 of 12 transcripts are longer than 64 tokens; their end is not read")


def test_a_masked_language_model_without_a_head_is_refused_before_a_cluster_starts(
    flags: list[str], tmp_path: Path
) -> None:
    audio, text = write_encoders(tmp_path / "encoders", ["kids are talking", " ".join("0123456789.")] * 2)
    encoders = ["--model.audio", str(audio), "--model.text", str(text)]
    unseen = ["--augment.no-classify-augmented"]
    with pytest.raises(EncoderError, match=r"^--model\.text .*--augment\.cbca-model light"):
        checked(config_of(flags, *encoders))
    assert checked(config_of(flags, *encoders, "--augment.cbca-model", "light")).notes == ()
    assert checked(config_of(flags, *encoders, "--loss.alpha", "0", "--loss.beta", "0", *unseen)).notes == ()


def test_the_header_says_what_is_trained_of_pretrained_encoders(flags: list[str], tmp_path: Path) -> None:
    """The text encoder by hand: one layer of width 16, its feed-forward part of width 32."""
    audio, text = write_encoders(tmp_path / "encoders")
    whole, top, adapted = (
        trained_line([config_of(flags, "--model.audio", str(audio), "--model.text", str(text), *more)], 2)
        for more in (
            ["--model.freeze-audio", "all", "--model.freeze-text", "all"],
            ["--model.freeze-audio", "all", "--model.unfreeze-top", "1"],
            ["--model.freeze-audio", "all", "--model.adapt", "lora", "--model.lora-rank", "2"],
        )
    )
    assert whole and top and adapted
    heads, total = (int(n.replace(",", "")) for n in whole.removesuffix(" parameters").split(" of "))
    layer = 4 * (16 * 16 + 16) + 2 * 16 * 32 + 32 + 16 + 4 * 16
    assert top == f"{heads + layer:,} of {total:,} parameters"
    adapter = 4 * 2 * 2 * 16
    assert adapted == f"{heads + adapter:,} of {total + adapter:,} parameters"
    # Encoders of our own are trained whole, and nothing imports torch to count them.
    assert trained_line([config_of(flags, "--preset", "light")], 2) is None


def test_the_header_of_a_sweep_says_its_smallest_and_its_largest_network(flags: list[str], tmp_path: Path) -> None:
    """By hand: four projections of width 16 with adapters of rank 1, 2 and 3."""
    audio, text = write_encoders(tmp_path / "encoders")
    common = [*flags, "--model.audio", str(audio), "--model.text", str(text), "--model.freeze-audio", "all"]
    points = [config_of(common, "--model.adapt", "lora", "--model.lora-rank", rank) for rank in ("2", "1", "3")]
    said = [trained_line([point], 2) for point in points]
    assert None not in said
    ends = [str(line).removesuffix(" parameters") for line in said]
    assert trained_line(points, 2) == f"{ends[1]} to {ends[2]} parameters"
    small, large = (int(end.split(" of ")[0].replace(",", "")) for end in ends[1:])
    assert large - small == 2 * 4 * 2 * 16


def test_more_layers_than_there_are_are_refused_before_the_corpus_is_read(flags: list[str], tmp_path: Path) -> None:
    audio, text = write_encoders(tmp_path / "encoders")
    table = tmp_path / "corpus.csv"
    table.unlink()
    with pytest.raises(
        EncoderError, match=r"--model.unfreeze-top is 2, but --model.text .* has 1 layer; give at most 1"
    ):
        checked(config_of(flags, "--model.audio", str(audio), "--model.text", str(text), "--model.unfreeze-top", "2"))


def test_each_points_way_of_learning_is_tried(flags: list[str], tmp_path: Path) -> None:
    """One that transformers cannot recompute ends the run before any trial, whichever point it is in."""
    MPNetModel(MPNetConfig(vocab_size=99, **BERT)).save_pretrained(tmp_path / "mpnet")
    train_wordpiece(["kids are talking"]).save_pretrained(tmp_path / "mpnet")
    mpnet = ["--model.text", str(tmp_path / "mpnet"), "--augment.cbca", "none", "--corpus.modalities", "text"]
    plain = config_of(flags, *mpnet)
    checked(plain)
    with pytest.raises(EncoderError, match=r"cannot compute a MPNetLayer again"):
        checked(plain, config_of(flags, *mpnet, "--model.checkpoint-activations"))
