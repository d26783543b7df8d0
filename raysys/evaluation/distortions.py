"""What happens to speech outside a studio, as waveform in, waveform out: 16 kHz, mono, float32, S samples.

All are deterministic: noise and rooms are drawn from a seed, so that two models meet the same.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import soundfile
import torch
from scipy.signal import butter, fftconvolve, sosfiltfilt

from raysys.augment.signal import mix_at_snr
from raysys.config import SAMPLE_RATE_HZ
from raysys.errors import AudioError

_BAND_HZ = (300.0, 3400.0)
"""Of a telephone (ITU-T G.712)."""
_ROOM_S = 0.5
"""Reverberation time: the sound has fallen by 60 dB."""
_CLIPPED = 0.02
"""Share of the samples that are beyond what the recorder takes."""
_MP3_KBIT_S = 32
_MP3_DELAYS = 2400
"""Samples by which encoder and decoder may be late."""
_MP3_SLOWEST, _MP3_FASTEST = 8, 160
"""Rates of MPEG-2 layer III at 16 kHz, which libsndfile spreads over its levels of compression."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distortion:
    """Attributes:
    name: for files; title: for people.
    apply: takes a waveform and a seed.
    """

    name: str
    title: str
    apply: Callable[[np.ndarray, int], np.ndarray]


def white_noise(waveform_S: np.ndarray, seed: int, *, snr_db: float) -> np.ndarray:
    """Add white noise at a signal-to-noise ratio; silence stays silent."""
    if not waveform_S.any():
        return waveform_S
    drawn_S = np.random.default_rng(seed).standard_normal(len(waveform_S)).astype(np.float32)
    mixed_S = mix_at_snr(torch.from_numpy(waveform_S.copy()), torch.from_numpy(drawn_S), snr_db=snr_db)
    return _within(mixed_S.numpy())


def telephone(waveform_S: np.ndarray, seed: int = 0) -> np.ndarray:
    """Keep 300 to 3400 Hz (Butterworth of order 4, forwards and backwards), at 8 bits of mu-law (ITU-T G.711)."""
    sections = butter(4, _BAND_HZ, "bandpass", fs=SAMPLE_RATE_HZ, output="sos")
    # The filter needs more samples than it looks back.
    padded_S = np.pad(waveform_S, SAMPLE_RATE_HZ // 10)
    band_S = _within(sosfiltfilt(sections, padded_S)[SAMPLE_RATE_HZ // 10 :][: len(waveform_S)])
    mu = 255.0
    coded_S = np.round(np.sign(band_S) * np.log1p(mu * np.abs(band_S)) / np.log1p(mu) * 127) / 127
    return _within(np.sign(coded_S) * np.expm1(np.abs(coded_S) * np.log1p(mu)) / mu)


def gain(waveform_S: np.ndarray, seed: int = 0, *, db: float) -> np.ndarray:
    """Amplify by so many decibels, without a limit of the samples' values."""
    return (waveform_S * np.float32(10 ** (db / 20))).astype(np.float32)


def clip(waveform_S: np.ndarray, seed: int = 0) -> np.ndarray:
    """Limit the loudest 2 % of the samples, as a recorder that is set too loud."""
    limit = float(np.quantile(np.abs(waveform_S), 1 - _CLIPPED))
    return waveform_S if limit == 0 else _within(waveform_S, limit)


def room(waveform_S: np.ndarray, seed: int) -> np.ndarray:
    """Reverberation of half a second: exponentially falling noise after the direct sound, both of equal energy."""
    rng = np.random.default_rng(seed)
    seconds_R = np.arange(int(_ROOM_S * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    response_R = rng.standard_normal(len(seconds_R)) * 10 ** (-3 * seconds_R / _ROOM_S)
    response_R[0] = np.sqrt(np.square(response_R[1:]).sum())
    heard_S = fftconvolve(waveform_S, response_R)[: len(waveform_S)]
    loudest = float(np.abs(heard_S).max(initial=0.0))
    scale = float(np.abs(waveform_S).max(initial=0.0)) / loudest if loudest else 1.0
    scaled_S: np.ndarray = (heard_S * scale).astype(np.float32)
    return scaled_S


def mp3(waveform_S: np.ndarray, seed: int = 0) -> np.ndarray:
    """Through MP3 at 32 kbit/s and back; the encoder's delay is cut off.

    Raises:
        AudioError: this machine's libsndfile cannot write MP3.
    """
    level = (_MP3_FASTEST - _MP3_KBIT_S) / (_MP3_FASTEST - _MP3_SLOWEST)
    file = io.BytesIO()
    longer_S = np.pad(waveform_S, (0, _MP3_DELAYS))
    try:
        soundfile.write(
            file,
            longer_S,
            SAMPLE_RATE_HZ,
            format="MP3",
            subtype="MPEG_LAYER_III",
            bitrate_mode="CONSTANT",
            compression_level=level,
        )
        file.seek(0)
        decoded_S, _ = soundfile.read(file, dtype="float32")
    except (soundfile.LibsndfileError, ValueError) as error:
        raise AudioError(f"MP3 cannot be written here ({error}). Install libsndfile 1.1 or later.") from error
    # Where speech is most like itself: encoders differ, and some readers cut their delay off.
    likeness = fftconvolve(np.pad(decoded_S, (0, len(longer_S))), longer_S[::-1])[len(longer_S) - 1 :][:_MP3_DELAYS]
    heard_S = decoded_S[int(likeness.argmax()) :][: len(waveform_S)]
    return _within(np.pad(heard_S, (0, len(waveform_S) - len(heard_S))))


def _within(waveform_S: np.ndarray, limit: float = 1.0) -> np.ndarray:
    limited_S: np.ndarray = np.clip(waveform_S, -limit, limit).astype(np.float32)
    return limited_S


DISTORTIONS = (
    *(
        Distortion(name=f"noise-{db}-db", title=f"white noise, {db} dB", apply=partial(white_noise, snr_db=db))
        for db in (20, 10, 5, 0)
    ),
    Distortion(name="telephone", title="telephone: 300 to 3400 Hz, mu-law", apply=telephone),
    Distortion(name="quiet", title="20 dB quieter", apply=partial(gain, db=-20)),
    Distortion(name="clipped", title="2 % of samples clipped", apply=clip),
    Distortion(name="room", title="reverberation of 0.5 s", apply=room),
    Distortion(name="mp3", title="MP3 at 32 kbit/s", apply=mp3),
)
