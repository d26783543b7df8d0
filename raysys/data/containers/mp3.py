"""MP3: frames, one after the other; how many there are is what a decoder must find."""

from __future__ import annotations

import re
from typing import BinaryIO

from raysys.data.containers.flac import id3_size
from raysys.errors import AudioError


def check_mp3(file: BinaryIO, frames: int) -> tuple[int, bool]:
    """Count the samples of an MPEG file (layers I to III), and compare with what the decoder promises.

    A Xing frame, the first, states how many follow, and the decoder believes it, also where a second file follows.
    Without one the decoder guesses from the size of the first frames and of the file: more than there is where tags
    follow, and less than there is where the bit rate varies.

    Args:
        frames: number of samples of each channel that the decoder promises.

    Returns: number of samples of each channel that it reads; False if no Xing frame states the length.

    Raises:
        AudioError: the decoder would read less than there is, the last frame is not whole, the sample rate changes, or
            there are more or fewer frames than the Xing frame says.
    """
    counted, in_frame, rate_hz, stated = _count(file.read())
    samples = counted * in_frame
    if stated is not None and stated not in (counted, counted + 1):
        raise AudioError(
            f"has a header that promises {stated} MPEG frames, and {counted} follow: it is truncated, or several "
            f"files in one. Convert it: ffmpeg -i FILE out.wav"
        )
    if samples > frames + (_ROUNDED if stated is None else _DELAY):
        raise AudioError(
            f"lasts {samples / rate_hz:.2f} s, of which the decoder reads {frames / rate_hz:.2f} s: its bit rate "
            f"varies, and no Xing header says so. Convert it: ffmpeg -i FILE out.wav"
        )
    return min(frames, samples), stated is not None


def _count(data: bytes) -> tuple[int, int, int, int | None]:
    """Number of MPEG frames, samples in each, sample rate, and how many frames the Xing frame states, if there is one.

    The Xing frame itself contains no sound.
    """
    at, counted, lost = 0, 0, 0
    kind: tuple[int, ...] = ()
    stated: int | None = None
    # Behind zeros at the end there is nothing.
    end = len(data.rstrip(b"\0"))
    while at < end:
        if tag := _tag_length(data, at):
            at += tag
            continue
        frame = _frame(data, at)
        # Bytes that belong to no frame may look like one, but not like two.
        if frame is None or (lost and not _continues(data, at + frame[0], end)):
            at, lost = at + 1, lost + 1
            continue
        length = frame[0]
        if at + length > len(data):
            raise AudioError(f"is truncated: its last MPEG frame lacks {at + length - len(data)} of {length} bytes")
        if kind and frame[1:] != kind:
            raise AudioError("changes its sample rate or channels; convert it: ffmpeg -i FILE out.wav")
        is_first, kind = not kind, frame[1:]
        if is_first and (xing := _XING.search(data[at + 4 : at + 48])):
            stated = _stated_frames(data[at + 4 + xing.start() : at + length].ljust(12, b"\0"))
        else:
            counted += 1
        at += length
    if lost > _LONGEST_TAG:
        raise AudioError(f"is damaged: {lost} bytes between its MPEG frames belong to none")
    if not counted:
        raise AudioError("contains no MPEG frames")
    return counted, kind[0], kind[1], stated


def _continues(data: bytes, at: int, end: int) -> bool:
    return at >= end or _tag_length(data, at) > 0 or _frame(data, at) is not None


def _tag_length(data: bytes, at: int) -> int:
    """Number of bytes of the tag that begins here; 0 if none does."""
    if data.startswith(b"TAG", at):
        return 128
    if data.startswith(b"ID3", at):
        return 10 + id3_size(data[at : at + 10])
    if data.startswith(b"APETAGEX", at):
        return 32 + int.from_bytes(data[at + 12 : at + 16], "little")
    if data.startswith(b"LYRICSBEGIN", at):
        return max(11, data.find(b"LYRICS200", at) + 9 - at)
    return 0


def _stated_frames(xing: bytes) -> int | None:
    """How many frames follow a Xing frame (Info, at a constant bit rate), if it says so."""
    return int.from_bytes(xing[8:12], "big") if xing[7] & 1 else None


def _frame(data: bytes, at: int) -> tuple[int, int, int, int] | None:
    """Number of bytes and samples of the frame that begins here, its sample rate and channels; None if none does."""
    head = int.from_bytes(data[at : at + 4], "big")
    version, layer = head >> 19 & 3, 4 - (head >> 17 & 3)
    bit_rate, rate, padding = head >> 12 & 15, head >> 10 & 3, head >> 9 & 1
    if head >> 21 != 0x7FF or version == 1 or layer == 4 or bit_rate in (0, 15) or rate == 3:
        return None
    newest = version == 3
    rate_hz = (44_100, 48_000, 32_000)[rate] >> {3: 0, 2: 1, 0: 2}[version]
    channels = 1 if head >> 6 & 3 == 3 else 2
    rates = _KILOBITS[(layer if newest else min(layer, 2) + 3) - 1]
    bits = 1000 * rates[bit_rate - 1]
    if layer == 1:
        return (12 * bits // rate_hz + padding) * 4, 384, rate_hz, channels
    samples = 1152 if newest or layer == 2 else 576
    return samples // 8 * bits // rate_hz + padding, samples, rate_hz, channels


_KILOBITS = (
    (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
"""Bit rates of MPEG-1 layers I, II and III, then of MPEG-2 layer I, and of its layers II and III."""
_XING = re.compile(rb"Xing|Info")
_DELAY = 6 * 1152
"""Samples by which the count may differ: an encoder's delay and padding, which a decoder leaves out."""
_ROUNDED = 144
"""The decoder guesses from the mean size of a frame: it may be wrong by a fraction of one."""
_LONGEST_TAG = 4096
