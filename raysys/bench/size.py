"""Seconds and peak memory of each phase of a run, at given numbers of utterances."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile

from raysys.bench.commands import Ran, run_job
from raysys.bench.measure import Row, row_of
from raysys.config import SAMPLE_RATE_HZ

_CLASSES = ("angry", "happy", "neutral", "sad")
_SPEAKERS, _DURATION_S = 300, 0.3
_IN_A_FOLDER = 1_000
_FLAGS = (
    "--preset", "light", "--corpus.name", "table", "--corpus.modalities", "audio", "--corpus.allow-duplicates",
    "--augment.variants", "1", "--train.epochs", "1", "--train.max-steps", "20",
)  # fmt: skip
_MIB = 2**20


def write_corpus(folder: Path, n_utterances: int) -> Path:
    """Write tones in noise of 0.3 s as FLAC, the same each time: 300 speakers, four classes. Returns: its table."""
    table = folder / "corpus.csv"
    time_S = np.arange(round(_DURATION_S * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    rows = []
    for number in range(n_utterances):
        place = folder / f"{number // _IN_A_FOLDER:05d}"
        place.mkdir(parents=True, exist_ok=True)
        label = number // _SPEAKERS % len(_CLASSES)
        noise_S = np.random.default_rng(number).normal(0, 0.05, len(time_S))
        path = place / f"{number:08d}.flac"
        soundfile.write(path, 0.3 * np.sin(2 * np.pi * (200 + 150 * label) * time_S) + noise_S, SAMPLE_RATE_HZ)
        rows.append([f"u{number:08d}", path, f"s{number % _SPEAKERS:03d}", _CLASSES[label]])
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([["utterance_id", "audio_path", "speaker", "emotion"], *rows])
    return table


def size_rows(scratch: Path, sizes: Sequence[int]) -> Iterator[list[Row]]:
    """Preparing a corpus, preparing it again, and twenty steps on each of five folds; rows of one size after another.

    Args:
        sizes: numbers of utterances, 1,200 and more: each speaker has every class.
    """
    for size in sizes:
        root = scratch / f"{size}"
        flags = (*_FLAGS, "--corpus.root", str(write_corpus(root / "corpus", size)))
        yield _rows(f"size_{size}_prepare", run_job("prepare", root, "prepared", *flags))
        yield _rows(f"size_{size}_prepare_again", run_job("prepare", root, "prepared-again", *flags))
        trained = run_job("crossval", root, "trained", *flags)
        yield [
            row_of(f"size_{size}_first_step", [trained.first_step_s], "s", "from the start of the command"),
            *_rows(f"size_{size}_train", trained),
            row_of(f"size_{size}_trial_memory", [trained.trial_bytes / _MIB], "MiB", "largest training process"),
        ]


def _rows(name: str, ran: Ran) -> list[Row]:
    return [
        row_of(f"{name}_s", [ran.seconds], "s"),
        row_of(f"{name}_driver_memory", [ran.driver_bytes / _MIB], "MiB", "without shared memory"),
    ]
