"""A file that somebody sent, as a waveform; or why it cannot be one."""

from __future__ import annotations

import importlib.util

import soundfile

from raysys.config import SAMPLE_RATE_HZ
from raysys.data.audio import Decoded, decode_utterance
from raysys.data.containers.recognise import media_format, not_audio
from raysys.data.manifest import Utterance
from raysys.data.sound import opened
from raysys.errors import AudioError, UnreadableError
from raysys.serving.refusals import Refused, unavailable

_NOT_KNOWN = (1, 4)
"""libsndfile's codes for a format, and a coding, that it does not know."""
_SHORT_S = 0.5


def decode_upload(path: str, longest_s: float) -> Decoded:
    """Read a file of any format that a corpus may have, by its content.

    Args:
        longest_s: longest recording; the file's header is checked before anything is decoded into memory.

    Raises:
        Refused: not audio, or in no format that can be read (415); too long (413); empty, truncated or damaged, or
            with values that are not finite (422); no room for it on this machine (503).
    """
    with open(path, "rb") as file:
        beginning = file.read(64)
    _refuse_other_formats(beginning)
    try:
        with opened(path) as sound:
            seconds = sound.frames / sound.rate_hz
        if seconds > longest_s:
            raise too_long(seconds, longest_s, "Send it in parts; --max-seconds raises the limit.")
        return decode_utterance(Utterance(utterance_id="", audio_path=path, speaker="", emotion=""))
    except (OSError, UnreadableError) as error:
        raise unavailable("The file cannot be stored or read on the server just now.") from error
    except AudioError as error:
        cause = error.__cause__
        if isinstance(cause, soundfile.LibsndfileError) and cause.code in _NOT_KNOWN:
            raise _other_format(str(error)) from error
        raise Refused(
            422, "unusable_audio", f"The audio {error}.", "Check that it plays, or convert it: ffmpeg -i FILE out.wav"
        ) from error


def _refuse_other_formats(beginning: bytes) -> None:
    """Raises: Refused: by its first bytes, a file is empty, not audio, or needs a package that is missing."""
    if not beginning:
        raise Refused(422, "unusable_audio", "The audio is empty (0 bytes).", "Send the file itself.")
    if reason := not_audio(beginning):
        raise _other_format(reason)
    if (media := media_format(beginning)) and importlib.util.find_spec("av") is None:
        raise _other_format(f"is {media[1]}, which this server cannot read without its extra `av`")


def _other_format(reason: str) -> Refused:
    return Refused(415, "not_audio", f"The file {reason}.", "Send WAV, FLAC, MP3 or Ogg: ffmpeg -i FILE out.wav")


def too_long(seconds: float, longest_s: float, how: str) -> Refused:
    return Refused(413, "too_long", f"The recording is {seconds:.1f} s long, expected at most {longest_s:g} s.", how)


def notes_on(decoded: Decoded) -> list[str]:
    """What is odd about a recording that can be used, in the client's words."""
    seconds = len(decoded.waveform_S) / SAMPLE_RATE_HZ
    notes = []
    if decoded.silent:
        notes.append("the recording is silent")
    if decoded.cancels:
        notes.append("its channels cancel each other")
    if decoded.rate_hz < SAMPLE_RATE_HZ:
        notes.append(f"it has {decoded.rate_hz} Hz, and the model was trained on {SAMPLE_RATE_HZ}")
    if seconds < _SHORT_S:
        notes.append(f"{seconds:.2f} s are very short")
    return notes
