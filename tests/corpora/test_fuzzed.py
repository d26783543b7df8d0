"""Audio files of every kind, intact and damaged: decoded correctly, or refused by name."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import assume
from hypothesis import strategies as st

from raysys.config import CorpusConfig
from tests.corpora.damage import DAMAGE, PLACE, spoil
from tests.corpora.fuzzing import Outcome, Sound, accounted, as_its_header_says, cases, close, length_fits, read

SOUND = Sound(duration_s=0.05, low_hz=440.0, high_hz=1500.0)
N_CLEAN = 11
CONTAINERS = {
    "wav": {"format": "WAV", "subtype": "PCM_16"},
    "wav 24": {"format": "WAV", "subtype": "PCM_24"},
    "wav 32": {"format": "WAV", "subtype": "PCM_32"},
    "wav float": {"format": "WAV", "subtype": "FLOAT"},
    "wav double": {"format": "WAV", "subtype": "DOUBLE"},
    "extensible": {"format": "WAVEX", "subtype": "PCM_16"},
    "big-endian": {"format": "WAV", "subtype": "PCM_16", "endian": "BIG"},
    "rf64": {"format": "RF64", "subtype": "PCM_16"},
    "aiff": {"format": "AIFF", "subtype": "PCM_16"},
    "flac": {"format": "FLAC", "subtype": "PCM_16"},
    "flac 24": {"format": "FLAC", "subtype": "PCM_24"},
    "wave64": {"format": "W64", "subtype": "PCM_16"},
    "caf": {"format": "CAF", "subtype": "PCM_24"},
    "alac": {"format": "CAF", "subtype": "ALAC_24"},
    "au": {"format": "AU", "subtype": "PCM_16"},
    "au float": {"format": "AU", "subtype": "FLOAT"},
    "sphere": {"format": "NIST", "subtype": "PCM_16"},
}
LOSSY = {
    "vorbis": {"format": "OGG", "subtype": "VORBIS"},
    "opus": {"format": "OGG", "subtype": "OPUS"},
    "mp3": {"format": "MP3", "subtype": "MPEG_LAYER_III"},
    "gsm": {"format": "WAV", "subtype": "GSM610"},
    "ima adpcm": {"format": "WAV", "subtype": "IMA_ADPCM"},
    "g721": {"format": "AU", "subtype": "G721_32"},
}
UNVERIFIED = ("AVR", "IRCAM", "MAT5", "PVF", "VOC", "WVE", "SVX", "PAF", "SDS", "HTK")
SIXTEEN_BIT, FLOATS = 2.0**-15, ("wav float", "wav double")
HIDDEN = "a name with 'quotes', ä, 😀 and [brackets]*"
NAMES = st.sampled_from(["plain", HIDDEN, "two  blanks", "-n", "#1", "naïve\u0301", "日本", "%s"])


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A valid 16 kHz WAV file."""
    path = tmp_path_factory.mktemp("clean") / "clean.wav"
    soundfile.write(path, SOUND.sampled(16_000), 16_000, subtype="PCM_16")
    return path


@contextmanager
def corpus(clean: Path, name: str = "odd.wav", cells: str = ",") -> Iterator[tuple[Path, Path]]:
    """A table of eleven valid utterances plus one, 'odd', whose file the test creates: (table, the file's path).

    The valid utterances are stretches of one file, of different lengths.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        rows = [f"c{i:02d},{clean},s{i % 3},{'xy'[i % 2]},,{0.02 + 0.001 * i}" for i in range(N_CLEAN)]
        quoted = str(path).replace('"', '""')
        rows.append(f'odd,"{quoted}",s0,x,{cells}')
        table = Path(folder) / "corpus.csv"
        table.write_text("utterance_id,audio_path,speaker,emotion,start_s,end_s\n" + "\n".join(rows) + "\n")
        yield table, path


def rate_of(path: Path) -> int:
    """By content: soundfile takes a name that ends in .raw for a promise of raw samples."""
    with path.open("rb") as file, soundfile.SoundFile(file.fileno(), closefd=False) as sound:
        return int(sound.samplerate)


def outcome_of(table: Path, path: Path, on_error: Any = "fail") -> Outcome:
    """The outcome for the corpus; only the odd file may be reported, and by name."""
    outcome = read(CorpusConfig(name="table", root=str(table), on_error=on_error), table.parent)
    if outcome.manifest is None:
        assert str(path) in outcome.said, f"not by name: {outcome.said}"
        assert on_error == "fail", f"one in twelve can be skipped: {outcome.said}"
        return outcome
    accounted(outcome, {"odd", *(f"c{i:02d}" for i in range(N_CLEAN))})
    assert {f"c{i:02d}" for i in range(N_CLEAN)} <= set(outcome.waveforms)
    return outcome


@cases(
    "formats",
    container=st.sampled_from(list(CONTAINERS)),
    rate_hz=st.sampled_from([8_000, 11_025, 12_000, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 176_400, 192_000]),
    gains=st.lists(st.floats(-1, 1), min_size=1, max_size=8),
    duration_s=st.floats(0.01, 0.3),
    hz=st.tuples(st.floats(150, 1_000), st.floats(1_000, 3_000)),
    name=NAMES,
)
def test_decoding_returns_what_was_written(
    clean: Path, container: str, rate_hz: int, gains: list[float], duration_s: float, hz: Any, name: str
) -> None:
    sound = Sound(duration_s, *hz)
    samples_SK = sound.sampled(rate_hz, tuple(gains))
    with corpus(clean, f"{name}.{'flac' if 'flac' in container else 'wav'}") as (table, path):
        soundfile.write(path, samples_SK, rate_hz, **CONTAINERS[container])
        outcome = outcome_of(table, path)
    assert close(outcome.waveforms["odd"], sound.expected(len(samples_SK), rate_hz, tuple(gains)), SIXTEEN_BIT)


@cases(
    "odd rates",
    rate_hz=st.sampled_from([8_001, 11_127, 15_999, 16_001, 22_254, 22_255, 44_056, 44_099, 47_952, 96_001]),
    duration_s=st.floats(0.02, 0.3),
)
def test_a_rate_without_common_divisors_takes_little_memory(clean: Path, rate_hz: int, duration_s: float) -> None:
    sound = Sound(duration_s, 300.0, 2_000.0)
    samples_SK = sound.sampled(rate_hz)
    with corpus(clean) as (table, path):
        soundfile.write(path, samples_SK, rate_hz)
        outcome = outcome_of(table, path)
    assert close(outcome.waveforms["odd"], sound.expected(len(samples_SK), rate_hz), SIXTEEN_BIT)


@cases(
    "damaged files",
    container=st.sampled_from(list(CONTAINERS)),
    damage=DAMAGE,
    name=NAMES | st.just("x.raw"),
    on_error=st.sampled_from(["fail", "skip"]),
)
def test_a_damaged_file_is_refused_by_name_or_changes_nothing(
    clean: Path, container: str, damage: tuple[Any, ...], name: str, on_error: str
) -> None:
    samples_SK = SOUND.sampled(16_000)
    suffix = "flac" if "flac" in container else "wav"
    with corpus(clean, name if "." in name else f"{name}.{suffix}") as (table, path):
        soundfile.write(path, samples_SK, 16_000, **CONTAINERS[container])
        spoil(path, *damage)
        outcome = outcome_of(table, path, on_error)
        if "odd" not in outcome.waveforms:
            return
        written = close(outcome.waveforms["odd"], SOUND.expected(len(samples_SK), 16_000), SIXTEEN_BIT)
        if written:
            return
        # The samples of a WAV and the header of a FLAC have no checksum: flipped bits there go unnoticed.
        assert damage[0] in ("flipped", "flipped in the header", "bytes after its beginning"), "wrong samples"
        assert length_fits(outcome, "odd")
        if "flac" in container:
            assert damage[0] != "flipped" or damage[1] * path.stat().st_size < 42, "a checksum was ignored"
        said_S = as_its_header_says(path)
        if said_S is not None and rate_of(path) == 16_000:
            np.testing.assert_allclose(outcome.waveforms["odd"], said_S, rtol=0, atol=1e-6)


@cases(
    "damaged lossy files",
    coding=st.sampled_from(list(LOSSY)),
    damage=DAMAGE,
    duration_s=st.floats(0.1, 1.5),
    variable=st.booleans(),
)
def test_a_damaged_lossy_file_is_refused_by_name_or_has_its_length(
    clean: Path, coding: str, damage: tuple[Any, ...], duration_s: float, variable: bool
) -> None:
    """Only Ogg has checksums: elsewhere flipped bits change samples, but not how many there are."""
    samples_SK = Sound(duration_s, 440.0, 1_500.0).sampled(16_000)
    more = {"bitrate_mode": "VARIABLE" if variable else "CONSTANT"} if coding in ("vorbis", "mp3") else {}
    with corpus(clean) as (table, path):
        with soundfile.SoundFile(path, "w", 16_000, 1, **LOSSY[coding], **more) as file:
            file.write(samples_SK)
        intact_S = outcome_of(table, path).waveforms["odd"]
        spoil(path, *damage)
        outcome = outcome_of(table, path)
        found_S = outcome.waveforms.get("odd")
        # Codecs with blocks fill the last one up, with what happens to follow.
        n = len(samples_SK)
        if found_S is None or (np.array_equal(found_S[:n], intact_S[:n]) and len(found_S) - n < 640):
            return
        assert damage[0] in ("flipped", "flipped in the header", "bytes after its beginning"), "wrong samples"
        assert length_fits(outcome, "odd")
        if damage[0] == "flipped" and damage[1] > 0.5:
            assert coding not in ("vorbis", "opus"), "a checksum was ignored"
            assert len(found_S) == len(intact_S)


@cases("formats that are not verified", kind=st.sampled_from(UNVERIFIED), damage=DAMAGE)
def test_a_format_that_cannot_be_verified_is_refused_damaged_or_not(
    clean: Path, kind: str, damage: tuple[Any, ...]
) -> None:
    with corpus(clean) as (table, path):
        soundfile.write(path, SOUND.sampled(16_000), 16_000, format=kind)
        assert "odd" not in outcome_of(table, path).waveforms
        spoil(path, *damage)
        assert "odd" not in outcome_of(table, path).waveforms


@cases(
    "samples that are no numbers",
    container=st.sampled_from(FLOATS),
    value=st.sampled_from([np.nan, np.inf, -np.inf, 1e300, -3.4e38, 1e30, 1e12]),
    place=PLACE,
    rate_hz=st.sampled_from([16_000, 44_100]),
    on_error=st.sampled_from(["fail", "skip"]),
)
def test_floats_that_no_recording_contains_are_refused(
    clean: Path, container: str, value: float, place: float, rate_hz: int, on_error: str
) -> None:
    samples_SK = SOUND.sampled(rate_hz, (1.0, 0.5))
    samples_SK[int(place * len(samples_SK)), 1] = value
    with corpus(clean) as (table, path), np.errstate(over="ignore"):
        soundfile.write(path, samples_SK, rate_hz, **CONTAINERS[container])
        outcome = outcome_of(table, path, on_error)
        assert "odd" not in outcome.waveforms
        assert "contains values" in outcome.said


FIELDS = {"riff size": (4, "<I"), "fmt size": (16, "<I"), "tag": (20, "<H"), "channels": (22, "<H")}
FIELDS |= {
    "rate": (24, "<I"),
    "byte rate": (28, "<I"),
    "block": (32, "<H"),
    "bits": (34, "<H"),
    "data size": (40, "<I"),
}
LIES = [0, 1, 2, 3, 4, 6, 8, 16, 17, 24, 32, 64, 255, 999, 1_000, 1_024, 8_000, 15_999, 44_099, 65_534, 65_535]
LIES += [200_000, 384_000, 384_001, 2**31 - 1, 2**31, 2**32 - 1]


@cases(
    "WAV headers",
    container=st.sampled_from(["wav", "wav 32", "wav float"]),
    channels=st.integers(1, 3),
    lies=st.dictionaries(st.sampled_from(list(FIELDS)), st.sampled_from(LIES), min_size=1, max_size=2),
)
def test_a_false_wav_header_is_refused_or_believed(
    clean: Path, container: str, channels: int, lies: dict[str, int]
) -> None:
    with corpus(clean) as (table, path):
        soundfile.write(path, SOUND.sampled(16_000, (1.0,) * channels), 16_000, **CONTAINERS[container])
        data = bytearray(path.read_bytes())
        if container == "wav float":
            # A fact chunk precedes the samples here, and its length is not given as in the others.
            assume("data size" not in lies)
        for field, value in lies.items():
            at, kind = FIELDS[field]
            struct.pack_into(kind, data, at, value % 2 ** (8 * struct.calcsize(kind)))
        path.write_bytes(data)
        outcome = outcome_of(table, path)
        if "odd" not in outcome.waveforms:
            return
        assert length_fits(outcome, "odd")
        said_S = as_its_header_says(path)
        if said_S is not None and rate_of(path) == 16_000:
            np.testing.assert_allclose(outcome.waveforms["odd"], said_S, rtol=0, atol=1e-6)


@cases(
    "FLAC headers",
    rate_hz=st.sampled_from([0, 1, 999, 8_000, 16_000, 44_099, 384_000, 655_350, 2**20 - 1]),
    channels=st.integers(1, 8),
    bits=st.sampled_from([1, 4, 8, 12, 16, 20, 24, 32]),
    samples=st.sampled_from([0, 1, 799, 800, 801, 10**6, 2**31, 2**36 - 1]),
    part=st.sampled_from([",", ",0.02", "0.01,0.02", "0.01,"]),
)
def test_a_false_flac_header_is_refused_or_believed(
    clean: Path, rate_hz: int, channels: int, bits: int, samples: int, part: str
) -> None:
    """STREAMINFO: after block sizes, 20 bits of rate, 3 of channels, 5 of bits per sample, 36 of samples."""
    with corpus(clean, "odd.flac", part) as (table, path):
        soundfile.write(path, SOUND.sampled(16_000), 16_000, subtype="PCM_16")
        data = bytearray(path.read_bytes())
        packed = (rate_hz << 44) | (channels - 1 << 41) | (bits - 1 << 36) | samples
        data[18:26] = packed.to_bytes(8, "big")
        path.write_bytes(data)
        outcome = outcome_of(table, path)
        if "odd" in outcome.waveforms:
            assert length_fits(outcome, "odd")


@pytest.mark.parametrize("kind", ["sparse WAV", "FLAC"])
def test_a_three_hour_file_is_refused_as_one_utterance_and_read_in_parts(clean: Path, kind: str) -> None:
    """One recording of a whole session with a table of its turns is common; decoding all of it is not."""
    seconds, rate_hz = 3 * 3600, 8_000
    turn = SOUND.sampled(rate_hz)
    begin_s = 9_000.0
    for cells in (",", f"{begin_s},{begin_s + SOUND.duration_s}"):
        with corpus(clean, "odd.wav" if kind == "sparse WAV" else "odd.flac", cells) as (table, path):
            if kind == "FLAC":
                with soundfile.SoundFile(path, "w", rate_hz, 1, subtype="PCM_16") as file:
                    file.write(np.zeros(int(begin_s) * rate_hz, np.int16))
                    file.write(turn)
                    file.write(np.zeros(seconds * rate_hz - int(begin_s) * rate_hz - len(turn), np.int16))
            else:
                size = seconds * rate_hz * 2
                fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate_hz, 2 * rate_hz, 2, 16)
                with path.open("wb") as raw:
                    raw.write(struct.pack("<4sI4s", b"RIFF", size + 36, b"WAVE") + fmt)
                    raw.write(struct.pack("<4sI", b"data", size))
                    raw.seek(44 + int(begin_s) * rate_hz * 2)
                    raw.write((turn * 32_768).round().astype("<i2").tobytes())
                    raw.truncate(44 + size)
            outcome = outcome_of(table, path)
            if cells == ",":
                assert "lasts 10800.0 s, but --corpus.max-duration-s is 600" in outcome.said
            else:
                assert close(outcome.waveforms["odd"], SOUND.expected(len(turn), rate_hz), SIXTEEN_BIT)
