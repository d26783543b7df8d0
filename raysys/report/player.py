"""Utterances to listen to within the page, as they are in the corpus (not trimmed by `--corpus.trim-db`)."""

from __future__ import annotations

import base64
import html
import io

import soundfile

from raysys.config import SAMPLE_RATE_HZ
from raysys.data.audio import AudioError, decode
from raysys.data.manifest import Utterance
from raysys.report.markup import Html

LONGEST_S = 10.0
"""Longer utterances get no player, to keep the page small."""


def player(utterance: Utterance) -> Html | None:
    """An `<audio>` element with the utterance as the model's input (16 kHz, mono), as MP3.

    None if the utterance is longer than `LONGEST_S` or its file cannot be read on this machine.
    """
    if (utterance.duration_s or 0.0) > LONGEST_S:
        return None
    try:
        waveform_S = decode(utterance)
        if len(waveform_S) > LONGEST_S * SAMPLE_RATE_HZ:
            return None
        buffer = io.BytesIO()
        soundfile.write(
            buffer, waveform_S, SAMPLE_RATE_HZ, format="MP3", bitrate_mode="VARIABLE", compression_level=0.7
        )
    except (AudioError, OSError, RuntimeError, ValueError):
        # The file has moved, or this libsndfile cannot write MP3: the transcript is still shown.
        return None
    data = base64.b64encode(buffer.getvalue()).decode()
    label = html.escape(f"Utterance {utterance.utterance_id}")
    return Html(f'<audio controls preload="none" aria-label="{label}" src="data:audio/mpeg;base64,{data}"></audio>')
