"""A request's body and fields, read within the limits: its audio into a file, everything else checked."""

from __future__ import annotations

import asyncio
import importlib.util
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from raysys.serving.limits import LimitedBody, refuse_stated_length
from raysys.serving.refusals import Refused, invalid

Segments = Literal["none", "fixed", "speech"]
LONGEST_PIECE_S = 40.0
"""Longest audio that is predicted as one: corpora have utterances of up to 34 s, and memory grows with its square."""
SHORTEST_SEGMENT_S = 1.0
SEGMENT_S = 5.0
"""Length of segments if a request does not say."""
BODY_S = 30.0
"""How long a client may take to send a body."""
_LONGEST_TRANSCRIPT = 2_000
_FIELD_BYTES = 64 * 1024
_FIELDS = ("transcript", "segments", "segment_s")
_AUDIO = ("audio/", "video/mp4", "video/webm", "application/ogg", "application/octet-stream")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Attributes:
    audio: file with the bytes that were sent; None: there were none.
    transcript: None if there is none, or nothing but blanks.
    """

    audio: Path | None
    transcript: str | None
    segments: Segments
    segment_s: float


async def read_request(request: Request, folder: Path, limit_bytes: int) -> Asked:
    """Read a multipart form, or a body that is the audio, with its fields in the query.

    Args:
        folder: where its audio is written.

    Raises:
        Refused: a body too large (413) or too slow (408), of another type (415), or a wrong field (422).
    """
    refuse_stated_length(request.headers.get("content-length"), limit_bytes)
    limited = Request(request.scope, LimitedBody(request.receive, limit_bytes, BODY_S))
    fields: Mapping[str, str]
    kind = request.headers.get("content-type", "").lower()
    audio = folder / "audio"
    if kind.startswith("multipart/form-data"):
        fields, sent = await _read_form(limited, audio)
    elif kind.startswith(_AUDIO):
        fields, sent = request.query_params, await _read_body(limited, audio)
    else:
        raise Refused(
            415,
            "not_audio",
            f"The body is {kind or 'of no type'}, expected multipart/form-data or an audio type.",
            "Send a form with the file as `audio`, or the file as audio/wav, audio/flac, audio/mpeg and so on.",
        )
    return asked_of(fields, audio if sent else None)


async def _read_body(request: Request, path: Path) -> bool:
    with path.open("wb") as file:
        async for block in request.stream():
            file.write(block)
        return file.tell() > 0


async def _read_form(request: Request, path: Path) -> tuple[dict[str, str], bool]:
    try:
        form = await request.form(max_files=1, max_fields=len(_FIELDS) + 1, max_part_size=_FIELD_BYTES)
    # Of Starlette: what is wrong with the form.
    except HTTPException as error:
        raise invalid(
            f"The form cannot be read ({error.detail}).", "Send multipart/form-data with its boundary."
        ) from error
    try:
        upload, fields = form.get("audio"), {}
        for name, value in form.multi_items():
            if name != "audio" and isinstance(value, UploadFile):
                raise invalid(
                    f"The field {name} is a file.", "Send the recording as `audio`, and texts as plain fields."
                )
            if name != "audio":
                fields[name] = str(value)
        if upload is not None and not isinstance(upload, UploadFile):
            raise invalid("The field audio is a text, expected a file.", "Send it with a file name.")
        if upload is not None:
            await asyncio.to_thread(_copy, upload.file, path)
        return fields, upload is not None
    finally:
        await form.close()


def _copy(source: BinaryIO, path: Path) -> None:
    with path.open("wb") as file:
        shutil.copyfileobj(source, file)


def asked_of(fields: Mapping[str, str], audio: Path | None) -> Asked:
    """Check the fields of a request.

    Raises:
        Refused: one is unknown, or has a value that is not expected (422).
    """
    if unknown := sorted(set(fields) - set(_FIELDS)):
        raise invalid(f"There is no field {unknown[0]}.", f"Fields are audio, {', '.join(_FIELDS)}.")
    transcript = fields.get("transcript", "").strip()
    if len(transcript) > _LONGEST_TRANSCRIPT:
        raise invalid(
            f"The transcript has {len(transcript)} characters, expected at most {_LONGEST_TRANSCRIPT}.",
            "Send what is said in the recording alone.",
        )
    segments: Any = fields.get("segments") or "none"
    if segments not in get_args(Segments):
        raise invalid(f"segments is {segments[:40]!r}.", f"Expected one of {', '.join(get_args(Segments))}.")
    if segments == "speech" and not finds_speech():
        raise invalid("This server cannot find speech.", "Send segments=fixed; or install its extra `vad`.")
    if segments != "none" and transcript:
        raise invalid(
            "A transcript is of the whole recording, and cannot be divided between segments.",
            "Leave out transcript or segments.",
        )
    return Asked(
        audio=audio, transcript=transcript or None, segments=segments, segment_s=_segment_s(fields.get("segment_s"))
    )


def finds_speech() -> bool:
    return importlib.util.find_spec("silero_vad") is not None


def _segment_s(text: str | None) -> float:
    if not text:
        return SEGMENT_S
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not SHORTEST_SEGMENT_S <= value <= LONGEST_PIECE_S:
        raise invalid(
            f"segment_s is {text[:40]!r}.", f"Expected seconds from {SHORTEST_SEGMENT_S:g} to {LONGEST_PIECE_S:g}."
        )
    return value
