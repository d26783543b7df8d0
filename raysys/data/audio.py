"""Audio files to waveforms: mono, float32, 16 kHz."""

from __future__ import annotations

import os
import struct

import numpy as np
import soundfile
import torch
import torchaudio.functional

from raysys.config import SAMPLE_RATE_HZ
from raysys.data.manifest import Utterance

DECODER_VERSION = 2
"""Part of the cache's key: raise it when the decoder's output changes."""


class AudioError(Exception):
    """An utterance that does not decode; the message is the reason, the caller adds whose it is."""


def decode(utterance: Utterance) -> np.ndarray:
    """Read an utterance's part of its file, average the channels, resample to 16 kHz.

    Returns: float32 waveform of ceil(duration_s x 16000) samples, nominally in [-1, 1].

    Raises:
        AudioError: the file does not decode, is shorter than its header says, empty, or not finite.
    """
    try:
        with soundfile.SoundFile(utterance.audio_path) as file:
            rate_hz = file.samplerate
            start = round((utterance.start_s or 0.0) * rate_hz)
            end = file.frames if utterance.end_s is None else round(utterance.end_s * rate_hz)
            file.seek(start)
            samples_SK = file.read(max(end - start, 0), dtype="float32", always_2d=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise AudioError(f"does not decode ({error})") from error
    if missing := missing_bytes(utterance.audio_path):
        raise AudioError(f"is cut short: the last {missing} bytes that its header promises are not there")
    if len(samples_SK) < end - start:
        raise AudioError(f"is cut short: {len(samples_SK)} of {end - start} samples are there")
    waveform_S = samples_SK.mean(axis=1, dtype=np.float32)
    if not len(waveform_S):
        raise AudioError("holds no samples")
    if not np.isfinite(waveform_S).all():
        raise AudioError("holds values that are not finite (NaN or infinity)")
    return resample(waveform_S, rate_hz)


def missing_bytes(path: str) -> int:
    """How much shorter a WAV file is than its header says; 0 for other formats.

    libsndfile reads what there is of a WAV and says nothing, while a FLAC cut short stops it.
    """
    with open(path, "rb") as file:
        riff, _, wave = struct.unpack("<4sI4s", file.read(12).ljust(12, b"\0"))
        if (riff, wave) != (b"RIFF", b"WAVE"):
            return 0
        while len(header := file.read(8)) == 8:
            name, size = struct.unpack("<4sI", header)
            if name == b"data":
                held = os.fstat(file.fileno()).st_size - file.tell()
                return 0 if size >= _UNKNOWN_LENGTH else max(size - held, 0)
            # Chunks begin at even offsets.
            file.seek(size + size % 2, os.SEEK_CUR)
    return 0


def resample(waveform_S: np.ndarray, rate_hz: int) -> np.ndarray:
    """Bring a waveform to 16 kHz by a windowed sinc filter; n samples become ceil(n x 16000 / rate)."""
    if rate_hz == SAMPLE_RATE_HZ:
        return waveform_S
    # A wide Kaiser window: within 0.2 dB to 7.6 kHz, 80 dB down from 8.2 kHz on, so that nothing audible folds back.
    resampled = torchaudio.functional.resample(
        torch.from_numpy(waveform_S),
        rate_hz,
        SAMPLE_RATE_HZ,
        lowpass_filter_width=64,
        rolloff=0.975,
        resampling_method="sinc_interp_kaiser",
        beta=8.0,
    )
    return resampled.numpy()


def trim(waveform_S: np.ndarray, below_db: float) -> np.ndarray:
    """Cut silence off both ends of a 16 kHz waveform; what is between stays, pauses too.

    Silent is a frame (25 ms, every 10 ms) whose power is more than `below_db` below the loudest one's. 100 ms around
    what is left stay. A waveform without any sound, or shorter than a frame, is left alone.
    """
    if len(waveform_S) < _FRAME:
        return waveform_S
    frames_TS = np.lib.stride_tricks.sliding_window_view(waveform_S, _FRAME)[::_HOP]
    power_T = np.einsum("ts,ts->t", frames_TS, frames_TS, dtype=np.float64)
    (heard,) = np.nonzero(power_T >= power_T.max() * 10 ** (-below_db / 10))
    return waveform_S[max(0, heard[0] * _HOP - _MARGIN) : heard[-1] * _HOP + _FRAME + _MARGIN]


def inaudible() -> np.ndarray:
    """The shortest waveform that an encoder takes; stands in where a worker has no utterance of a step."""
    return np.zeros(_SHORTEST, dtype=np.float32)


_FRAME, _HOP, _MARGIN = 400, 160, 1600
_SHORTEST = 400
_UNKNOWN_LENGTH = 0x7FFFF000
"""Programs that write into a pipe put this or more for the length of the data, since they cannot go back."""
