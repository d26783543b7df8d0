"""Speed of the training step and the evaluation, compared with the plain loop on the same utterances.

An epoch over thousands of utterances would take too long, and one over a few cannot be sorted by length. So batches are
made from many utterances, and an even selection of them, from the shortest to the longest, is timed.
"""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import DistilBertConfig, Wav2Vec2Config, Wav2Vec2FeatureExtractor

from raysys.bench import plain
from raysys.bench.measure import Row, ratios, row_of, side_by_side
from raysys.bench.speech import N_CLASSES, Speech, make_speech
from raysys.config import ExperimentConfig
from raysys.data.batch import Batch, Collator
from raysys.data.plan import Step, evaluation_steps, training_epoch
from raysys.data.text import train_wordpiece
from raysys.model.network import Network
from raysys.presets import paper
from raysys.training.evaluation import Predictions, Workers, predict
from raysys.training.loop import Trainer
from raysys.training.state import EpochRecord

_SAME = 1e-4
"""Maximum change of a probability when evaluated in other batches, in float32."""


@dataclass(slots=True, kw_only=True)
class Setting:
    """A randomly initialised network and the utterances it trains on."""

    config: ExperimentConfig
    network: Network
    speech: Speech
    collator: Collator
    device: torch.device

    def steps(self) -> list[Step]:
        """An epoch of our own loop: batches by length, classes in pairs."""
        speech = self.speech
        return training_epoch(speech.ids, speech.durations_s, speech.labels, self.config.train, 0)

    def train(self, steps: Sequence[Step]) -> EpochRecord:
        """Run our own loop over these steps."""
        trainer = Trainer(
            network=self.network,
            forward=self.network,
            config=self.config,
            n_train=len(self.speech.ids),
            labels=self.speech.labels,
            device=self.device,
            workers=Workers(),
            folder=None,
            trial_id="bench",
            validated=False,
        )
        outcome = trainer.fit(self._batches(steps), lambda _: None)
        self._wait()
        return outcome.history[0]

    def train_plain(self, network: Network, batches: Sequence[Sequence[str]], *, accumulate: int = 1) -> list[float]:
        train = dataclasses.replace(self.config.train, accumulate=accumulate)
        config = dataclasses.replace(self.config, train=train)
        losses = plain.train(network, batches, self.speech, self.collator, config, self.device)
        self._wait()
        return losses

    def evaluate(self, steps: Sequence[Step]) -> Predictions:
        return predict(self.network, self._evaluation(steps), self.device, Workers())

    def prepare(self, names: Sequence[str]) -> None:
        """Generate the waveforms in advance, so that this is not timed."""
        for name in names:
            self.speech.views(name)

    def seconds(self, names: Sequence[str]) -> float:
        """Seconds of speech used in training; longer utterances are cropped."""
        return sum(min(self.config.train.crop_s, self.speech.durations_s[name]) for name in names)

    def padded(self, names: Sequence[str]) -> float:
        """Seconds of a batch after padding."""
        return len(names) * min(self.config.train.crop_s, max(self.speech.durations_s[name] for name in names))

    def _batches(self, steps: Sequence[Step]) -> Iterator[tuple[Step, Batch]]:
        for step in steps:
            yield step, plain.collate(step.utterance_ids, self.speech, self.collator, self.config.train.crop_s)

    def _evaluation(self, steps: Sequence[Step]) -> Iterator[tuple[Step, Batch]]:
        for step in steps:
            waveforms = [self.speech.views(name)[0] for name in step.utterance_ids]
            yield step, self.collator(step.utterance_ids, waveforms, None, epoch=None)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def small_setting(n_utterances: int) -> Setting:
    """The paper's model at a quarter of its width and depth, batches of 16, float32: for CPUs."""
    audio = Wav2Vec2Config(
        hidden_size=192,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=768,
        conv_dim=(96,) * 7,
        num_conv_pos_embeddings=32,
        num_conv_pos_embedding_groups=4,
    )
    text = DistilBertConfig(dim=192, n_layers=2, n_heads=4, hidden_dim=768)
    base = paper()
    model = dataclasses.replace(base.model, weights="random", width=192, heads=4, feed_forward=768)
    train = dataclasses.replace(base.train, epochs=1, batch_size=16, accumulate=1)
    config = dataclasses.replace(base, model=model, train=train)
    return _setting(config, n_utterances, torch.device("cpu"), encoders=(audio, text))


def full_setting(n_utterances: int, device: torch.device) -> Setting:
    """The paper preset at full size with random weights, batches of 16 in one forward pass: for GPUs."""
    base = paper()
    train = dataclasses.replace(base.train, epochs=1, batch_size=16, accumulate=1)
    config = dataclasses.replace(base, model=dataclasses.replace(base.model, weights="random"), train=train)
    return _setting(config, n_utterances, device)


def _setting(
    config: ExperimentConfig,
    n_utterances: int,
    device: torch.device,
    encoders: tuple[Wav2Vec2Config, DistilBertConfig] | None = None,
) -> Setting:
    """Args:
    encoders: encoder configurations; None: those named in `config`.
    """
    speech = make_speech(n_utterances)
    tokenizer = train_wordpiece([u.transcript or "" for u in speech.utterances.values()])
    with tempfile.TemporaryDirectory() as scratch:
        if encoders is not None:
            folders = Path(scratch) / "audio", Path(scratch) / "text"
            encoders[1].vocab_size = len(tokenizer)
            for encoder, folder in zip(encoders, folders, strict=True):
                encoder.save_pretrained(folder)
            Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folders[0])
            model = dataclasses.replace(config.model, audio=str(folders[0]), text=str(folders[1]))
            config = dataclasses.replace(config, model=model)
        torch.manual_seed(0)
        network = Network(config.model, n_classes=N_CLASSES, vocab_size=len(tokenizer), loss=config.loss).to(device)
    collator = Collator(
        utterances=speech.utterances,
        labels=speech.labels,
        tokenizer=tokenizer,
        text_dropout=config.train.text_dropout,
        second_view=True,
        seed=0,
    )
    return Setting(config=config, network=network, speech=speech, collator=collator, device=device)


def spread(batches: Sequence[tuple[str, ...]], n: int, length: Callable[[tuple[str, ...]], float]) -> list[int]:
    """Indices of n batches, evenly spread from the shortest to the longest."""
    by_length = sorted(range(len(batches)), key=lambda i: length(batches[i]))
    return [by_length[int((k + 0.5) * len(batches) / n)] for k in range(n)]


def training_rows(
    setting: Setting, *, batches: int, repeats: int, note: str, plain_batch: int | None = None
) -> list[Row]:
    """The training step compared with the plain loop, and its absolute speed.

    Args:
        batches: batches timed per loop. Seconds are scaled to the whole epoch by padded seconds of speech.
        plain_batch: utterances per forward pass of the plain loop, which accumulates the rest; None: the same number.
    """
    size = setting.config.train.batch_size
    together = size // (plain_batch or size)
    steps = setting.steps()
    own = [step.utterance_ids for step in steps]
    mixed = plain.shuffled(setting.speech.ids, size // together, seed=0)
    chosen = [steps[i] for i in spread(own, batches, setting.padded)]
    same = [step.utterance_ids for step in chosen]
    plainly = [mixed[i] for i in spread(mixed, batches * together, setting.padded)]
    published = plain.as_published(setting.network)
    setting.prepare([*itertools.chain(*same), *itertools.chain(*plainly)])
    # Warm up on the longest batches, whose memory stays allocated.
    setting.train(chosen[-1:])
    setting.train_plain(published, plainly[-1:])
    taken = side_by_side(
        [
            lambda: setting.train(chosen),
            lambda: setting.train_plain(published, plainly, accumulate=together),
            lambda: setting.train_plain(published, same),
        ],
        repeats,
    )

    def epoch_s(
        seconds: Sequence[float], timed: Sequence[tuple[str, ...]], whole: Sequence[tuple[str, ...]]
    ) -> list[float]:
        scale = sum(map(setting.padded, whole)) / sum(map(setting.padded, timed))
        return [s * scale for s in seconds]

    ours, plain_s = epoch_s(taken[0], same, own), epoch_s(taken[1], plainly, mixed)
    n, speech_s = len(setting.speech.ids), setting.seconds(setting.speech.ids)
    flop, peak = _flop(setting, steps), _matrix_peak(setting.device, repeats)
    padding = [sum(map(setting.padded, whole)) / speech_s for whole in (own, mixed)]
    return [
        row_of("step_vs_plain", ratios(plain_s, ours), "x", note),
        row_of("step_vs_same_batches", ratios(taken[2], taken[0]), "x", note),
        row_of("train_utterances", [n / s for s in ours], "utterances/s", note),
        row_of("train_audio", [speech_s / s for s in ours], "s of speech/s", note),
        row_of("padded_over_real", padding[:1], "x", f"plain loop {padding[1]:.2f}"),
        row_of("flop_per_utterance", [flop / 1e9], "GFLOP", "forward and backward, both views, padding included"),
        row_of("matrix_peak", [p / 1e9 for p in peak], "GFLOP/s", "product of two square matrices"),
        row_of("share_of_peak", [flop * n / s / max(peak) for s in ours], "of 1", note),
    ]


def evaluation_row(setting: Setting, *, batches: int, repeats: int, note: str) -> Row:
    """Evaluation compared with the plain loop, on sampled batches as in `training_rows`; nothing is cropped.

    Raises:
        AssertionError: predictions for the same utterances differ by more than rounding.
    """
    speech = setting.speech

    def padded(names: Sequence[str]) -> float:
        return len(names) * max(speech.durations_s[name] for name in names)

    steps = evaluation_steps(speech.ids, speech.durations_s, "validation", 0)
    own = [step.utterance_ids for step in steps]
    mixed = plain.shuffled(speech.ids, setting.config.train.batch_size, seed=0)
    chosen = [steps[i] for i in spread(own, batches, padded)]
    names = [name for step in chosen for name in step.utterance_ids]
    plainly = [mixed[i] for i in spread(mixed, batches, padded)]
    published = plain.as_published(setting.network)
    setting.prepare([*names, *itertools.chain(*plainly)])

    def evaluate_plainly(some: Sequence[Sequence[str]]) -> dict[str, np.ndarray]:
        return plain.evaluate(published, some, speech, setting.collator, setting.device)

    # Also serves as warm-up.
    ours = setting.evaluate(chosen)
    theirs = evaluate_plainly(plain.shuffled(names, setting.config.train.batch_size, seed=0))
    off = max(
        float(np.abs(row - theirs[name]).max())
        for name, row in zip(ours.utterance_ids, ours.probabilities_NC, strict=True)
    )
    if setting.device.type == "cpu":
        assert off < _SAME, f"the two evaluations differ by {off:.1e}"
    taken = side_by_side([lambda: setting.evaluate(chosen), lambda: evaluate_plainly(plainly)], repeats)
    scales = [
        sum(map(padded, whole)) / sum(map(padded, timed))
        for whole, timed in ((own, [step.utterance_ids for step in chosen]), (mixed, plainly))
    ]
    faster = [plain_s * scales[1] / (own_s * scales[0]) for own_s, plain_s in zip(*taken, strict=True)]
    return row_of("eval_vs_plain", faster, "x", f"{note}; predictions within {off:.0e}")


def _flop(setting: Setting, steps: Sequence[Step]) -> float:
    """Floating-point operations per utterance in training, averaged over an epoch; counted on one batch."""
    own = [step.utterance_ids for step in steps]
    middle = own[spread(own, 1, setting.padded)[0]]
    batch = plain.collate(middle, setting.speech, setting.collator, setting.config.train.crop_s).to(setting.device)
    assert batch.augmented is not None
    setting.network.train()
    with FlopCounterMode(display=False) as counter:
        outputs = setting.network((batch.clean, batch.augmented))
        outputs.logits_NC.float().logsumexp(-1).sum().backward()
    setting.network.zero_grad(set_to_none=True)
    per_second = counter.get_total_flops() / setting.padded(middle)
    return float(per_second * sum(map(setting.padded, own)) / len(setting.speech.ids))


def _matrix_peak(device: torch.device, repeats: int) -> list[float]:
    """FLOP/s of a large matrix product, in bfloat16 on a GPU, like the network."""
    size = 2048 if device.type == "cpu" else 8192
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    a = torch.randn(size, size, device=device, dtype=dtype)

    def product() -> None:
        for _ in range(10):
            a @ a
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    product()
    return [10 * 2 * size**3 / seconds for seconds in side_by_side([product], repeats)[0]]
