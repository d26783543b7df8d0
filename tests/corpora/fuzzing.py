"""Generated bad corpora, and the outcomes allowed for a run: correct data, or an error that names the problem."""

from __future__ import annotations

import functools
import math
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings

from raysys.config import CorpusConfig
from raysys.corpora.read import read_corpus
from raysys.data.audio import decode
from raysys.data.folds import make_folds
from raysys.data.manifest import Manifest
from raysys.errors import AudioError, UserError

CASES = {
    "formats": 250,
    "odd rates": 30,
    "damaged files": 600,
    "damaged lossy files": 300,
    "formats that are not verified": 100,
    "samples that are no numbers": 40,
    "WAV headers": 200,
    "FLAC headers": 120,
    "cells": 100,
    "damaged tables": 100,
    "Parquet": 60,
    "IEMOCAP": 60,
    "RAVDESS": 60,
    "damaged model folders": 150,
    "values of model folders": 250,
}
"""Number of generated cases per test, the same in every run: all if RAYSYS_FUZZ is 'whole', otherwise a tenth."""


def _number_of_cases(name: str) -> int:
    return CASES[name] if os.environ.get("RAYSYS_FUZZ") == "whole" else max(3, CASES[name] // 10)


LARGEST_ERROR = 1e-3
"""Ripple of the resampling filter for amplitudes up to 0.5, in addition to the quantisation step."""


def cases(name: str, /, **drawn: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """`given` with the number of cases configured for this name; all of them must finish."""

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        ended, wanted = 0, _number_of_cases(name)

        @functools.wraps(test)
        def counted(*args: Any, **kwargs: Any) -> None:
            nonlocal ended
            test(*args, **kwargs)
            ended += 1

        chosen = settings(
            max_examples=wanted,
            derandomize=True,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )
        generated = chosen(given(**drawn)(counted))

        @functools.wraps(generated)
        def all_of_them(*args: Any, **kwargs: Any) -> None:
            generated(*args, **kwargs)
            assert ended >= wanted, f"only {ended} of {wanted} cases were generated"

        return all_of_them

    return decorate


@dataclass(frozen=True)
class Sound:
    """Two tones that fade in and out, known analytically: no edges at which a filter would ring."""

    duration_s: float
    low_hz: float
    high_hz: float

    def at(self, times_s: np.ndarray) -> np.ndarray:
        inside = (times_s >= 0) & (times_s <= self.duration_s)
        swell = np.sin(np.pi * times_s / self.duration_s) ** 2 * inside
        return swell * (
            0.3 * np.sin(2 * np.pi * self.low_hz * times_s) + 0.2 * np.cos(2 * np.pi * self.high_hz * times_s)
        )

    def sampled(self, rate_hz: int, gains: tuple[float, ...] = (1.0,)) -> np.ndarray:
        """Samples x channels."""
        mono_S = self.at(np.arange(round(self.duration_s * rate_hz)) / rate_hz)
        return mono_S[:, None] * np.array(gains)

    def expected(self, n_samples: int, rate_hz: int, gains: tuple[float, ...] = (1.0,)) -> np.ndarray:
        """The expected decoded waveform at a rate: from the formula, not from a filter."""
        return self.at(np.arange(-(-n_samples * 16_000 // rate_hz)) / 16_000) * float(np.mean(gains))


@dataclass(frozen=True)
class Outcome:
    """The state of a run before training: utterances and waveforms, or the message with which it refused them."""

    manifest: Manifest | None
    waveforms: Mapping[str, np.ndarray]
    said: str


def read(config: CorpusConfig, folder: Path) -> Outcome:
    """Read, inspect, make folds, decode; errors other than the two shown to users propagate."""
    try:
        manifest = read_corpus(config, cache=folder)
        make_folds(manifest, config)
    except UserError as error:
        return Outcome(None, {}, str(error))
    waveforms: dict[str, np.ndarray] = {}
    said = "\n".join(f"{s.audio_path} ({s.utterance_id}) {s.reason}" for s in manifest.skipped)
    for utterance in manifest.utterances:
        try:
            waveforms[utterance.utterance_id] = decode(utterance)
        except AudioError as error:
            said += f"\n{utterance.audio_path} ({utterance.utterance_id}): {error}"
    for name, waveform_S in waveforms.items():
        assert waveform_S.dtype == np.float32 and len(waveform_S) and np.isfinite(waveform_S).all(), name
    return Outcome(manifest, waveforms, said)


def accounted(outcome: Outcome, names: set[str]) -> None:
    """Nothing is silently dropped: everything unused is named with its reason."""
    assert outcome.manifest is not None
    used = {u.utterance_id for u in outcome.manifest.utterances}
    left_out = {s.utterance_id for s in outcome.manifest.skipped}
    assert used | left_out == names and not used & left_out
    for name in names - set(outcome.waveforms):
        assert f"({name})" in outcome.said, f"{name} was silently dropped"


def as_its_header_says(path: Path) -> np.ndarray | None:
    """Mono samples of a plain WAV, parsed without a library; None if its header is inconsistent."""
    data = path.read_bytes()
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return None
    at, layout = 12, None
    while at + 8 <= len(data):
        name, size = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        if name == b"fmt " and size >= 16:
            layout = struct.unpack_from("<HHIIHH", data.ljust(at + 24, b"\0"), at + 8)
        if name == b"data":
            return None if layout is None else _samples(data[at + 8 : at + 8 + size], size, layout)
        at += 8 + size + size % 2
    return None


def _samples(data: bytes, size: int, layout: tuple[int, ...]) -> np.ndarray | None:
    tag, channels, _, _, block, bits = layout
    kinds = {(1, 16): "<i2", (1, 32): "<i4", (3, 32): "<f4", (3, 64): "<f8"}
    wanted = channels * bits // 8
    if (tag, bits) not in kinds or block != wanted or not block or not size or len(data) < size:
        return None
    samples = np.frombuffer(data[: size // block * block], kinds[tag, bits]).astype(np.float64)
    return (samples / (2.0 ** (bits - 1) if tag == 1 else 1.0)).reshape(-1, channels).mean(axis=1)


def close(found_S: np.ndarray, expected_S: np.ndarray, step: float) -> bool:
    """Whether a waveform equals the expected one, up to the filter's ripple and its quantisation step."""
    if len(found_S) != len(expected_S):
        return False
    return bool(np.abs(found_S - expected_S).max() <= LARGEST_ERROR + step)


def length_fits(outcome: Outcome, name: str) -> bool:
    """Whether a waveform is as long as the manifest says."""
    assert outcome.manifest is not None
    duration_s = next(u.duration_s for u in outcome.manifest.utterances if u.utterance_id == name)
    assert duration_s is not None
    return abs(len(outcome.waveforms[name]) - math.ceil(duration_s * 16_000 - 1e-6)) <= 1
