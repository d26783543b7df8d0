"""What a file is by its first bytes, whatever its name says: what libsndfile does not read has a name too."""

from __future__ import annotations

import re


def media_format(beginning: bytes) -> tuple[str, str] | None:
    """FFmpeg's name of a container that libsndfile does not read, and the name that people use; None for others."""
    for pattern, names in _MEDIA:
        if pattern.match(beginning):
            return names
    return None


def not_audio(beginning: bytes) -> str | None:
    """What a file that contains no sound is, if it is one of those often found in place of audio."""
    if not beginning:
        return "is empty (0 bytes)"
    for pattern, reason in _OTHERS:
        if pattern.match(beginning):
            return reason
    return None


_MEDIA = (
    (re.compile(rb"(?s)....ftyp"), ("mov", "MP4 (M4A, MOV, 3GP)")),
    (re.compile(rb"(?s)....(moov|mdat|wide|skip|free)"), ("mov", "QuickTime")),
    (re.compile(rb"\x1a\x45\xdf\xa3"), ("matroska", "Matroska (MKV, WebM)")),
    (re.compile(rb"(?s)RIFF....AVI "), ("avi", "AVI")),
    (re.compile(rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11"), ("asf", "Windows Media (WMA, WMV)")),
    (re.compile(rb"FLV\x01"), ("flv", "Flash video")),
    (re.compile(rb"#!AMR"), ("amr", "AMR")),
    (re.compile(rb"\xff[\xf0\xf1\xf8\xf9]"), ("aac", "AAC (ADTS)")),
)
_OTHERS = (
    (
        re.compile(rb"version https://git-lfs|/annex/objects/|\.git/annex/"),
        "is a pointer of Git LFS or git-annex in place of the file; fetch it (git lfs pull, git annex get)",
    ),
    (re.compile(rb"(?i)\s*<(!doctype|html|\?xml)"), "is a web page or XML, not audio; a download may have failed"),
    (re.compile(rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!|BZh|\xfd7zXZ"), "is an archive, not audio; unpack it"),
    (re.compile(rb"\x00*\Z"), "begins with zeros in place of a header; it may not have been copied completely"),
)
