"""Decode audio files to waveforms: mono, float32, 16 kHz."""

from __future__ import annotations

import math
import os
import struct

import numpy as np
import soundfile

from raysys.config import SAMPLE_RATE_HZ
from raysys.data.manifest import Utterance

LARGEST_VALUE = 2.0**31
"""Float files may contain unscaled integers, up to 32-bit; the power of anything larger would overflow float32."""

HEADERLESS = "would be read as raw samples because of its file name extension; convert it to WAV or FLAC"
"""libsndfile reads anything, even text, as sound if it is named .gsm, .vox, .au or .snd."""

NOT_DECODED = (OSError, RuntimeError, ValueError, TypeError, MemoryError)
"""What soundfile raises for bad files: TypeError because of their name (.raw), MemoryError for their claimed length."""


class AudioError(Exception):
    """An utterance that does not decode; the message is the reason, and the caller adds the utterance."""


class UnreadableError(AudioError):
    """A file that cannot be read here and now, for a reason outside the file; a retry may succeed."""


def decode(utterance: Utterance) -> np.ndarray:
    """Read an utterance's part of its file, average the channels, resample to 16 kHz.

    Returns: float32 waveform of ceil(duration_s x 16000) samples, nominally in [-1, 1].

    Raises:
        UnreadableError: the file cannot be opened or read, or does not fit in memory.
        AudioError: the file does not decode, is truncated or empty, or has samples that are not finite or far from
            [-1, 1].
    """
    try:
        samples_SK, rate_hz = _read(utterance)
        return resample(samples_SK.mean(axis=1, dtype=np.float32), rate_hz)
    except (OSError, MemoryError) as error:
        raise UnreadableError(f"cannot be read ({str(error) or type(error).__name__})") from error


def _read(utterance: Utterance) -> tuple[np.ndarray, int]:
    """An utterance's samples (samples x channels), and their sample rate."""
    path = utterance.audio_path
    with open(path, "rb"):
        pass  # Raises the specific OSError; libsndfile reports every system error alike.
    try:
        with soundfile.SoundFile(path) as file:
            if file.format == "RAW":
                raise AudioError(HEADERLESS)
            rate_hz = file.samplerate
            start, end = part_of(utterance, file.frames, rate_hz)
            file.seek(start)
            samples_SK = file.read(max(end - start, 0), dtype="float32", always_2d=True)
    except (RuntimeError, ValueError, TypeError) as error:
        _read_through(path)
        raise AudioError(f"does not decode ({error})") from error
    if missing := missing_bytes(path):
        raise AudioError(f"is truncated: the last {missing} bytes promised by its header are missing")
    if len(samples_SK) < end - start:
        raise AudioError(f"is truncated: found {len(samples_SK)} of {end - start} samples")
    if not len(samples_SK):
        raise AudioError("contains no samples")
    if found := fault(samples_SK):
        raise AudioError(found)
    return samples_SK, rate_hz


def _read_through(path: str) -> None:
    """Read all bytes of a file that does not decode, to find out whether the disk is at fault.

    Raises:
        OSError: it is.
    """
    with open(path, "rb") as file:
        while file.read(1 << 20):
            pass


def part_of(utterance: Utterance, frames: int, rate_hz: int) -> tuple[int, int]:
    """First sample of an utterance in its file of `frames` samples, and the one after its last.

    Times after the end of the file stay after it, but by a second at most: 1e305 seconds has no sample number.
    """
    beyond_s = frames / rate_hz + 1
    start = round(min(utterance.start_s or 0.0, beyond_s) * rate_hz)
    end = frames if utterance.end_s is None else round(min(utterance.end_s, beyond_s) * rate_hz)
    return start, end


def fault(samples: np.ndarray) -> str | None:
    """What is wrong with the samples of a file, or None."""
    # Minimum and maximum are NaN if any sample is.
    peak = max(abs(float(samples.min())), abs(float(samples.max())))
    if not math.isfinite(peak):
        return "contains values that are not finite (NaN or infinity)"
    if peak > LARGEST_VALUE:
        return f"contains values as large as {peak:.3g}, expected about -1 to 1"
    return None


def missing_bytes(path: str) -> int:
    """How many bytes a WAV or AIFF file is shorter than its header says; 0 for other formats.

    libsndfile silently reads a truncated file of these formats; a truncated FLAC is an error.
    """
    with open(path, "rb") as file:
        container, kind = struct.unpack("4s4x4s", file.read(12).ljust(12, b"\0"))
        if (container, kind) not in _CHUNKED:
            return 0
        byte_order, samples = _CHUNKED[container, kind]
        long_size = 0
        while len(header := file.read(8)) == 8:
            name, size = struct.unpack(f"{byte_order}4sI", header)
            if name == samples:
                # RF64 stores lengths beyond 32 bits in a separate chunk.
                size = long_size if container == b"RF64" and size == 0xFFFFFFFF else size
                unknown = container != b"RF64" and size >= _UNKNOWN_LENGTH
                return 0 if unknown else max(size - (os.fstat(file.fileno()).st_size - file.tell()), 0)
            begin = file.tell()
            if name == b"ds64":
                long_size = struct.unpack("<8xQ", file.read(16).ljust(16, b"\0"))[0]
            # Chunks begin at even offsets.
            file.seek(begin + size + size % 2)
    return 0


def resample(waveform_S: np.ndarray, rate_hz: int) -> np.ndarray:
    """Resample a waveform to 16 kHz with a windowed sinc filter; n samples become ceil(n x 16000 / rate)."""
    if rate_hz == SAMPLE_RATE_HZ:
        return waveform_S
    shared = math.gcd(rate_hz, SAMPLE_RATE_HZ)
    up, down = SAMPLE_RATE_HZ // shared, rate_hz // shared
    length = -(-len(waveform_S) * up // down)
    reach = math.ceil(_ZEROS * down / (_ROLLOFF * min(up, down)))
    if up * (2 * reach + down) > _LARGEST_KERNEL:
        return _resample_by_odd_ratio(waveform_S, up, down, length)
    # Imported here: it takes seconds, and code that only names or reads decoded audio does not need it.
    import torch
    import torchaudio.functional

    # torchaudio computes the length in float32: pad with some silence, so that there is enough to cut from.
    padded_S = torch.nn.functional.pad(torch.from_numpy(waveform_S), (0, 16 * down))
    resampled = torchaudio.functional.resample(
        padded_S,
        rate_hz,
        SAMPLE_RATE_HZ,
        lowpass_filter_width=_ZEROS,
        rolloff=_ROLLOFF,
        resampling_method="sinc_interp_kaiser",
        beta=_BETA,
    )
    return resampled[:length].numpy()


def _resample_by_odd_ratio(waveform_S: np.ndarray, up: int, down: int, length: int) -> np.ndarray:
    """The same filter for rates such as 22254 Hz or 44099 Hz, which share next to no divisor with 16 kHz.

    torchaudio stores the filter once for each of `up` phases over `down` samples, zeros included: gigabytes for these.
    Here it is stored once, with up x down steps per period.
    """
    # Imports half of SciPy: two seconds per process, for something only decoding may need.
    from scipy.signal import upfirdn
    from scipy.special import i0

    cutoff = _ROLLOFF * min(up, down) / (up * down)
    one_side = np.arange(int(_ZEROS / cutoff) + 1) * cutoff
    window = i0(_BETA * np.sqrt(1 - np.square(one_side / _ZEROS))) / i0(_BETA)
    half = (np.sinc(one_side) * window * (cutoff * up)).astype(np.float32)
    # The filter is centred on an output sample: the first one kept.
    first = -(-len(half) // down)
    filter_K = np.zeros(first * down + len(half), np.float32)
    filter_K[first * down :] = half
    filter_K[first * down - len(half) + 1 : first * down + 1] = half[::-1]
    return upfirdn(filter_K, waveform_S, up, down)[first : first + length]


def trim(waveform_S: np.ndarray, below_db: float) -> np.ndarray:
    """Trim silence from both ends of a 16 kHz waveform; pauses within it stay.

    A frame (25 ms, every 10 ms) is silent if its power is more than `below_db` below the loudest frame's. 100 ms on
    either side are kept. An all-zero waveform, or one shorter than a frame, is returned unchanged.
    """
    if len(waveform_S) < _FRAME:
        return waveform_S
    frames_TS = np.lib.stride_tricks.sliding_window_view(waveform_S, _FRAME)[::_HOP]
    power_T = np.einsum("ts,ts->t", frames_TS, frames_TS, dtype=np.float64)
    (heard,) = np.nonzero(power_T >= power_T.max() * 10 ** (-below_db / 10))
    return waveform_S[max(0, heard[0] * _HOP - _MARGIN) : heard[-1] * _HOP + _FRAME + _MARGIN]


def inaudible() -> np.ndarray:
    """The shortest waveform that an encoder accepts; a placeholder when a worker has no utterance in a step."""
    return np.zeros(_SHORTEST, dtype=np.float32)


# A wide Kaiser window: flat within 0.2 dB up to 7.6 kHz, 80 dB down from 8.2 kHz on, so that nothing audible aliases.
_ZEROS, _ROLLOFF, _BETA = 64, 0.975, 8.0
_LARGEST_KERNEL = 1 << 24
"""Values in torchaudio's filter, which takes 128 MB while it is built: all common rates need fewer."""
_CHUNKED = {
    (b"RIFF", b"WAVE"): ("<", b"data"),
    (b"RF64", b"WAVE"): ("<", b"data"),
    (b"RIFX", b"WAVE"): (">", b"data"),
    (b"FORM", b"AIFF"): (">", b"SSND"),
    (b"FORM", b"AIFC"): (">", b"SSND"),
}
"""How chunked files begin: the byte order of their lengths, and the name of the chunk with the samples."""
_FRAME, _HOP, _MARGIN = 400, 160, 1600
_SHORTEST = 400
_UNKNOWN_LENGTH = 0x7FFFF000
"""Programs that write to a pipe put this or more as the data length, since they cannot seek back."""
