"""MP3: frames, one after the other; how many there are is what a decoder must find."""

from __future__ import annotations

import os
from typing import BinaryIO

from raysys.data.containers.flac import id3_size
from raysys.errors import AudioError


def check_mp3(file: BinaryIO, frames: int) -> bool:
    """Count the samples of an MPEG file (layers I to III), and compare with what the decoder reads.

    Without a Xing frame the decoder guesses from the first frame's bit rate, which is wrong at variable bit rates; with
    one it believes it, also where a second file follows.

    Args:
        frames: number of samples of each channel that the decoder reads.

    Raises:
        AudioError: the numbers differ by more than an encoder's delay and padding, the last frame is not whole, or
            there are more or fewer frames than the Xing frame says.
    """
    size = os.fstat(file.fileno()).st_size
    data = file.read()
    at = 10 + id3_size(data[:10]) if data[:3] == b"ID3" else 0
    samples, rate_hz, counted, lost = 0, 0, 0, 0
    stated: int | None = None
    while at + 4 <= size and not data.startswith(_TAGS, at):
        frame = _frame(data, at)
        if frame is None or (lost and at + frame[0] < size and _frame(data, at + frame[0]) is None):
            at, lost = at + 1, lost + 1
            continue
        length, in_frame, rate_hz = frame
        if at + length > size:
            raise AudioError(f"is truncated: its last MPEG frame lacks {at + length - size} of {length} bytes")
        if not counted:
            stated = _stated_frames(data[at : at + length])
        samples, counted, at = samples + in_frame, counted + 1, at + length
    if lost > _LONGEST_TAG:
        raise AudioError(f"is damaged: {lost} bytes between its MPEG frames belong to none")
    if stated is not None and stated not in (counted - 1, counted):
        raise AudioError(
            f"has a header that promises {stated} MPEG frames, and {counted - 1} follow: it is truncated, or several "
            f"files in one. Convert it: ffmpeg -i FILE out.wav"
        )
    if abs(samples - frames) > _DELAY:
        lasts_s, read_s = samples / max(rate_hz, 1), frames / max(rate_hz, 1)
        raise AudioError(
            f"lasts {lasts_s:.2f} s, of which the decoder reads {read_s:.2f} s: its bit rate varies, and no Xing "
            f"header says so. Convert it: ffmpeg -i FILE out.wav"
        )
    return True


def _stated_frames(first: bytes) -> int | None:
    """How many frames follow this one, if it is a Xing frame (Info, at a constant bit rate)."""
    at = max(first.find(b"Xing", 4, 44), first.find(b"Info", 4, 44))
    if at < 0 or not first[at + 7] & 1:
        return None
    return int.from_bytes(first[at + 8 : at + 12], "big")


def _frame(data: bytes, at: int) -> tuple[int, int, int] | None:
    """Number of bytes and samples of the frame that begins here, and its sample rate; None if none does."""
    head = int.from_bytes(data[at : at + 4], "big")
    version, layer = head >> 19 & 3, 4 - (head >> 17 & 3)
    bit_rate, rate, padding = head >> 12 & 15, head >> 10 & 3, head >> 9 & 1
    if head >> 21 != 0x7FF or version == 1 or layer == 4 or bit_rate in (0, 15) or rate == 3:
        return None
    newest = version == 3
    rate_hz = (44_100, 48_000, 32_000)[rate] >> {3: 0, 2: 1, 0: 2}[version]
    rates = _KILOBITS[(layer if newest else min(layer, 2) + 3) - 1]
    bits = 1000 * rates[bit_rate - 1]
    if layer == 1:
        return (12 * bits // rate_hz + padding) * 4, 384, rate_hz
    samples = 1152 if newest or layer == 2 else 576
    return samples // 8 * bits // rate_hz + padding, samples, rate_hz


_KILOBITS = (
    (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
"""Bit rates of MPEG-1 layers I, II and III, then of MPEG-2 layer I, and of its layers II and III."""
_TAGS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN")
_DELAY = 6 * 1152
"""Samples by which the count may differ: the Xing frame's own 1152, an encoder's delay and padding."""
_LONGEST_TAG = 4096
