"""FLAC: the last frame knows where it is, which must be where the header ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

from raysys.errors import AudioError


def check_flac(file: BinaryIO) -> bool:
    """Check that a FLAC file ends with the frame that its header (STREAMINFO) makes the last one.

    A frame starts with its number and ends with a checksum (RFC 9639, section 9), so the end of the file suffices.
    Damage before it is found when it is decoded.

    Returns: False if the header states no length.

    Raises:
        AudioError: the file ends earlier, goes on, or does not end with a whole frame.
    """
    size = os.fstat(file.fileno()).st_size
    at = _begin(file.read(10))
    file.seek(at)
    # After the name, a block's type, its length, and STREAMINFO, always the first.
    info = file.read(42)[8:].ljust(34, b"\0")
    largest_block = int.from_bytes(info[2:4], "big")
    largest_frame = int.from_bytes(info[7:10], "big")
    packed = int.from_bytes(info[10:18], "big")
    channels, bits, total = (packed >> 41 & 7) + 1, (packed >> 36 & 31) + 1, packed & (1 << 36) - 1
    if not total:
        return False
    # An incompressible frame is stored as it is; STREAMINFO may not know, or lie.
    longest = max(largest_frame, largest_block * channels * (bits + 1) // 8 + 64) + _LONGEST_TAG
    end = _content_end(file, size)
    begin = max(at, end - longest)
    file.seek(begin)
    found = _last_frame_end(file.read(max(0, end - begin)), largest_block)
    if found is None:
        raise AudioError("is truncated, or damaged at its end: it does not end with a whole FLAC frame")
    if found != total:
        raise AudioError(
            f"has a header that promises {total} samples, but its last frame ends at sample {found}: it is truncated, "
            f"or its header is false. Write it again (flac -d, then flac)"
        )
    file.seek(at + 8)
    overlap = b""
    while block := file.read(1 << 20):
        if any(name in overlap + block for name in _NAMES):
            raise AudioError(
                "contains several FLAC files, of which only the first would be read. Separate or join them"
            )
        overlap = block[-len(_NAMES[0]) :]
    return True


def _content_end(file: BinaryIO, size: int) -> int:
    """Offset of the zeros that pad the file, if there are any; a checksum may itself end with two."""
    while size:
        begin = max(0, size - (1 << 20))
        file.seek(begin)
        if content := file.read(size - begin).rstrip(b"\0"):
            return min(size, begin + len(content) + 2)
        size = begin
    return 0


def _begin(beginning: bytes) -> int:
    """Offset of the name fLaC, after an ID3v2 tag if there is one."""
    if beginning[:3] != b"ID3":
        return 0
    return 10 + id3_size(beginning)


def id3_size(beginning: bytes) -> int:
    """Number of bytes of an ID3v2 tag after its 10 bytes of header: four times 7 bits."""
    a, b, c, d = (byte & 127 for byte in beginning[6:10].ljust(4, b"\0"))
    return a << 21 | b << 14 | c << 7 | d


def _last_frame_end(tail: bytes, fixed_block: int) -> int | None:
    """Number of the sample after the last whole frame in the end of a file; None if there is none.

    After the frame, a tag or zeros may follow.
    """
    for at in _candidates(tail):
        end = _sample_after(tail[at : at + 20], fixed_block)
        if end is not None and _is_whole(tail[at:]):
            return end
    return None


def _candidates(tail: bytes) -> Iterator[int]:
    """Offsets of a frame's sync code, the last first."""
    at = len(tail)
    while (at := tail.rfind(b"\xff", 0, at)) >= 0:
        if tail[at + 1 : at + 2] in (b"\xf8", b"\xf9"):
            yield at


def _sample_after(head: bytes, fixed_block: int) -> int | None:
    """Number of the sample after a frame, from its header; None if this is not a header (CRC-8)."""
    if len(head) < 6 or head[3] & 1:
        return None
    size_code, rate_code = head[2] >> 4, head[2] & 15
    number, at = _coded_number(head, 4)
    extra = {6: 1, 7: 2}.get(size_code, 0)
    end = at + extra + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if number is None or size_code == 0 or rate_code == 15 or len(head) <= end or _crc8(head[:end]) != head[end]:
        return None
    if extra:
        block = int.from_bytes(head[at : at + extra], "big") + 1
    else:
        block = 192 if size_code == 1 else 576 << size_code - 2 if size_code < 6 else 256 << size_code - 8
    first = number if head[1] & 1 else number * fixed_block
    return first + block


def _coded_number(head: bytes, at: int) -> tuple[int | None, int]:
    """A number coded as UTF-8 codes characters, up to 36 bits, and the offset after it."""
    ones = 8 - (head[at] ^ 0xFF).bit_length()
    if ones == 0:
        return head[at], at + 1
    rest = head[at + 1 : at + ones]
    if ones == 1 or ones > 7 or len(rest) < ones - 1 or any(byte >> 6 != 2 for byte in rest):
        return None, at
    number = head[at] & (1 << 7 - ones) - 1
    for byte in rest:
        number = number << 6 | byte & 63
    return number, at + ones


def _is_whole(frame: bytes) -> bool:
    """Whether the checksum (CRC-16) at the end of a frame is right, here or before a tag.

    It is right by chance once in 65536 bytes, so what follows counts too.
    """
    crc = 0
    for at, byte in enumerate(frame):
        crc = (crc << 8 & 0xFFFF) ^ _CRC16[crc >> 8 ^ byte]
        if not crc and at > 6:
            rest = frame[at + 1 :]
            if len(rest) <= _LONGEST_TAG and (not rest or rest.startswith(_TAGS)):
                return True
    return False


def _crc8(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc = _CRC8[crc ^ byte]
    return crc


def _table(polynomial: int, bits: int) -> tuple[int, ...]:
    """What each byte does to a checksum."""
    rows = []
    for byte in range(256):
        crc = byte << bits - 8
        for _ in range(8):
            crc = (crc << 1 ^ polynomial if crc >> bits - 1 else crc << 1) & (1 << bits) - 1
        rows.append(crc)
    return tuple(rows)


_CRC8, _CRC16 = _table(0x07, 8), _table(0x8005, 16)
_NAMES = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")
"""The name, followed by the head of STREAMINFO."""
_TAGS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"\0")
_LONGEST_TAG = 1024
