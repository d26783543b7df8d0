"""From what was asked to the answer: decode and cut off the event loop, predict, and say what was found."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from raysys.config import SAMPLE_RATE_HZ
from raysys.inference.segments import Segment, cut, find_segments
from raysys.serving.answers import Answer, answer
from raysys.serving.asking import LONGEST_PIECE_S, Asked
from raysys.serving.decoding import decode_upload, notes_on, too_long
from raysys.serving.metrics import Metrics
from raysys.serving.predictor import ModelInfo, Piece, Predicted
from raysys.serving.refusals import Refused, invalid

Predict = Callable[[list[Piece]], Awaitable[Predicted]]
"""Predicts the pieces of a request, in a batch with other requests or alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Attributes:
    segments: one for each piece; None: the only piece is all there is.
    """

    pieces: list[Piece]
    duration_s: float | None
    notes: list[str]
    segments: list[Segment] | None


async def answer_to(asked: Asked, info: ModelInfo, predict: Predict, metrics: Metrics, longest_s: float) -> Answer:
    """Raises: Refused: the request does not fit the model, or its audio cannot be used."""
    prepared = await asyncio.to_thread(prepare, asked, info.modalities, longest_s)
    predicted = await predict(prepared.pieces)
    metrics.predicted(batch=predicted.batch, audio_s=prepared.duration_s or 0.0)
    return answer(
        info,
        predicted.probabilities_NC,
        duration_s=prepared.duration_s,
        notes=prepared.notes,
        segments=prepared.segments,
    )


def prepare(asked: Asked, modalities: str, longest_s: float) -> Prepared:
    """Decode a request's audio, and cut it into segments if it asks for them.

    Args:
        modalities: of the model.
        longest_s: longest recording.
    """
    if modalities == "text":
        return _prepare_text(asked)
    if asked.audio is None:
        raise invalid("There is no audio.", "Send the recording as `audio`.")
    decoded = decode_upload(str(asked.audio), longest_s)
    waveform_S, notes = decoded.waveform_S, notes_on(decoded)
    duration_s = len(waveform_S) / SAMPLE_RATE_HZ
    transcript = asked.transcript if modalities == "both" else None
    if asked.transcript and transcript is None:
        notes.append("the transcript was not used: the model was trained on audio alone")
    if modalities == "both" and transcript is None:
        notes.append("without a transcript, the prediction is from the voice alone")
    if asked.segments == "none":
        if duration_s > LONGEST_PIECE_S:
            raise too_long(duration_s, LONGEST_PIECE_S, "Send segments=fixed to predict it piece by piece.")
        return Prepared(pieces=[Piece(waveform_S, transcript)], duration_s=duration_s, notes=notes, segments=None)
    segments = find_segments(lambda: [waveform_S], duration_s, asked.segments, asked.segment_s)
    if not segments:
        raise Refused(422, "unusable_audio", "No speech was found.", "Send segments=fixed to predict all of it.")
    pieces = [Piece(part_S, None) for part_S in cut([waveform_S], segments)]
    return Prepared(pieces=pieces, duration_s=duration_s, notes=notes, segments=segments)


def _prepare_text(asked: Asked) -> Prepared:
    if asked.transcript is None:
        raise invalid("The model was trained on text alone: it needs a transcript.", "Send the field transcript.")
    if asked.segments != "none":
        raise invalid("A text has no segments.", "Leave out segments.")
    notes = [] if asked.audio is None else ["the audio was not used: the model was trained on text alone"]
    return Prepared(pieces=[Piece(None, asked.transcript)], duration_s=None, notes=notes, segments=None)
