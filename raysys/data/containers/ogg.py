"""Ogg (Vorbis, Opus, FLAC): pages with numbers and checksums, the last of which is marked."""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

from raysys.errors import AudioError


def check_ogg(file: BinaryIO) -> bool:
    """Read all pages of an Ogg file (RFC 3533): one stream, no page missing or damaged, the last one marked as such.

    libsndfile leaves damaged pages out, and reads only the first of several streams.

    Raises:
        AudioError: otherwise.
    """
    expected, streams, flags = 0, 0, 0
    while len(head := file.read(27)) == 27 and head[:4] == b"OggS":
        flags, number, n_segments = head[5], struct.unpack_from("<I", head, 18)[0], head[26]
        segments = file.read(n_segments)
        body = file.read(sum(segments))
        if len(segments) < n_segments or len(body) < sum(segments):
            raise AudioError("is truncated: its last Ogg page is not whole")
        streams += bool(flags & _FIRST)
        if streams > 1:
            raise AudioError(
                "contains several Ogg streams, of which only the first would be read. Convert it: "
                "ffmpeg -i FILE out.wav"
            )
        if _checksum(head[:22] + bytes(4) + head[26:] + segments + body) != struct.unpack_from("<I", head, 22)[0]:
            raise AudioError(f"is damaged: Ogg page {number} does not match its checksum")
        if number != expected:
            raise AudioError(f"is damaged: Ogg page {expected} is missing")
        expected += 1
    if not flags & _LAST:
        raise AudioError(
            "is truncated, or was never finished: none of its Ogg pages is marked as the last. If it is complete: "
            "ffmpeg -i FILE -c copy out.ogg"
        )
    # Zeros are padding.
    if len((head + file.read()).rstrip(b"\0")) > _LONGEST_TAG:
        raise AudioError("is damaged: what follows its last Ogg page is none")
    return True


def _checksum(page: bytes) -> int:
    """CRC-32 as Ogg has it: the bits of each byte and of the result in the other order than zlib's, no inversion."""
    crc = ~zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) & 0xFFFFFFFF
    return int.from_bytes(crc.to_bytes(4, "little").translate(_REVERSED), "big")


_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_FIRST, _LAST = 2, 4
_LONGEST_TAG = 1024
