"""The loops compared by the benchmark compute the same; otherwise their speed ratio means nothing."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from raysys.bench import measure, plain, size, training
from raysys.bench.commands import run_job
from raysys.bench.data import data_rows
from raysys.bench.measure import ratios, row_of, side_by_side
from raysys.bench.scaling import Growth, growth_rows
from raysys.bench.speech import make_speech
from raysys.bench.training import Setting, evaluation_row, small_setting, spread, training_rows
from raysys.config import CorpusConfig
from raysys.corpora.read import read_manifest
from raysys.data.batch import Collator
from raysys.data.plan import Step, evaluation_steps
from raysys.data.text import train_wordpiece
from raysys.model.network import Network
from raysys.presets import paper
from raysys.report.scaling import scaling_picture


@pytest.fixture(scope="module")
def setting() -> Setting:
    """The paper preset at tiny width, with deterministic steps."""
    speech = make_speech(12)
    tokenizer = train_wordpiece([u.transcript or "" for u in speech.utterances.values()])
    base = paper()
    model = dataclasses.replace(
        base.model, audio="tiny", text="tiny", width=32, heads=4, feed_forward=64, dropout=0.0, freeze_audio="none"
    )
    train = dataclasses.replace(base.train, epochs=1, batch_size=4, accumulate=1, text_dropout=0.0, crop_s=4.0)
    config = dataclasses.replace(base, model=model, train=train)
    torch.manual_seed(0)
    network = Network(config.model, n_classes=4, vocab_size=len(tokenizer), loss=config.loss)
    collator = Collator(
        utterances=speech.utterances,
        labels=speech.labels,
        tokenizer=tokenizer,
        text_dropout=0.0,
        second_view=True,
        seed=0,
    )
    return Setting(config=config, network=network, speech=speech, collator=collator, device=torch.device("cpu"))


def evaluation(setting: Setting) -> list[Step]:
    return evaluation_steps(setting.speech.ids, setting.speech.durations_s, "validation", 0)


def test_the_loop_learns_what_the_plain_loop_learns_from_the_same_batches(setting: Setting) -> None:
    """Two forward passes, eager attention and a loss read at every step, versus one forward pass without these."""
    steps = setting.steps()
    batches = [step.utterance_ids for step in steps]
    ours = dataclasses.replace(setting, network=copy.deepcopy(setting.network))
    history = ours.train(steps)
    theirs = plain.as_published(setting.network)
    losses = setting.train_plain(theirs, batches)
    assert len(losses) == 3
    assert history.step_losses == pytest.approx(losses, rel=1e-5)
    # Not weight by weight: where a gradient is close to 0, Adam turns its rounding error into a full step.
    after = plain.evaluate(theirs, batches, setting.speech, setting.collator, setting.device)
    mine = ours.evaluate(evaluation(setting))
    for name, row in zip(mine.utterance_ids, mine.probabilities_NC, strict=True):
        np.testing.assert_allclose(row, after[name], atol=1e-5)


def test_evaluation_by_length_gives_what_shuffled_batches_give(setting: Setting) -> None:
    batches = plain.shuffled(setting.speech.ids, 4, seed=3)
    assert sorted(name for batch in batches for name in batch) == sorted(setting.speech.ids)
    theirs = plain.evaluate(
        plain.as_published(setting.network), batches, setting.speech, setting.collator, setting.device
    )
    ours = setting.evaluate(evaluation(setting))
    for name, row in zip(ours.utterance_ids, ours.probabilities_NC, strict=True):
        np.testing.assert_allclose(row, theirs[name], atol=1e-5)


def test_an_evaluation_with_other_results_gives_no_row(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate = plain.evaluate
    monkeypatch.setattr(plain, "evaluate", lambda *a: {name: row[::-1] for name, row in evaluate(*a).items()})
    with pytest.raises(AssertionError, match="the two evaluations differ"):
        evaluation_row(setting, batches=2, repeats=1, note="")


def test_an_evaluation_with_equal_results_gives_a_row(setting: Setting) -> None:
    row = evaluation_row(setting, batches=2, repeats=1, note="tiny")
    assert row.name == "eval_vs_plain"
    assert 0 < row.low <= row.value <= row.high
    assert row.note.startswith("tiny; predictions within")


@pytest.mark.parametrize("plain_batch", [None, 2])
def test_training_rows_scale_what_was_timed_to_the_epoch(
    plain_batch: int | None, setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a clock that counts padded seconds, the ratio is that of the padding, whichever batches are timed."""
    clock = [0.0]

    def tick(seconds: float) -> None:
        clock[0] += seconds

    def train(_: Setting, steps: Sequence[Step]) -> None:
        tick(sum(setting.padded(step.utterance_ids) for step in steps))

    def train_plain(_: Setting, __: Network, batches: Sequence[Sequence[str]], *, accumulate: int = 1) -> None:
        assert accumulate == (1 if plain_batch is None else 4 // plain_batch) or batches == [*batches][:2]
        tick(2 * sum(map(setting.padded, batches)))

    monkeypatch.setattr(Setting, "train", train)
    monkeypatch.setattr(Setting, "train_plain", train_plain)
    monkeypatch.setattr(measure.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(training, "_matrix_peak", lambda *_: [1e9])
    found = {row.name: row for row in training_rows(setting, batches=2, repeats=2, note="", plain_batch=plain_batch)}
    own = sum(setting.padded(step.utterance_ids) for step in setting.steps())
    mixed = sum(map(setting.padded, plain.shuffled(setting.speech.ids, plain_batch or 4, seed=0)))
    assert found["step_vs_plain"].value == pytest.approx(2 * mixed / own)
    assert found["step_vs_same_batches"].value == pytest.approx(2)
    assert found["train_utterances"].value == pytest.approx(12 / own)
    assert found["padded_over_real"].value == pytest.approx(own / setting.seconds(setting.speech.ids))
    assert found["share_of_peak"].value == pytest.approx(found["flop_per_utterance"].value * 12 / own)
    assert found["flop_per_utterance"].value > 0


def test_batches_are_taken_evenly_from_short_to_long() -> None:
    batches = [(str(i),) for i in (5, 3, 1, 7, 9, 2, 8, 4)]
    chosen = spread(batches, 4, lambda batch: float(batch[0]))
    assert [batches[i][0] for i in chosen] == ["2", "4", "7", "9"]


def test_the_data_pipeline_is_actually_timed() -> None:
    rows = {row.name: row for row in data_rows(make_speech(12), repeats=1)}
    assert set(rows) == {"decode_x_realtime", "lsa_x_realtime", "augment_x_realtime", "cbca_texts"}
    assert all(row.value > 1 for row in rows.values())


def test_lengths_are_like_iemocaps() -> None:
    durations_s = np.array(list(make_speech(1000, seed=1).durations_s.values()))
    assert np.median(durations_s) == pytest.approx(3.6, rel=0.1)
    assert durations_s.mean() == pytest.approx(4.6, rel=0.1)
    assert durations_s.max() <= 34.0


def test_a_waveform_is_the_same_whenever_it_is_asked_for() -> None:
    one, other = make_speech(5), make_speech(5)
    other.views("u00004")
    clean_S, augmented_S = one.views("u00003")
    assert len(clean_S) == round(one.durations_s["u00003"] * 16_000)
    np.testing.assert_array_equal(clean_S, other.views("u00003")[0])
    assert not np.array_equal(clean_S, augmented_S)


def test_the_small_setting_is_the_papers_model_with_its_options() -> None:
    small, full = small_setting(16), paper()
    cut = small.config
    assert cut.loss == full.loss
    assert cut.augment == full.augment
    assert cut.optim == full.optim
    assert cut.model.freeze_audio == full.model.freeze_audio
    assert cut.train.batch_size == 16


def test_runs_take_turns() -> None:
    order: list[str] = []
    seconds = side_by_side([lambda: order.append("a"), lambda: order.append("b")], 2)
    assert order == ["a", "b"] * 2
    assert [len(s) for s in seconds] == [2, 2]


def test_a_row_is_the_median_and_range_of_the_rounds_ratios() -> None:
    row = row_of("x", ratios([4.0, 9.0, 2.0], [2.0, 3.0, 2.0]), "x")
    assert (row.value, row.low, row.high) == (2.0, 1.0, 3.0)


def test_scaling_is_reported_by_its_ends_and_its_steps() -> None:
    def grown(size: int, seconds: float, gib: float) -> Growth:
        return Growth(size=size, seconds=seconds, driver_gib=gib, trial_gib=gib)

    corpus = [grown(1, 10, 1.0), grown(10, 80, 1.1)]
    trials = [grown(10, 20, 0.5), grown(100, 65, 0.6)]
    rows = {row.name: row.value for row in growth_rows(corpus, trials)}
    assert rows == pytest.approx(
        {
            "corpus_memory_growth": 1.1,
            "data_wait_share_large": 0.0,
            "corpus_time_growth": 8.0,
            "trial_seconds_10_to_100": 0.5,
        }
    )
    values = {"corpus": [dataclasses.asdict(g) for g in corpus], "trials": [dataclasses.asdict(g) for g in trials]}
    assert scaling_picture(values, corpus="demo").startswith(b"\x89PNG")


def test_a_job_is_watched_and_its_failure_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"ended with code 2(?s:.*)--train\.epochs is 0"):
        run_job("crossval", tmp_path, "refused", "--train.epochs", "0")


def test_the_corpus_of_a_size_is_the_same_each_time(tmp_path: Path) -> None:
    """Its measurements are compared with earlier ones, and its cached audio is found again."""
    tables = [size.write_corpus(tmp_path / name, 1_202) for name in ("once", "again")]
    once, again = (sorted(path.read_bytes() for path in table.parent.glob("*/*.flac")) for table in tables)
    assert once == again and len({*once}) == 1_202
    manifest = read_manifest(CorpusConfig(name="table", root=str(tables[0])), cache=tmp_path)
    assert len(manifest.speakers) == 300
    assert len({(u.speaker, u.emotion) for u in manifest.utterances}) == 1_200
