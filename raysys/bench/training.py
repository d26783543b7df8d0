"""How fast the training step and the evaluation are, against the plain loop on the same utterances."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator
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
from raysys.training.loop import EpochRecord, Trainer

_SAME = 1e-4
"""Evaluation in other batches may change a probability by so much, in float32."""


@dataclass(slots=True, kw_only=True)
class Setting:
    """One network, drawn at random, and the utterances that it trains on."""

    config: ExperimentConfig
    network: Network
    speech: Speech
    collator: Collator
    device: torch.device

    def steps(self) -> list[Step]:
        """The project's own epoch: batches by length, classes in pairs."""
        speech = self.speech
        return training_epoch(speech.ids, speech.durations_s, speech.labels, self.config.train, 0)

    def train(self) -> EpochRecord:
        """The project's own loop over that epoch."""
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
        outcome = trainer.fit(self._batches(), lambda _: None)
        self._wait()
        return outcome.history[0]

    def train_plain(self, network: Network, batches: list[tuple[str, ...]]) -> None:
        plain.train(network, batches, self.speech, self.collator, self.config, self.device)
        self._wait()

    def evaluate(self) -> Predictions:
        return predict(self.network, self._evaluation(), self.device, Workers())

    def _batches(self) -> Iterator[tuple[Step, Batch]]:
        for step in self.steps():
            yield step, plain.collate(step.utterance_ids, self.speech, self.collator, self.config.train.crop_s)

    def _evaluation(self) -> Iterator[tuple[Step, Batch]]:
        for step in evaluation_steps(self.speech.ids, self.speech.durations_s, "validation", 0):
            waveforms = [self.speech.waveforms[name] for name in step.utterance_ids]
            yield step, self.collator(step.utterance_ids, waveforms, None, epoch=None)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


@contextlib.contextmanager
def small_setting(n_utterances: int) -> Iterator[Setting]:
    """The paper's model at a fourth of its width and a fourth of its depth, batches of 16, float32: for CPUs."""
    audio = Wav2Vec2Config(
        hidden_size=192, num_hidden_layers=3, num_attention_heads=4, intermediate_size=768, conv_dim=(96,) * 7,
        num_conv_pos_embeddings=32, num_conv_pos_embedding_groups=4,
    )  # fmt: skip
    speech = make_speech(n_utterances)
    tokenizer = train_wordpiece([u.transcript or "" for u in speech.utterances.values()])
    text = DistilBertConfig(vocab_size=len(tokenizer), dim=192, n_layers=2, n_heads=4, hidden_dim=768)
    with tempfile.TemporaryDirectory() as scratch:
        folders = Path(scratch) / "audio", Path(scratch) / "text"
        audio.save_pretrained(folders[0])
        Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folders[0])
        text.save_pretrained(folders[1])
        base = paper()
        model = dataclasses.replace(
            base.model, audio=str(folders[0]), text=str(folders[1]), weights="random", width=192, heads=4,
            feed_forward=768,
        )  # fmt: skip
        train = dataclasses.replace(base.train, epochs=1, batch_size=16, accumulate=1)
        config = dataclasses.replace(base, model=model, train=train)
        torch.manual_seed(0)
        network = Network(config.model, n_classes=N_CLASSES, vocab_size=len(tokenizer), loss=config.loss)
    collator = Collator(
        utterances=speech.utterances,
        labels=speech.labels,
        tokenizer=tokenizer,
        text_dropout=config.train.text_dropout,
        second_view=True,
        seed=0,
    )
    yield Setting(config=config, network=network, speech=speech, collator=collator, device=torch.device("cpu"))


def training_rows(setting: Setting, *, repeats: int, note: str) -> list[Row]:
    """The step against the plain loop, and what it reaches by itself."""
    own = setting.steps()
    same = [step.utterance_ids for step in own]
    mixed = plain.shuffled(setting.speech.ids, setting.config.train.batch_size, seed=0)
    published = plain.as_published(setting.network)
    seconds = side_by_side(
        [
            setting.train,
            lambda: setting.train_plain(published, mixed),
            lambda: setting.train_plain(published, same),
        ],
        repeats,
    )
    n = len(setting.speech.ids)
    speech_s = sum(min(d, setting.config.train.crop_s) for d in setting.speech.durations_s.values())
    flop = _flop(setting)
    peak = _matrix_peak(setting.device, repeats)
    achieved = [flop * n / s for s in seconds[0]]
    return [
        row_of("step_vs_plain", ratios(seconds[1], seconds[0]), "x", note),
        row_of("step_vs_same_batches", ratios(seconds[2], seconds[0]), "x", note),
        row_of("train_utterances", [n / s for s in seconds[0]], "utterances/s", note),
        row_of("train_audio", [speech_s / s for s in seconds[0]], "s of speech/s", note),
        row_of(
            "padded_over_real",
            [_padded(same, setting) / speech_s],
            "x",
            f"plain {_padded(mixed, setting) / speech_s:.2f}",
        ),
        row_of("flop_per_utterance", [flop / 1e9], "GFLOP", "forward and backward, both views"),
        row_of("matrix_peak", [p / 1e9 for p in peak], "GFLOP/s", "product of two 2048 x 2048 matrices"),
        row_of("share_of_peak", [a / max(peak) for a in achieved], "of 1", note),
    ]


def evaluation_row(setting: Setting, *, repeats: int, note: str) -> Row:
    """Evaluation against the plain loop.

    Raises:
        AssertionError: the predictions differ by more than rounding.
    """
    published = plain.as_published(setting.network)
    mixed = plain.shuffled(setting.speech.ids, setting.config.train.batch_size, seed=0)

    def plainly() -> dict[str, np.ndarray]:
        return plain.evaluate(published, mixed, setting.speech, setting.collator, setting.device)

    ours, theirs = setting.evaluate(), plainly()
    off = max(
        float(np.abs(row - theirs[name]).max())
        for name, row in zip(ours.utterance_ids, ours.probabilities_NC, strict=True)
    )
    assert off < _SAME, f"the two evaluations differ by {off:.1e}"
    seconds = side_by_side([setting.evaluate, plainly], repeats)
    return row_of("eval_vs_plain", ratios(seconds[1], seconds[0]), "x", f"{note}; predictions within {off:.0e}")


def _padded(batches: list[tuple[str, ...]], setting: Setting) -> float:
    """Seconds that batches have when padded."""
    crop_s, durations_s = setting.config.train.crop_s, setting.speech.durations_s
    return sum(len(names) * min(crop_s, max(durations_s[n] for n in names)) for names in batches)


def _flop(setting: Setting) -> float:
    """Floating-point operations of an utterance's step, counted on one batch."""
    middle = setting.steps()[len(setting.steps()) // 2]
    batch = plain.collate(middle.utterance_ids, setting.speech, setting.collator, setting.config.train.crop_s)
    batch = batch.to(setting.device)
    assert batch.augmented is not None
    setting.network.train()
    with FlopCounterMode(display=False) as counter:
        outputs = setting.network((batch.clean, batch.augmented))
        outputs.logits_NC.float().logsumexp(-1).sum().backward()
    setting.network.zero_grad(set_to_none=True)
    real_s = sum(min(setting.config.train.crop_s, setting.speech.durations_s[n]) for n in middle.utterance_ids)
    per_second = counter.get_total_flops() / real_s
    mean_s = np.mean([min(setting.config.train.crop_s, d) for d in setting.speech.durations_s.values()])
    return float(per_second * mean_s)


def _matrix_peak(device: torch.device, repeats: int) -> list[float]:
    """FLOP/s of a large matrix product, in bfloat16 on a GPU, as the network computes."""
    size = 2048 if device.type == "cpu" else 8192
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    a = torch.randn(size, size, device=device, dtype=dtype)

    def product() -> None:
        for _ in range(10):
            a @ a
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return [10 * 2 * size**3 / seconds for seconds in side_by_side([product], repeats)[0]]
