"""Formats whose headers state the number of bytes of samples: WAV, RF64, AIFF, Wave64, CAF, AU and NIST Sphere."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from raysys.errors import AudioError


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a chunked format writes a chunk's head.

    Attributes:
        head: struct format of name and size.
        samples: name of the chunk with the samples.
        unknown: sizes from here on mean that the writer did not know.
        whole: the size includes the head.
        align: chunks begin at multiples of this.
        first: offset of the first chunk.
        longest: so many bytes may follow the last chunk; 0: nothing may follow the samples, since libsndfile reads on.
    """

    head: str
    samples: bytes
    unknown: int
    whole: bool = False
    align: int = 2
    first: int = 12
    longest: int = 1024


def check_chunks(file: BinaryIO) -> bool:
    """Check that the samples which the header promises are there, and that no others follow them.

    Args:
        file: WAV (little- or big-endian), RF64, AIFF, Wave64 or CAF.

    Returns: False if the header states no length, as a program that writes to a pipe leaves it, or its samples are
        not where the format puts them.

    Raises:
        AudioError: bytes are missing, or the header does not count all of them.
    """
    size = os.fstat(file.fileno()).st_size
    beginning = file.read(12).ljust(12, b"\0")
    layout = _layout_of(beginning)
    promised = None
    for name, begin, stated in _chunks(file, size, layout):
        if promised is not None and begin + stated > size:
            break  # No chunk: samples that look like one.
        end = begin + stated
        if name == layout.samples:
            promised = stated
            if promised >= layout.unknown:
                return False
            check_bytes(promised, size - begin)
            if not layout.longest:
                break
    if promised is None:
        return False
    check_rest(file, end + -end % layout.align, size, promised, layout.longest)
    return True


def check_au(file: BinaryIO) -> bool:
    """The same for AU (Sun, NeXT): offset and number of bytes follow its name."""
    size = os.fstat(file.fileno()).st_size
    name = file.read(4)
    begin, promised = struct.unpack(">II" if name == b".snd" else "<II", file.read(8).ljust(8, b"\0"))
    if promised == 0xFFFFFFFF:
        return False
    check_bytes(promised, size - begin)
    # libsndfile reads on to the end of the file.
    check_rest(file, begin + promised, size, promised, longest=0)
    return True


def check_nist(file: BinaryIO) -> bool:
    """The same for NIST Sphere: a header in text, which counts samples."""
    size = os.fstat(file.fileno()).st_size
    lines = file.read(64).split(b"\n")
    begin = int(lines[1]) if len(lines) > 1 and lines[1].strip().isdigit() else 1024
    file.seek(0)
    fields = dict(re.findall(rb"(\w+) -(?:i|s1) (\d+)\s", file.read(min(begin, 1 << 16))))
    counts = [int(fields.get(key, b"0")) for key in (b"sample_count", b"channel_count", b"sample_n_bytes")]
    if not all(counts):
        return False
    promised = counts[0] * counts[1] * counts[2]
    check_bytes(promised, size - begin)
    # libsndfile reads on to the end of the file.
    check_rest(file, begin + promised, size, promised, longest=0)
    return True


def check_bytes(promised: int, there: int) -> None:
    """Raises: AudioError: fewer bytes than promised."""
    if promised > there:
        raise AudioError(f"is truncated: the last {promised - there} bytes promised by its header are missing")


def check_rest(file: BinaryIO, end: int, size: int, promised: int, longest: int) -> None:
    """Check what follows the last part that the header counts: tags and padding are short, or zeros.

    Args:
        longest: so many bytes may follow.

    Raises:
        AudioError: it may be samples.
    """
    if size - end <= longest:
        return
    file.seek(end)
    while block := file.read(1 << 20):
        if not longest or block.strip(b"\0"):
            raise AudioError(
                f"has a header that promises {promised} bytes of samples, and {size - end} more bytes follow: it was "
                f"not finished, or joined to another. Convert it with a program that reads past its header"
            )


def _layout_of(beginning: bytes) -> _Layout:
    for (container, kind), layout in _LAYOUTS.items():
        if beginning[:4] == container and beginning[8:12].startswith(kind):
            return layout
    raise AudioError("has the header of another format than its beginning says")


def _chunks(file: BinaryIO, size: int, layout: _Layout) -> Iterator[tuple[bytes, int, int]]:
    """Name, offset and size of each chunk; ends at what is none."""
    at, long_size = layout.first, None
    while head := _head(file, at, layout):
        name, stated = head
        begin = at + struct.calcsize(layout.head)
        if name == b"ds64":
            long_size = struct.unpack("<Q", file.read(16).ljust(16, b"\0")[8:])[0]
        elif name == layout.samples and stated == 0xFFFFFFFF and long_size is not None:
            # RF64 stores lengths beyond 32 bits in a separate chunk.
            stated = long_size
        yield name, begin, stated
        at = _next(file, begin + stated, size, layout)


def _head(file: BinaryIO, at: int, layout: _Layout) -> tuple[bytes, int] | None:
    """Name and stated size of the chunk that begins here, or None if none does."""
    file.seek(at)
    head = file.read(struct.calcsize(layout.head))
    if len(head) < struct.calcsize(layout.head) or not _NAME.fullmatch(head[:4]) or head[:4] in _CONTAINERS:
        return None
    name, stated = struct.unpack(layout.head, head)
    stated -= len(head) if layout.whole else 0
    return None if stated < 0 else (name, stated)


def _next(file: BinaryIO, end: int, size: int, layout: _Layout) -> int:
    """Where the chunk after this one begins. Some programs leave out the byte that pads an odd size."""
    padded = end + -end % layout.align
    for at in (padded, end):
        head = _head(file, at, layout)
        if head is not None and at + struct.calcsize(layout.head) + head[1] <= size:
            return at
    return padded


_NAME = re.compile(rb"[ -~\xa9]{4}")
_UNKNOWN = 0x7FFFF000
"""Programs that write to a pipe put this or more as the data length, since they cannot seek back."""
_W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
_LAYOUTS = {
    (b"RIFF", b"WAVE"): _Layout("<4sI", b"data", _UNKNOWN),
    (b"RF64", b"WAVE"): _Layout("<4sI", b"data", 1 << 62),
    (b"RIFX", b"WAVE"): _Layout(">4sI", b"data", _UNKNOWN),
    (b"FORM", b"AIFF"): _Layout(">4sI", b"SSND", _UNKNOWN),
    (b"FORM", b"AIFC"): _Layout(">4sI", b"SSND", _UNKNOWN),
    (b"caff", b""): _Layout(">4sQ", b"data", 1 << 62, align=1, first=8),
    (b"riff", b""): _Layout("<16sQ", _W64_DATA, 1 << 62, whole=True, align=8, first=40, longest=0),
}
"""By how a file begins."""
_CONTAINERS = {container for container, _ in _LAYOUTS}
