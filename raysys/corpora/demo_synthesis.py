"""Synthesise the demo corpus: `python -m raysys.corpora.demo_synthesis FOLDER`.

A separate program, and the only file that imports eSpeak NG, for two reasons. eSpeak is GPL-3, so nothing in `raysys`
links to it. And it is stateful: the same words sound different after earlier calls, so the corpus is reproducible
only if one fresh process synthesises all of it in a fixed order.

All processing after eSpeak is float64, rounded to 16 bits once at the end, which hides last-bit differences between
machines.
"""

import argparse
import ctypes
import math
import random
import wave
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import espeakng_loader
import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from raysys.corpora.demo_script import Delivery, Line, demo_script

SAMPLE_RATE_HZ = 16_000

_ESPEAK_RATE_HZ = 22_050
# RMS of an utterance at 0 dB, in 16-bit steps: low, so that the loudest peak does not clip.
_LEVEL = 900.0
_ROOM_NOISE = 12  # peak of constant-level room noise: no microphone records exact zeros
_MARGIN_S = 0.1
_TREMOR_HZ, _LILT_HZ, _ROUGHNESS_HZ = 5, 11, 25

# From speak_lib.h. Synchronous: the callback has received the whole waveform when espeak_Synth returns.
_SYNCHRONOUS, _UTF8, _RATE, _PITCH, _RANGE, _WORD_GAP = 2, 1, 1, 3, 4, 7

_EMOTION_WORDS = {
    "ang": "Anger",
    "hap": "Happiness",
    "exc": "Excited",
    "neu": "Neutral",
    "sad": "Sadness",
}
_HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"


class Espeak:
    """libespeak-ng without playback: text in, waveform as 16-bit integers at 22.05 kHz out."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = str(espeakng_loader.get_data_path()).encode()
        rate_hz = self._library.espeak_Initialize(_SYNCHRONOUS, 0, data, 0)
        if rate_hz != _ESPEAK_RATE_HZ:
            raise RuntimeError(
                f"eSpeak NG with data in {data!r} has a sample rate of {rate_hz} Hz, expected {_ESPEAK_RATE_HZ}."
            )
        self._chunks: list[bytes] = []
        self._callback = self._receiver()  # prevents garbage collection
        self._library.espeak_SetSynthCallback(self._callback)

    def _receiver(self) -> Callable[..., int]:
        def receive(samples: int | None, n_samples: int, _events: int | None) -> int:
            if samples and n_samples > 0:
                self._chunks.append(ctypes.string_at(samples, 2 * n_samples))
            return 0

        return ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)(receive)

    def speak(self, text: str, voice: str, delivery: Delivery) -> NDArray[np.int64]:
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise RuntimeError(f"eSpeak NG in {espeakng_loader.get_data_path()} has no voice {voice!r}.")
        settings = (
            (_RATE, delivery.rate_wpm),
            (_PITCH, delivery.pitch),
            (_RANGE, delivery.pitch_range),
            (_WORD_GAP, delivery.word_gap),
        )
        for parameter, value in settings:
            self._library.espeak_SetParameter(parameter, value, 0)
        self._chunks.clear()
        encoded = text.encode()
        status = self._library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, _UTF8, None, None)
        if status != 0 or not self._chunks:
            raise RuntimeError(f"eSpeak NG could not synthesise {text!r} with voice {voice!r}: status {status}.")
        return np.frombuffer(b"".join(self._chunks), dtype="<i2").astype(np.int64)


def finish(spoken_S: NDArray[np.int64], delivery: Delivery, noise_seed: str) -> NDArray[np.int16]:
    """From 22.05 kHz to the finished utterance at 16 kHz: spectral tilt, modulations, level, padding, room noise."""
    speech_S = resample_poly(spoken_S.astype(np.float64), 320, 441)
    brightness = delivery.brightness_percent / 100
    speech_S[1:] = speech_S[1:] - brightness * speech_S[:-1]
    speech_S *= _wavering(len(speech_S), _TREMOR_HZ, delivery.tremor_percent)
    speech_S *= _wavering(len(speech_S), _LILT_HZ, delivery.lilt_percent)
    speech_S *= _wavering(len(speech_S), _ROUGHNESS_HZ, delivery.roughness_percent)
    level = math.sqrt(float(np.mean(speech_S * speech_S)))
    speech_S *= _LEVEL * 10 ** (delivery.loudness_db / 20) / level
    speech_S = np.pad(speech_S, round(_MARGIN_S * SAMPLE_RATE_HZ))
    noise_S = np.frombuffer(random.Random(noise_seed).randbytes(2 * len(speech_S)), dtype="<i2")
    mixed_S = np.rint(speech_S + noise_S * (_ROOM_NOISE / 32_768))
    return np.clip(mixed_S, -32_768, 32_767).astype("<i2")


def _wavering(n_samples: int, rate_hz: int, depth_percent: int) -> NDArray[np.float64]:
    """A gain that oscillates between 1 and 1 - depth.

    Triangular, because the last bit of a sine depends on the machine.
    """
    period = SAMPLE_RATE_HZ // rate_hz
    position = np.arange(n_samples) % period
    triangle = np.abs(2 * position - period) / period
    return 1.0 - depth_percent / 100 * triangle


def write_corpus(folder: Path) -> None:
    """Synthesise the script and write it below `folder` in IEMOCAP's layout."""
    espeak = Espeak()
    for (session, dialog), lines in groupby(demo_script(), key=lambda line: (line.session, line.dialog)):
        home = folder / f"Session{session}"
        waves = home / "sentences" / "wav" / dialog
        labels = home / "dialog" / "EmoEvaluation" / f"{dialog}.txt"
        transcripts = home / "dialog" / "transcriptions" / f"{dialog}.txt"
        for parent in (waves, labels.parent, transcripts.parent):
            parent.mkdir(parents=True, exist_ok=True)
        label_blocks, transcript_lines, clock_s = [_HEADER], [], 0.0
        for line in lines:
            waveform_S = finish(
                espeak.speak(line.transcript, line.voice, line.delivery),
                line.delivery,
                line.utterance,
            )
            _write_wave(waves / f"{line.utterance}.wav", waveform_S)
            start_s = clock_s + line.pause_s
            clock_s = start_s + len(waveform_S) / SAMPLE_RATE_HZ
            label_blocks.append(_label_block(line, start_s, clock_s))
            times = f"[{start_s:08.4f}-{clock_s:08.4f}]"
            transcript_lines.append(f"{line.utterance} {times}: {line.transcript}\n")
        labels.write_text("".join(label_blocks), encoding="utf-8", newline="\n")
        transcripts.write_text("".join(transcript_lines), encoding="utf-8", newline="\n")


def _write_wave(path: Path, waveform_S: NDArray[np.int16]) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(waveform_S.tobytes())


def _label_block(line: Line, start_s: float, end_s: float) -> str:
    """The label line, then the annotators' lines: C- for categories, A- for the three ratings."""
    mean = ", ".join(f"{sum(pair) / 2:.4f}" for pair in zip(*line.ratings, strict=True))
    rows = [f"[{start_s:.4f} - {end_s:.4f}]\t{line.utterance}\t{line.label}\t[{mean}]"]
    rows += [f"C-{annotator}:\t{_EMOTION_WORDS[line.label]};\t()" for annotator in ("E1", "E2", "E3")]
    for annotator, (valence, activation, dominance) in zip(("E1", "E2"), line.ratings, strict=True):
        rows.append(f"A-{annotator}:\tval {valence}; act {activation}; dom  {dominance};\t()")
    return "\n".join(rows) + "\n\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="an empty folder; Session1 to Session5 are written into it")
    write_corpus(parser.parse_args().folder)


if __name__ == "__main__":
    main()
