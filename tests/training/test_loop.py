"""The loop: it learns, is bit-reproducible, resumes where it stopped, and scores every utterance once."""

from __future__ import annotations

import dataclasses
import itertools
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from raysys.config import ExperimentConfig, LossConfig, OptimConfig, Select
from raysys.data.batch import Batch
from raysys.data.plan import Step, fold_plan
from raysys.errors import TrainingError
from raysys.runs.points import with_epochs
from raysys.storage import Folder
from raysys.training import checkpoint, checkpoint_files, evaluation, loop, optim
from raysys.training.loop import FoldOutcome, Paused, Trainer
from raysys.training.state import EpochRecord
from tests.training.little_fold import (
    LittleFold,
    descend_plainly,
    little_config,
    little_fold,
    make_network,
    make_trainer,
)

torch.set_num_threads(1)


class Stopped(Exception):
    """Simulates a lost machine."""


def ignore(_: EpochRecord) -> None:
    """Callback for runs whose epochs are not checked."""


def run(config: ExperimentConfig, little: LittleFold, folder: Folder | None = None) -> tuple[Trainer, FoldOutcome]:
    trainer = make_trainer(config, little, folder=folder)
    return trainer, trainer.fit(little.batches(config), ignore)


def timeless(history: tuple[EpochRecord, ...]) -> list[EpochRecord]:
    return [dataclasses.replace(record, seconds=0.0, waited_s=0.0) for record in history]


def assert_same(found: FoldOutcome, expected: FoldOutcome) -> None:
    """Bit-identical except for timings."""
    assert timeless(found.history) == timeless(expected.history)
    assert found.epoch == expected.epoch
    assert found.test_curve == expected.test_curve
    assert (found.test is None) == (expected.test is None)
    if found.test is None or expected.test is None:
        return
    assert np.array_equal(found.test.features_NF, expected.test.features_NF)
    assert found.test.utterance_ids == expected.test.utterance_ids
    assert np.array_equal(found.test.probabilities_NC, expected.test.probabilities_NC)


def test_overfits_a_handful_of_utterances() -> None:
    """Chance is log 3 = 1.1 for the cross-entropy."""
    little = little_fold(n_train=6, n_validation=3, n_test=3, text_dropout=0.0)
    config = little_config(dropout=0.0, epochs=25, batch_size=6, optim=OptimConfig(encoder_lr=0.01, lr=0.01))
    _, outcome = run(config, little)
    losses = [record.losses for record in outcome.history]
    assert losses[0]["ce"] > 0.7
    assert losses[-1]["ce"] < 0.1
    assert losses[-1]["total"] < 0.3 * losses[0]["total"]
    # Pitch is all there is to learn, and it is the same in the other parts.
    assert outcome.history[outcome.epoch].validation_ua == 1.0
    labels = [little.collator.labels[name] for name in outcome.test.utterance_ids]
    assert outcome.test.probabilities_NC.argmax(axis=1).tolist() == labels


def test_losses_are_means_over_the_steps() -> None:
    little, config = little_fold(), little_config(epochs=1)
    _, outcome = run(config, little)
    (record,) = outcome.history
    assert len(record.step_losses) == 3
    assert record.losses["total"] == pytest.approx(np.mean(record.step_losses))
    weights = config.loss
    assert record.losses["total"] == pytest.approx(
        record.losses["ce"]
        + weights.alpha * record.losses["scl"]
        + weights.beta * record.losses["acl"]
        + weights.gamma * record.losses["cpc"],
        rel=1e-5,
    )


@pytest.mark.parametrize("size", ["light", "tiny"])
def test_same_seed_same_result_whatever_else_is_random(size: str) -> None:
    """Dropout and time masks come from the run's seed, not from shared generators."""
    little, config = little_fold(), little_config(size=size, epochs=2)
    torch.manual_seed(1)
    _, first = run(config, little)
    torch.randn(17)
    np.random.seed(5)
    random.seed(5)

    def disturbed() -> Iterator[tuple[Step, Batch]]:
        for item in little.batches(config):
            torch.randn(3)
            np.random.rand()
            yield item

    trainer = make_trainer(config, little)
    before = torch.get_rng_state()
    second = trainer.fit(disturbed(), ignore)
    assert torch.equal(torch.get_rng_state(), before)
    assert_same(second, first)
    other = dataclasses.replace(config, train=dataclasses.replace(config.train, seed=1))
    _, third = run(other, little)
    assert not np.array_equal(third.test.probabilities_NC, first.test.probabilities_NC)


RESUMABLE = little_config(
    epochs=3, accumulate=2, batch_size=3, optim=OptimConfig(encoder_lr=3e-3, lr=3e-3, average=0.8)
)


@pytest.fixture(scope="module")
def uninterrupted() -> FoldOutcome:
    return run(RESUMABLE, with_curve())[1]


def with_curve() -> LittleFold:
    return dataclasses.replace(little_fold(), test_curve=True)


def test_the_test_curve_has_a_confusion_an_epoch_and_changes_nothing(uninterrupted: FoldOutcome) -> None:
    little = little_fold()
    _, without = run(RESUMABLE, little)
    assert without.test_curve == ()
    assert_same(dataclasses.replace(uninterrupted, test_curve=()), without)
    assert len(uninterrupted.test_curve) == 3
    labels = [little.collator.labels[name] for name in little.fold.test]
    for matrix in uninterrupted.test_curve:
        assert np.sum(matrix, axis=1).tolist() == np.bincount(labels, minlength=3).tolist()
    # At the epoch selected by validation, it equals the confusion matrix of the saved predictions.
    test = uninterrupted.test
    assert test is not None
    kept = np.zeros((3, 3), dtype=int)
    for name, row in zip(test.utterance_ids, test.probabilities_NC, strict=True):
        kept[little.collator.labels[name], row.argmax()] += 1
    assert uninterrupted.test_curve[uninterrupted.epoch] == kept.tolist()


def test_the_features_are_what_the_head_reads(uninterrupted: FoldOutcome) -> None:
    little = little_fold()
    trainer, outcome = run(RESUMABLE, little)
    assert outcome.test is not None
    trainer.network.eval()
    with torch.inference_mode():
        logits_NC = trainer.network.head(torch.from_numpy(outcome.test.features_NF))
    np.testing.assert_allclose(logits_NC.softmax(-1).numpy(), outcome.test.probabilities_NC, atol=1e-6)


def final_batches(
    little: LittleFold, first_epoch: int, config: ExperimentConfig = RESUMABLE
) -> Iterator[tuple[Step, Batch]]:
    """The plan of a fold with a training part only."""
    fold = dataclasses.replace(little.fold, validation=(), test=())
    labels = dict(little.collator.labels)
    for step in fold_plan(fold, little.durations_s, labels, config.train, first_epoch):
        yield step, little.batch(step)


def test_without_validation_the_last_epoch_is_kept(tmp_path: Path) -> None:
    """The weights are those that a validated training has after its last epoch."""
    little, folder = little_fold(), Folder.at(str(tmp_path))
    trainer = make_trainer(RESUMABLE, little, validated=False)
    outcome = trainer.fit(final_batches(little, 0), ignore)
    assert outcome.test is None and outcome.epoch == 2
    assert [record.validation_ua for record in outcome.history] == [None] * 3
    validated = make_trainer(RESUMABLE, little, folder=folder)
    stop_after_epoch(validated, little, 2)
    tensors, _ = checkpoint.load(folder, checkpoint_files.LAST) or ({}, {})
    for name, weights in checkpoint.trainable_state(trainer.network).items():
        assert torch.equal(weights, tensors[f"average/{name}"]), name


def test_a_final_model_of_fewer_epochs_decays_its_rate_to_the_end_of_its_own_schedule(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two of three epochs, of two updates each: after the warm-up of one, 1, 2/3 and 1/3 of the peak are left.

    In the schedule of three epochs the last of the four would have 3/5 of it.
    """
    little, config = little_fold(), with_epochs(RESUMABLE, 2)
    factors: list[float] = []

    def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
        factors.append(factor)
        optim.set_rates(optimizer, factor)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "set_rates", set_rates)
    trainer = make_trainer(config, little, validated=False)
    trainer.fit(final_batches(little, 0, config), ignore)
    assert factors == pytest.approx([1, 1, 2 / 3, 1 / 3])
    assert {group["lr"] for group in trainer.state.optimizer.param_groups} == {3e-3 * (1 / 3)}


def test_a_training_without_validation_resumes_to_the_bit(tmp_path: Path) -> None:
    little, folder = little_fold(), Folder.at(str(tmp_path))
    whole = make_trainer(RESUMABLE, little, validated=False)
    expected = whole.fit(final_batches(little, 0), ignore)
    stopped = make_trainer(RESUMABLE, little, folder=folder, validated=False)
    first_epoch = itertools.takewhile(lambda item: item[0].epoch == 0, final_batches(little, 0))
    stopped.fit(first_epoch, ignore)
    resumed = make_trainer(RESUMABLE, little, folder=folder, validated=False)
    assert resumed.state.resume()
    assert_same(resumed.fit(final_batches(little, 1), ignore), expected)
    for name, weights in checkpoint.trainable_state(whole.network).items():
        assert torch.equal(weights, checkpoint.trainable_state(resumed.network)[name]), name


def stop_after_epoch(trainer: Trainer, little: LittleFold, epoch: int) -> None:
    def on_epoch(record: EpochRecord) -> None:
        if record.epoch == epoch:
            raise Stopped

    with pytest.raises(Stopped):
        trainer.fit(little.batches(RESUMABLE, trainer.state.first_epoch), on_epoch)


@pytest.mark.parametrize("stops", [[2], [0, 1, 2]])
def test_resumed_equals_uninterrupted(stops: list[int], uninterrupted: FoldOutcome, tmp_path: Path) -> None:
    """Stopped after these epochs and resumed each time in a new Trainer; 2 is the last epoch."""
    little = with_curve()
    for epoch in stops:
        trainer = make_trainer(RESUMABLE, little, folder=Folder.at(str(tmp_path)))
        trainer.state.resume()
        stop_after_epoch(trainer, little, epoch)
    trainer = make_trainer(RESUMABLE, little, folder=Folder.at(str(tmp_path)))
    assert trainer.state.resume()
    assert trainer.state.first_epoch == stops[-1] + 1
    outcome = trainer.fit(little.batches(RESUMABLE, trainer.state.first_epoch), ignore)
    assert_same(outcome, uninterrupted)


def test_resumed_within_an_epoch_equals_uninterrupted(uninterrupted: FoldOutcome, tmp_path: Path) -> None:
    little, folder = with_curve(), Folder.at(str(tmp_path))

    def cut_short() -> Iterator[tuple[Step, Batch]]:
        for step, batch in little.batches(RESUMABLE):
            if (step.part, step.epoch, step.index) == ("train", 1, 2):
                raise Stopped
            yield step, batch

    with pytest.raises(Stopped):
        make_trainer(RESUMABLE, little, folder=folder).fit(cut_short(), ignore)
    trainer = make_trainer(RESUMABLE, little, folder=folder)
    assert trainer.state.resume()
    assert trainer.state.first_epoch == 1
    assert_same(trainer.fit(little.batches(RESUMABLE, 1), ignore), uninterrupted)


def test_stopped_between_the_two_files_continues_from_the_previous_epoch(
    uninterrupted: FoldOutcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With best weights from a later epoch than `last`, `last` still finds those it refers to."""
    little, folder = with_curve(), Folder.at(str(tmp_path))
    save, improving = checkpoint.save, itertools.count()
    with monkeypatch.context() as patched:
        patched.setattr(evaluation, "unweighted_accuracy", lambda *_: next(improving) / 10)

        def save_until_last(target: Folder, name: str, tensors: dict, meta: dict) -> None:
            if name == checkpoint_files.LAST and meta["epoch"] == 1:
                raise Stopped
            save(target, name, tensors, meta)

        patched.setattr(checkpoint, "save", save_until_last)
        with pytest.raises(Stopped):
            make_trainer(RESUMABLE, little, folder=folder).fit(little.batches(RESUMABLE), ignore)
        assert {checkpoint_files.best_name(0), checkpoint_files.best_name(1)} <= set(folder.names())
    trainer = make_trainer(RESUMABLE, little, folder=folder)
    assert trainer.state.resume()
    assert trainer.state.first_epoch == 1
    # The score of epoch 1 was made up; this one's is unchanged.
    trainer.state.history[0] = dataclasses.replace(trainer.state.history[0], **_scores(uninterrupted.history[0]))
    assert_same(trainer.fit(little.batches(RESUMABLE, 1), ignore), uninterrupted)


def _scores(record: EpochRecord) -> dict[str, float | None]:
    return {"validation_wa": record.validation_wa, "validation_ua": record.validation_ua}


@pytest.mark.parametrize(("whole_epochs", "how"), [(1, "cut"), (2, "flipped")])
def test_damaged_state_is_skipped_and_reported(
    whole_epochs: int, how: str, uninterrupted: FoldOutcome, tmp_path: Path
) -> None:
    """After one epoch there is no earlier checkpoint: the fold starts from the beginning."""
    little, folder = with_curve(), Folder.at(str(tmp_path))
    stop_after_epoch(make_trainer(RESUMABLE, little, folder=folder), little, whole_epochs - 1)
    path = tmp_path / checkpoint_files.LAST
    data = bytearray(path.read_bytes())
    data[-5] ^= 4
    path.write_bytes(data if how == "flipped" else data[: len(data) // 2])
    trainer = make_trainer(RESUMABLE, little, folder=folder)
    assert trainer.state.resume() == (whole_epochs > 1)
    assert trainer.state.first_epoch == whole_epochs - 1
    (note,) = trainer.state.notes
    assert str(path) in note and "damaged" in note
    assert not path.exists()
    assert_same(trainer.fit(little.batches(RESUMABLE, trainer.state.first_epoch), ignore), uninterrupted)
    # Later resumes keep the note: it reaches the results, however often the process is lost.
    again = make_trainer(RESUMABLE, little, folder=folder)
    assert again.state.resume()
    assert again.state.notes == [note]


def test_running_out_of_gpu_memory_is_a_training_failure_that_says_what_to_reduce() -> None:
    def batches() -> Iterator[tuple[Step, Batch]]:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee the documentation.")
        yield

    with pytest.raises(
        TrainingError, match=r"epoch 1: CUDA out of memory\..* 2\.00 GiB\. A smaller --train\.batch-size"
    ):
        make_trainer(RESUMABLE, with_curve()).fit(batches(), ignore)


def test_damaged_best_weights_are_not_used(uninterrupted: FoldOutcome, tmp_path: Path) -> None:
    little, folder = with_curve(), Folder.at(str(tmp_path))
    trainer = make_trainer(RESUMABLE, little, folder=folder)
    stop_after_epoch(trainer, little, 0)
    path = tmp_path / checkpoint_files.best_name(0)
    path.write_bytes(path.read_bytes()[:-1])
    trainer = make_trainer(RESUMABLE, little, folder=folder)
    assert not trainer.state.resume()
    assert trainer.state.notes == [f"{tmp_path}: the best weights of epoch 1 are missing or damaged"]
    assert_same(trainer.fit(little.batches(RESUMABLE), ignore), uninterrupted)


def test_leftovers_of_a_killed_writer_are_removed(tmp_path: Path) -> None:
    little, folder = with_curve(), Folder.at(str(tmp_path))
    stop_after_epoch(make_trainer(RESUMABLE, little, folder=folder), little, 0)
    whole = folder.names()
    folder.write_bytes(".beat-1.json.0a1b2c3d", b"another worker is just writing it")
    if (child := os.fork()) == 0:
        os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
        checkpoint.save(folder, checkpoint_files.LAST, {}, {})
    os.waitpid(child, 0)
    assert len(folder.names()) == len(whole) + 2, "nothing else was left"
    assert make_trainer(RESUMABLE, little, folder=folder).state.resume()
    assert folder.names() == [".beat-1.json.0a1b2c3d", *whole]


def test_only_the_best_weights_are_left(tmp_path: Path) -> None:
    little, folder = with_curve(), Folder.at(str(tmp_path))
    trainer, outcome = run(RESUMABLE, little, folder)
    wanted = {checkpoint_files.best_name(trainer.state.best_epoch), checkpoint_files.LAST, checkpoint_files.BEFORE}
    assert wanted <= set(folder.names())
    checkpoint_files.finish(folder, outcome.epoch)
    checkpoint_files.delete_states(folder)
    assert folder.names() == [checkpoint_files.BEST]


# Called before each of two updates, the test curve and the validation in 3 epochs, and before the test: 13 times.
@pytest.mark.parametrize("asked", [[2], [7], [12], [1] * 6])
def test_paused_anywhere_equals_uninterrupted(asked: list[int], uninterrupted: FoldOutcome, tmp_path: Path) -> None:
    """`asked`: number of calls in each process before it is told to stop."""
    little, folder = with_curve(), Folder.at(str(tmp_path))
    for times in asked:
        trainer = make_trainer(RESUMABLE, little, folder=folder)
        trainer.state.resume()
        before = trainer.state.first_epoch, trainer.state.first_step
        questions = itertools.count(1)
        trainer.stopping = lambda counted=questions, limit=times: next(counted) > limit
        with pytest.raises(Paused, match=r"stopped in epoch \d, at step \d"):
            trainer.fit(
                little.batches(RESUMABLE, trainer.state.first_epoch, first_step=trainer.state.first_step), ignore
            )
    trainer = make_trainer(RESUMABLE, little, folder=folder)
    trainer.state.resume()
    assert (trainer.state.first_epoch, trainer.state.first_step) >= before
    batches = little.batches(RESUMABLE, trainer.state.first_epoch, first_step=trainer.state.first_step)
    assert_same(trainer.fit(batches, ignore), uninterrupted)


def test_checkpoint_of_another_trial_is_not_used(tmp_path: Path) -> None:
    little, folder = with_curve(), Folder.at(str(tmp_path))
    stop_after_epoch(make_trainer(RESUMABLE, little, folder=folder), little, 0)
    other = make_trainer(RESUMABLE, little, folder=folder, trial_id="another")
    before = checkpoint.trainable_state(other.network)
    assert not other.state.resume()
    assert other.state.first_epoch == 0 and other.state.best_state is None
    after = checkpoint.trainable_state(other.network)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not make_trainer(RESUMABLE, little, folder=folder / "empty").state.resume()
    assert not make_trainer(RESUMABLE, little).state.resume()


def record(epoch: int, ua: float, loss: float, *, wa: float | None = None, macro_f1: float = 0.0) -> EpochRecord:
    return EpochRecord(
        epoch=epoch,
        losses={},
        step_losses=(),
        validation_wa=1.0 - ua if wa is None else wa,
        validation_ua=ua,
        validation_macro_f1=macro_f1,
        validation_loss=loss,
        seconds=0.0,
        waited_s=0.0,
    )


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([(0.5, 1.0), (0.6, 9.0), (0.4, 0.1)], 1),
        ([(0.5, 1.0), (0.5, 0.9), (0.5, 0.95)], 1),
        ([(0.5, 1.0), (0.5, 1.0), (0.4, 0.5)], 0),
        ([(0.1, 1.0), (0.2, 1.0), (0.3, 1.0)], 2),
    ],
    ids=["unweighted accuracy", "then the lower loss", "then the earlier", "may be the last"],
)
def test_best_epoch(scores: list[tuple[float, float]], best: int) -> None:
    trainer = make_trainer(RESUMABLE, with_curve())
    trainer.state.history = [record(epoch, *score) for epoch, score in enumerate(scores)]
    assert trainer.state.best_epoch == best


@pytest.mark.parametrize(("by", "best"), [("ua", 1), ("wa", 2), ("macro_f1", 3), ("loss", 4)])
def test_best_epoch_by_another_score(by: Select, best: int) -> None:
    config = dataclasses.replace(RESUMABLE, train=dataclasses.replace(RESUMABLE.train, select=by))
    trainer = make_trainer(config, with_curve())
    trainer.state.history = [
        record(0, 0.5, 1.0, wa=0.5, macro_f1=0.5),
        record(1, 0.9, 1.0, wa=0.5, macro_f1=0.5),
        record(2, 0.5, 1.0, wa=0.9, macro_f1=0.5),
        record(3, 0.5, 1.0, wa=0.5, macro_f1=0.9),
        record(4, 0.5, 0.1, wa=0.5, macro_f1=0.5),
        record(5, 0.5, 0.1, wa=0.5, macro_f1=0.5),
    ]
    assert trainer.state.best_epoch == best


def test_the_epoch_of_the_lowest_loss_is_kept_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By UA it would be the first; also after a resume, which reads the scores from the checkpoint."""
    little, folder = with_curve(), Folder.at(str(tmp_path))
    config = dataclasses.replace(RESUMABLE, train=dataclasses.replace(RESUMABLE.train, select="loss"))
    scores = iter([(0.9, 1.5), (0.2, 0.5), (0.8, 1.0)])

    def scored(*_: object) -> dict[str, float]:
        ua, loss = next(scores)
        return {"ua": ua, "wa": ua, "macro_f1": ua, "loss": loss}

    monkeypatch.setattr(evaluation.Predictions, "scores", scored)
    stop_after_epoch(make_trainer(config, little, folder=folder), little, 1)
    resumed = make_trainer(config, little, folder=folder)
    assert resumed.state.resume() and resumed.state.first_epoch == 2
    assert resumed.fit(little.batches(config, 2), ignore).epoch == 1
    best = checkpoint.load(folder, checkpoint_files.best_name(1))
    assert best is not None
    for name, weights in checkpoint.trainable_state(resumed.network).items():
        assert torch.equal(weights, best[0][name]), name


def test_test_part_is_scored_with_the_weights_of_the_best_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    little, config = with_curve(), little_config(epochs=3)
    scores = iter([0.2, 0.9, 0.5])
    monkeypatch.setattr(evaluation, "unweighted_accuracy", lambda *_: next(scores))
    trainer = make_trainer(config, little, folder=Folder.at(str(tmp_path)))
    states: list[dict[str, torch.Tensor]] = []
    outcome = trainer.fit(little.batches(config), lambda _: states.append(checkpoint.trainable_state(trainer.network)))
    assert outcome.epoch == 1
    names = outcome.test.utterance_ids
    network = make_network(config, little).eval()
    for epoch, state in enumerate(states):
        checkpoint.load_trainable_state(network, state)
        step = Step(part="test", epoch=3, index=0, utterance_ids=names)
        with torch.no_grad():
            logits_NC = network((little.batch(step).clean,)).logits_NC
        same = np.allclose(logits_NC.softmax(-1), outcome.test.probabilities_NC, atol=1e-6)
        assert same == (epoch == 1)
    best = checkpoint.load(Folder.at(str(tmp_path)), checkpoint_files.best_name(1))
    assert best is not None and best[1]["epoch"] == 1
    assert all(torch.equal(best[0][name], states[1][name]) for name in states[1])


def test_validation_scores_are_those_of_its_predictions() -> None:
    little, config = little_fold(n_validation=7), little_config(epochs=1)
    trainer, outcome = run(config, little)
    trainer.network.eval()
    names = little.fold.validation
    step = Step(part="validation", epoch=0, index=0, utterance_ids=names)
    with torch.no_grad():
        logits_NC = trainer.network((little.batch(step).clean,)).logits_NC
    labels_N = torch.tensor([little.collator.labels[name] for name in names])
    right_N = (logits_NC.argmax(dim=1) == labels_N).float()
    recalls = [right_N[labels_N == label].mean().item() for label in range(3)]
    (found,) = outcome.history
    assert found.validation_wa == pytest.approx(right_N.mean().item())
    assert found.validation_ua == pytest.approx(np.mean(recalls))
    f1 = f1_score(labels_N.numpy(), logits_NC.argmax(dim=1).numpy(), average="macro")
    assert found.validation_macro_f1 == pytest.approx(f1)
    expected = torch.nn.functional.cross_entropy(logits_NC, labels_N).item()
    assert found.validation_loss == pytest.approx(expected, rel=1e-4)


def test_the_validation_loss_of_votes_is_the_cross_entropy_with_them() -> None:
    little, config = little_fold(n_validation=3), little_config(epochs=1)
    names = little.fold.validation
    votes = {names[0]: (0.5, 0.25, 0.25), names[2]: (0.0, 0.1, 0.9)}
    trainer = make_trainer(config, little)
    trainer.soft = votes
    (found,) = trainer.fit(little.batches(config), ignore).history
    trainer.network.eval()
    with torch.no_grad():
        step = Step(part="validation", epoch=0, index=0, utterance_ids=names)
        log_share_NC = trainer.network((little.batch(step).clean,)).logits_NC.log_softmax(dim=1)
    aimed_NC = torch.eye(3)[[little.collator.labels[name] for name in names]]
    aimed_NC[0], aimed_NC[2] = torch.tensor(votes[names[0]]), torch.tensor(votes[names[2]])
    assert found.validation_loss == pytest.approx(-(aimed_NC * log_share_NC).sum(dim=1).mean().item(), rel=1e-4)


def test_training_towards_votes_predicts_them() -> None:
    """With labels the predictions of six utterances become certain; with votes the loss ends at their entropy."""
    names = [f"u{i:02}" for i in range(6)]
    votes = {name: tuple(0.6 if c == i % 3 else 0.2 for c in range(3)) for i, name in enumerate(names)}
    config = little_config(
        dropout=0.0,
        epochs=25,
        batch_size=6,
        loss=LossConfig(alpha=0.0, beta=0.0, gamma=0.0),
        optim=OptimConfig(encoder_lr=0.01, lr=0.01),
    )
    losses = {}
    for soft in (None, votes):
        little = little_fold(n_train=6, n_validation=3, n_test=3, text_dropout=0.0, soft=soft)
        _, outcome = run(config, little)
        losses[soft is None] = outcome.history[-1].losses["ce"]
    entropy = -(0.6 * np.log(0.6) + 0.4 * np.log(0.2))
    assert losses[True] < 0.1
    assert losses[False] == pytest.approx(entropy, abs=0.05)


def poisoned(
    little: LittleFold, config: ExperimentConfig, at: tuple[str, int, int], broken: list[str]
) -> Iterator[tuple[Step, Batch]]:
    """Training batches with a NaN in the first row of the step (part, epoch, index), whose ids are recorded."""
    for step, batch in little.batches(config):
        if (step.part, step.epoch, step.index) == at:
            broken.extend(step.utterance_ids)
            assert batch.clean.waveforms_BS is not None
            batch.clean.waveforms_BS[0, 5] = torch.nan
        yield step, batch


@pytest.mark.parametrize(("epoch", "index", "stops"), [(1, 1, False), (0, 0, True)], ids=["later", "asked to stop"])
def test_loss_that_is_not_finite_names_epoch_step_and_utterances(epoch: int, index: int, stops: bool) -> None:
    little, config = little_fold(n_train=8), little_config(epochs=2)
    broken: list[str] = []
    trainer = make_trainer(config, little)
    trainer.stopping = lambda: stops and bool(trainer.state.first_step)
    with pytest.raises(
        TrainingError, match=rf"epoch {epoch + 1}, step {index + 1}: the loss is not finite.*nan"
    ) as caught:
        trainer.fit(poisoned(little, config, ("train", epoch, index), broken), ignore)
    assert len(broken) == 4 and all(name in str(caught.value) for name in broken)
    assert "--optim.lr" in str(caught.value)


def test_weights_broken_by_the_last_update_are_not_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No loss shows this: it was computed before the update."""
    little, config = little_fold(n_train=8), little_config(epochs=1)
    trainer = make_trainer(config, little, folder=Folder.at(str(tmp_path)))
    update = trainer.state.optimizer.step
    updates = 0

    def last_one_breaks() -> None:
        nonlocal updates
        updates += 1
        update()
        if updates == 2:
            next(iter(trainer.network.parameters())).data[0] = torch.inf

    monkeypatch.setattr(trainer.state.optimizer, "step", last_one_breaks)
    with pytest.raises(TrainingError, match="epoch 1, step 2: the loss is finite, but not the weights"):
        trainer.fit(little.batches(config), ignore)
    assert not list(tmp_path.iterdir())


def test_a_prediction_that_is_not_finite_is_an_error_and_no_score() -> None:
    little, config = with_curve(), little_config(epochs=1)
    broken: list[str] = []
    said = r"^test part: the predictions of 1 of \d+ utterances are not finite"
    with pytest.raises(TrainingError, match=said) as caught:
        make_trainer(config, little).fit(poisoned(little, config, ("test", 1, 0), broken), ignore)
    assert broken[0] in str(caught.value)


@pytest.mark.parametrize("fault", ["missing", "twice"])
def test_every_test_utterance_is_scored_once(fault: str) -> None:
    little, config = with_curve(), little_config(epochs=1)

    def faulty() -> Iterator[tuple[Step, Batch]]:
        for step, batch in little.batches(config):
            if step.part != "test":
                yield step, batch
                continue
            names = step.utterance_ids
            fewer = names[1:] if fault == "missing" else names[:1] + names[:-1]
            yield step, little.batch(dataclasses.replace(step, utterance_ids=fewer))

    with pytest.raises(RuntimeError, match="were to be scored"):
        make_trainer(config, little).fit(faulty(), ignore)


def test_an_accumulated_update_equals_that_of_the_undivided_step() -> None:
    """For the cross-entropy only; contrastive terms only use their own forward pass."""
    little = little_fold(n_train=7, text_dropout=0.0)
    loss = LossConfig(alpha=0.0, beta=0.0, gamma=0.0)
    found = []
    for batch_size, accumulate in ((7, 1), (3, 3)):
        config = little_config(dropout=0.0, loss=loss, epochs=1, batch_size=batch_size, accumulate=accumulate)
        trainer = make_trainer(config, little)
        descend_plainly(trainer, rate=1.0)
        trainer.fit(little.batches(config), ignore)
        found.append(checkpoint.trainable_state(trainer.network))
    start = checkpoint.trainable_state(make_network(config, little))
    assert any(not torch.equal(start[name], found[0][name]) for name in start)
    for name in start:
        torch.testing.assert_close(found[1][name], found[0][name], atol=1e-5, rtol=0.0)


def test_max_steps_ends_the_training_early() -> None:
    little, config = with_curve(), little_config(epochs=3, max_steps=4)
    _, outcome = run(config, little)
    assert [len(record.step_losses) for record in outcome.history] == [3, 1]
    assert len(outcome.test.utterance_ids) == len(little.fold.test)


def test_time_that_the_loop_waits_is_reported_by_epoch() -> None:
    little, config = with_curve(), little_config(epochs=2)

    def late() -> Iterator[tuple[Step, Batch]]:
        for step, batch in little.batches(config):
            if (step.part, step.epoch, step.index) == ("train", 1, 1):
                time.sleep(0.3)
            yield step, batch

    first, second = make_trainer(config, little).fit(late(), ignore).history
    assert 0.3 <= second.waited_s <= second.seconds
    assert first.waited_s <= first.seconds


def test_validation_and_test_use_the_average_and_training_goes_on_with_the_weights() -> None:
    little = with_curve()
    plain = little_config(epochs=2)
    averaged = dataclasses.replace(plain, optim=dataclasses.replace(plain.optim, average=0.9))
    (_, first), (trainer, second) = run(plain, little), run(averaged, little)
    assert [r.step_losses for r in first.history] == [r.step_losses for r in second.history]
    assert [r.validation_loss for r in first.history] != [r.validation_loss for r in second.history]
    assert not np.array_equal(first.test.probabilities_NC, second.test.probabilities_NC)
    if second.epoch == 1:
        state = checkpoint.trainable_state(trainer.network)
        assert all(torch.equal(state[name], value) for name, value in trainer.state.averaged.average.items())
