"""Speed of the data processing steps, each on one core."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch

from raysys.augment.cbca import BATCH_SIZE, LIGHT_EPOCHS, LIGHT_LR, alternatives, fit
from raysys.augment.masked_lm import light_masked_lm
from raysys.augment.view import augment_waveform
from raysys.bench.measure import Row, row_of, side_by_side
from raysys.bench.speech import N_CLASSES, Speech
from raysys.config import SAMPLE_RATE_HZ, AugmentConfig
from raysys.data.audio import decode
from raysys.data.manifest import Utterance
from raysys.data.text import train_wordpiece

_FILE_RATE_HZ = 48_000
_LSA_ALONE = AugmentConfig(speed=False, noise=False, cbca="none")


def data_rows(speech: Speech, *, repeats: int) -> list[Row]:
    """Decoding, augmentation and CBCA on one thread."""
    waveforms = [speech.views(name)[0] for name in speech.ids[:32]]
    seconds = sum(map(len, waveforms)) / SAMPLE_RATE_HZ
    texts = [utterance.transcript or "" for utterance in speech.utterances.values()][:200]
    labels = [speech.labels[name] for name in speech.ids][:200]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            files = _write(waveforms, Path(scratch))
            decoded, lsa, effects, cbca = side_by_side(
                [
                    lambda: [decode(file) for file in files],
                    lambda: _augment(waveforms, _LSA_ALONE),
                    lambda: _augment(waveforms, AugmentConfig()),
                    lambda: _rewrite(texts, labels),
                ],
                repeats,
            )
    finally:
        torch.set_num_threads(threads)
    real = "x real time"
    return [
        row_of("decode_x_realtime", [seconds / s for s in decoded], real, "48 kHz stereo WAV to 16 kHz mono, one core"),
        row_of("lsa_x_realtime", [seconds / s for s in lsa], real, "one core"),
        row_of("augment_x_realtime", [seconds / s for s in effects], real, "LSA, speed and noise, one core"),
        row_of("cbca_texts", [len(texts) / s for s in cbca], "texts/s", "small model fitted and applied, one core"),
    ]


def _write(waveforms: Sequence[np.ndarray], folder: Path) -> list[Utterance]:
    files: list[Utterance] = []
    for number, waveform_S in enumerate(waveforms):
        path = folder / f"{number}.wav"
        stereo_SK = np.repeat(waveform_S, _FILE_RATE_HZ // SAMPLE_RATE_HZ)[:, None].repeat(2, axis=1)
        soundfile.write(path, stereo_SK, _FILE_RATE_HZ)
        files.append(Utterance(utterance_id=str(number), audio_path=str(path), speaker="", emotion=""))
    return files


def _augment(waveforms: Sequence[np.ndarray], config: AugmentConfig) -> None:
    for number, waveform_S in enumerate(waveforms):
        augment_waveform(waveform_S, config, key=(0, 0, str(number)))


def _rewrite(texts: Sequence[str], labels: Sequence[int]) -> None:
    tokenizer = train_wordpiece(texts)
    model = fit(
        light_masked_lm(tokenizer),
        tokenizer,
        texts,
        labels,
        n_classes=N_CLASSES,
        conditional=True,
        epochs=LIGHT_EPOCHS,
        batch_size=BATCH_SIZE,
        lr=LIGHT_LR,
        seed=0,
        device=torch.device("cpu"),
    )
    alternatives(model, tokenizer, texts, labels, k=5, seed=0)
