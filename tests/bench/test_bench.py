"""What the benchmark compares computes the same: only then is a ratio of times worth anything."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from raysys.bench import plain
from raysys.bench.measure import ratios, row_of, side_by_side
from raysys.bench.speech import make_speech
from raysys.bench.training import Setting, evaluation_row, small_setting
from raysys.data.batch import Collator
from raysys.data.text import train_wordpiece
from raysys.model.network import Network
from raysys.presets import paper


@pytest.fixture(scope="module")
def setting() -> Setting:
    """The paper preset at tiny width, with nothing random in a step."""
    speech = make_speech(24)
    tokenizer = train_wordpiece([u.transcript or "" for u in speech.utterances.values()])
    base = paper()
    model = dataclasses.replace(
        base.model, audio="tiny", text="tiny", width=32, heads=4, feed_forward=64, dropout=0.0, freeze_audio="none"
    )
    train = dataclasses.replace(base.train, epochs=1, batch_size=8, accumulate=1, text_dropout=0.0, crop_s=4.0)
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


def test_the_loop_learns_what_the_plain_loop_learns_from_the_same_batches(setting: Setting) -> None:
    """Two forwards, eager attention and a loss read every step, against one forward and none of it."""
    batches = [step.utterance_ids for step in setting.steps()]
    ours = dataclasses.replace(setting, network=copy.deepcopy(setting.network))
    history = ours.train()
    theirs = plain.as_published(setting.network)
    losses = plain.train(theirs, batches, setting.speech, setting.collator, setting.config, setting.device)
    assert len(losses) == 3
    assert history.step_losses == pytest.approx(losses, rel=1e-5)
    # Not weight by weight: where a gradient is next to 0, Adam makes a whole step of the sign of its rounding.
    after = plain.evaluate(theirs, batches, setting.speech, setting.collator, setting.device)
    mine = ours.evaluate()
    for name, row in zip(mine.utterance_ids, mine.probabilities_NC, strict=True):
        np.testing.assert_allclose(row, after[name], atol=1e-5)


def test_evaluation_by_length_gives_what_shuffled_batches_give(setting: Setting) -> None:
    batches = plain.shuffled(setting.speech.ids, 8, seed=3)
    assert sorted(name for batch in batches for name in batch) == sorted(setting.speech.ids)
    theirs = plain.evaluate(
        plain.as_published(setting.network), batches, setting.speech, setting.collator, setting.device
    )
    ours = setting.evaluate()
    for name, row in zip(ours.utterance_ids, ours.probabilities_NC, strict=True):
        np.testing.assert_allclose(row, theirs[name], atol=1e-5)


def test_an_evaluation_that_says_something_else_is_no_row(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate = plain.evaluate
    monkeypatch.setattr(plain, "evaluate", lambda *a: {name: row[::-1] for name, row in evaluate(*a).items()})
    with pytest.raises(AssertionError, match="the two evaluations differ"):
        evaluation_row(setting, repeats=1, note="")


def test_lengths_are_like_iemocaps() -> None:
    durations_s = np.array(list(make_speech(1000, seed=1).durations_s.values()))
    assert np.median(durations_s) == pytest.approx(3.6, rel=0.1)
    assert durations_s.mean() == pytest.approx(4.6, rel=0.1)
    assert durations_s.max() <= 34.0


def test_the_small_setting_is_the_papers_model_with_its_options() -> None:
    with small_setting(16) as small:
        full, cut = paper(), small.config
        assert cut.loss == full.loss
        assert cut.augment == full.augment
        assert cut.optim == full.optim
        assert cut.model.freeze_audio == full.model.freeze_audio
        assert cut.train.batch_size == 16


def test_runs_take_turns_and_the_first_round_does_not_count() -> None:
    order: list[str] = []
    seconds = side_by_side([lambda: order.append("a"), lambda: order.append("b")], 2)
    assert order == ["a", "b"] * 3
    assert [len(s) for s in seconds] == [2, 2]


def test_a_row_is_the_median_and_range_of_the_rounds_ratios() -> None:
    row = row_of("x", ratios([4.0, 9.0, 2.0], [2.0, 3.0, 2.0]), "x")
    assert (row.value, row.low, row.high) == (2.0, 1.0, 3.0)


def test_rows_are_kept_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from raysys.bench import run

    monkeypatch.setattr(run, "training_rows", lambda *_, **__: [row_of("step_vs_plain", [2.0, 3.0, 4.0], "x")])
    monkeypatch.setattr(run, "evaluation_row", lambda *_, **__: row_of("eval_vs_plain", [3.0], "x"))
    monkeypatch.setattr(run, "data_rows", lambda *_, **__: [])
    run.bench(tmp_path / "deep" / "bench.json", repeats=1)
    written = json.loads((tmp_path / "deep" / "bench.json").read_text())
    assert written["machine"]["torch"] == torch.__version__
    row = {"name": "step_vs_plain", "value": 3.0, "unit": "x", "low": 2.0, "high": 4.0, "note": ""}
    assert written["rows"][0] == row
