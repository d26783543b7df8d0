"""MP4, Matroska, AVI and other containers of video or compressed speech, by PyAV, which brings FFmpeg: an extra."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from raysys.data.containers.chunks import check_bytes
from raysys.errors import AudioError

_STREAMED = ("aac", "amr")
"""Formats without a length: FFmpeg guesses one."""
_SHORTER_S = 0.15
"""By how much a whole stream may be shorter than stated: a frame at each end, and a container's rounding."""
_DRIFT = 1e-3
"""By how much clocks differ at most."""


def measure(path: str, media: tuple[str, str]) -> tuple[int, int, int, bool]:
    """Decode the first audio stream of a file.

    Args:
        media: FFmpeg's name of the container, so that no other demuxer, which might open other files, reads it; and
            the name for messages.

    Returns: number of samples per channel, sample rate, number of channels, and whether the file states its length.

    Raises:
        AudioError: it contains no sound, does not decode, ends before its stated length, or PyAV is missing.
    """
    frames, rate_hz, channels = 0, 0, 0
    first_s: float | None = None
    stated = media[0] == "avi" and _is_whole_avi(path)
    with _opened(path, media) as (container, stream):
        stated_s = None if media[0] == "avi" else _stated_s(container, stream)
        for samples_KS, rate, at_s in _decoded(container, stream):
            if rate_hz and (rate, len(samples_KS)) != (rate_hz, channels):
                raise AudioError("changes its sample rate or channels; convert it: ffmpeg -i FILE out.wav")
            frames, rate_hz, channels = frames + samples_KS.shape[1], rate, len(samples_KS)
            if at_s is not None and media[0] != "avi":
                first_s = at_s if first_s is None else first_s
                _refuse_gap(at_s + samples_KS.shape[1] / rate - first_s, frames / rate)
    if stated_s is not None and frames < (stated_s - _SHORTER_S) * (rate_hz or 1):
        raise AudioError(f"is truncated: its {stated_s:.2f} s of sound end after {frames / (rate_hz or 1):.2f} s")
    return frames, rate_hz, channels, stated or stated_s is not None


def _refuse_gap(passed_s: float, heard_s: float) -> None:
    """Compare the time since the first frame of sound with the sound: a table's times would no longer fit.

    Raises:
        AudioError: much more time has passed, even for a recorder whose clock is inaccurate.
    """
    if passed_s - heard_s > _SHORTER_S + _DRIFT * passed_s:
        raise AudioError(
            f"has gaps of {passed_s - heard_s:.2f} s before {passed_s:.2f} s of its sound; fill them with silence: "
            f"ffmpeg -i FILE -af aresample=async=1 out.wav"
        )


def blocks(path: str, media: tuple[str, str], start: int, end: int) -> Iterator[np.ndarray]:
    """Samples from `start` to `end`, float32, samples x channels, a decoder's frame at a time."""
    at = 0
    with _opened(path, media) as (container, stream):
        for samples_KS, *_ in _decoded(container, stream):
            here = samples_KS[:, max(0, start - at) : max(0, end - at)]
            if here.shape[1]:
                yield here.T
            at += samples_KS.shape[1]
            if at >= end:
                return


@contextmanager
def _opened(path: str, media: tuple[str, str]) -> Iterator[tuple[Any, Any]]:
    try:
        import av
    except ImportError:
        raise AudioError(
            f"is {media[1]}, which PyAV reads: pip install 'raysys[av]', on all nodes; or convert it: "
            f"ffmpeg -i FILE -vn out.wav"
        ) from None
    av.logging.set_level(None)
    try:
        with open(path, "rb") as file, av.open(file, format=media[0]) as container:
            if not container.streams.audio:
                raise AudioError(f"is {media[1]} without sound")
            yield container, container.streams.audio[0]
    except av.FFmpegError as error:
        raise AudioError(f"is {media[1]} and does not decode ({error.strerror})") from error


def _decoded(container: Any, stream: Any) -> Iterator[tuple[np.ndarray, int, float | None]]:
    """Float32 samples (channels x samples), sample rate and time in seconds, if it has one, of each decoded frame."""
    import av

    resampler = None
    for frame in container.decode(stream):
        if resampler is None:
            resampler = av.AudioResampler(format="fltp", layout=frame.layout, rate=frame.sample_rate)
            first = (frame.layout.name, frame.sample_rate)
        elif (frame.layout.name, frame.sample_rate) != first:
            raise AudioError("changes its sample rate or channels; convert it: ffmpeg -i FILE out.wav")
        for converted in resampler.resample(frame):
            yield converted.to_ndarray(), converted.sample_rate, frame.time


def _stated_s(container: Any, stream: Any) -> float | None:
    """The stream's length in seconds, as the container states it."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    tag = stream.metadata.get("DURATION", "")
    parts = tag.split(":")
    if len(parts) == 3:
        seconds = sum(float(part) * scale for part, scale in zip(parts, (3600, 60, 1), strict=True))
        # Matroska states when the stream ends, which begins later than the video if its recorder was slow.
        begins_s = float((stream.start_time or 0) * stream.time_base)
        return seconds - begins_s if math.isfinite(seconds) else None
    if len(container.streams) == 1 and container.duration and container.format.name not in _STREAMED:
        return float(container.duration) / 1e6
    return None


def _is_whole_avi(path: str) -> bool:
    """Compare an AVI's size with what its RIFF lists promise: FFmpeg reads what is left of a truncated one.

    Returns: False if it states none, since its recorder did not finish it.

    Raises:
        AudioError: bytes are missing.
    """
    with open(path, "rb") as file:
        size, at = os.fstat(file.fileno()).st_size, 0
        while at + 8 <= size:
            file.seek(at)
            name, length = struct.unpack("<4sI", file.read(8))
            if name != b"RIFF":
                break
            check_bytes(length, size - at - 8)
            if not length:
                return False
            at += 8 + length + length % 2
    return True
