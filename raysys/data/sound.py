"""Open audio files of all formats that can be read and verified, the same way for inspection and decoding."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import soundfile

from raysys.data.containers import video
from raysys.data.containers.chunks import check_au, check_chunks, check_nist
from raysys.data.containers.flac import check_flac
from raysys.data.containers.mp3 import check_mp3
from raysys.data.containers.ogg import check_ogg
from raysys.data.containers.recognise import media_format, not_audio
from raysys.data.resample import too_odd
from raysys.errors import AudioError

LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 1_000, 384_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """An open audio file.

    Attributes:
        frames: number of samples of each channel.
        floats: samples may be any floating-point number.
        verified: the file states its length, and has it.
        blocks: reads from one sample to another, in order: float32 arrays (samples x channels) of a megabyte.
    """

    rate_hz: int
    channels: int
    frames: int
    floats: bool
    verified: bool
    blocks: Callable[[int, int], Iterator[np.ndarray]]


@contextmanager
def opened(path: str) -> Iterator[Sound]:
    """Open an audio file by its content, whatever its name, and compare its stated length with what is there.

    Raises:
        OSError, MemoryError: the system cannot read it.
        AudioError: it is not audio, in a format that cannot be verified, or its length is not what its header says.
    """
    with open(path, "rb") as file:
        beginning = file.read(64)
        if reason := not_audio(beginning):
            raise AudioError(reason)
        if media := media_format(beginning):
            yield _media(path, file, media)
            return
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        try:
            # By descriptor: libsndfile reads anything, even text, as raw sound if it is named .gsm or .vox.
            with soundfile.SoundFile(file.fileno(), closefd=False) as sound:
                yield _sound(path, file, sound)
        except NOT_DECODED as error:
            _read_through(path)
            reason = error.error_string if isinstance(error, soundfile.LibsndfileError) else str(error)
            raise AudioError(f"does not decode ({reason}){_ADVICE if _is_of_sound(error) else ''}") from error


NOT_DECODED = (RuntimeError, ValueError, TypeError)
"""What soundfile raises for bad files."""


def _is_of_sound(error: Exception) -> bool:
    """Whether libsndfile knows the container of what it cannot read: other programs may know more of its codecs."""
    return isinstance(error, soundfile.LibsndfileError) and error.code != _NOT_RECOGNISED


def _sound(path: str, file: BinaryIO, sound: soundfile.SoundFile) -> Sound:
    _check_rate(sound.samplerate)
    if sound.subtype.startswith("DWVW") or (sound.format != "MP3" and sound.subtype.startswith("MPEG")):
        raise AudioError(
            f"is coded as {sound.subtype} in {sound.format}, which libsndfile only claims to read; convert it to WAV "
            f"or FLAC"
        )
    if sound.frames <= 0:
        raise AudioError("contains no samples")
    if sound.frames >= _UNKNOWN_FRAMES:
        raise AudioError("has no length in its header (a FLAC written to a pipe?); write it again as a file")
    frames, verified = _verified(path, sound.format, sound.frames, *_state(file))
    return Sound(
        rate_hz=sound.samplerate,
        channels=sound.channels,
        frames=frames,
        floats=sound.subtype in ("FLOAT", "DOUBLE"),
        verified=verified,
        blocks=functools.partial(_blocks, sound),
    )


def _media(path: str, file: BinaryIO, media: tuple[str, str]) -> Sound:
    frames, rate_hz, channels, verified = _measured(path, media, *_state(file))
    if not frames:
        raise AudioError("contains no samples")
    _check_rate(rate_hz)
    return Sound(
        rate_hz=rate_hz,
        channels=channels,
        frames=frames,
        floats=True,
        verified=verified,
        blocks=functools.partial(video.blocks, path, media),
    )


def _check_rate(rate_hz: int) -> None:
    if not LOWEST_RATE_HZ <= rate_hz <= HIGHEST_RATE_HZ:
        raise AudioError(f"has a sample rate of {rate_hz} Hz, expected {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ}")
    if reason := too_odd(rate_hz):
        raise AudioError(reason)


def _state(file: BinaryIO) -> tuple[int, int]:
    """Size and time of the last change: what was measured is believed while these are the same."""
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


@functools.lru_cache(maxsize=256)
def _verified(path: str, kind: str, frames: int, size: int, changed_ns: int) -> tuple[int, bool]:
    """Check a file once, also if it has the turns of a whole session.

    Returns: number of samples of each channel, and whether the file states it.
    """
    with open(path, "rb") as file:
        return check_mp3(file, frames) if kind == "MP3" else (frames, _check(kind, file))


@functools.lru_cache(maxsize=256)
def _measured(path: str, media: tuple[str, str], size: int, changed_ns: int) -> tuple[int, int, int, bool]:
    return video.measure(path, media)


def _blocks(sound: soundfile.SoundFile, start: int, end: int) -> Iterator[np.ndarray]:
    if start >= end:
        return
    # GSM 6.10, G.721 and other codecs with a state are read from the beginning.
    at = sound.seek(start) if sound.seekable() else 0
    longest = max(1, _BLOCK // sound.channels)
    while at < end:
        stop = min(at + longest, start if at < start else end)
        block_SK = sound.read(stop - at, dtype="float32", always_2d=True)
        if not len(block_SK):
            return
        if at >= start:
            yield block_SK
        at += len(block_SK)


def _read_through(path: str) -> None:
    """Read all bytes of a file that does not decode, to find out whether the disk is at fault.

    Raises:
        OSError: it is.
    """
    with open(path, "rb") as file:
        while file.read(1 << 20):
            pass


def _check(kind: str, file: BinaryIO) -> bool:
    match kind:
        case "WAV" | "WAVEX" | "RF64" | "W64" | "AIFF" | "CAF":
            return check_chunks(file)
        case "AU":
            return check_au(file)
        case "NIST":
            return check_nist(file)
        case "FLAC":
            return check_flac(file)
        case "OGG":
            return check_ogg(file)
        case _:
            raise AudioError(f"is in the format {kind}, whose length cannot be verified; convert it to WAV or FLAC")


_NOT_RECOGNISED = 1
"""libsndfile's code for what is in no format that it knows."""
_ADVICE = ". If another program plays it, convert it: ffmpeg -i FILE out.wav"
_BLOCK = 1 << 18
_UNKNOWN_FRAMES = 1 << 40
"""libsndfile reports its largest number for an unknown length; a FLAC header cannot state more than 2^36."""
