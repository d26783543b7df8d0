"""Every recording becomes rows: those that cannot be read too, each with its reason."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from raysys.data import blocks
from raysys.inference import read_waveform
from raysys.prediction import decoding
from raysys.prediction.decoding import Piece, decode_shard, pieces_of
from raysys.prediction.inputs import Input
from raysys.prediction.request import Cutting

torch.set_num_threads(1)
NONE = Cutting(segments="none", segment_s=5.0, max_duration_s=60.0)
FIXED = Cutting(segments="fixed", segment_s=2.0, max_duration_s=60.0)
SPEECH = Cutting(segments="speech", segment_s=5.0, max_duration_s=60.0)


def write(path: Path, seconds: float, rate_hz: int = 16_000, channels: int = 1) -> Input:
    generator = np.random.default_rng(0)
    soundfile.write(path, 0.1 * generator.standard_normal((round(seconds * rate_hz), channels)), rate_hz)
    return Input(path=path.name, location=str(path))


def pieces(item: Input, cutting: Cutting = NONE) -> list[Piece]:
    found = list(pieces_of(item, cutting))
    assert [piece.last for piece in found] == [False] * (len(found) - 1) + [True]
    return found


def times(found: list[Piece]) -> list[tuple[float | None, float | None]]:
    return [(piece.start_s, piece.end_s) for piece in found]


def test_a_whole_recording_is_what_read_waveform_reads(tmp_path: Path) -> None:
    item = write(tmp_path / "a b é.wav", 1.5, rate_hz=8_000, channels=2)
    (piece,) = pieces(item)
    assert piece.waveform_S is not None and np.array_equal(piece.waveform_S, read_waveform(item.location))
    assert (piece.path, piece.start_s, piece.end_s, piece.note) == ("a b é.wav", 0.0, 1.5, None)


def test_a_part_has_its_times_and_its_transcript(tmp_path: Path) -> None:
    item = write(tmp_path / "a.wav", 4.0)
    (piece,) = pieces(Input(path="a.wav", location=item.location, start_s=1.0, end_s=2.5, transcript="ha"))
    assert (piece.start_s, piece.end_s, piece.transcript) == (1.0, 2.5, "ha")
    assert piece.waveform_S is not None
    assert np.array_equal(piece.waveform_S, read_waveform(item.location)[16_000:40_000])


def test_windows_are_cut_from_the_part_and_have_no_transcript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_S", 0.3)
    item = write(tmp_path / "a.wav", 9.0)
    whole_S = read_waveform(item.location)
    found = pieces(Input(path="a.wav", location=item.location, start_s=1.0, end_s=8.0, transcript="ha"), FIXED)
    assert times(found) == [(1.0, 3.0), (3.0, 5.0), (5.0, 7.0), (7.0, 8.0)]
    for piece in found:
        assert piece.waveform_S is not None and piece.start_s is not None and piece.transcript is None
        start = round(piece.start_s * 16_000)
        np.testing.assert_allclose(piece.waveform_S, whole_S[start : start + len(piece.waveform_S)], atol=1e-6)


def test_a_long_recording_is_read_twice_for_its_speech_and_found_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raysys.inference.segments.speech_probabilities", _loud)
    samples_S = np.zeros(16_000 * 6)
    samples_S[16_000:32_000] = samples_S[48_000:80_000] = 0.5
    soundfile.write(tmp_path / "a.wav", samples_S, 16_000)
    item = Input(path="a.wav", location=str(tmp_path / "a.wav"))
    held = pieces(item, SPEECH)
    np.testing.assert_allclose(times(held), [(0.9, 2.1), (2.9, 5.1)], atol=0.05)
    monkeypatch.setattr(decoding, "_HELD_S", 1.0)
    for once, twice in zip(held, pieces(item, SPEECH), strict=True):
        assert once.waveform_S is not None and twice.waveform_S is not None
        assert np.array_equal(once.waveform_S, twice.waveform_S)
    soundfile.write(tmp_path / "a.wav", np.zeros(16_000), 16_000)
    assert [piece.note for piece in pieces(item, SPEECH)] == ["contains no speech"]


def _loud(read: Any) -> np.ndarray:
    wave_S = np.concatenate(list(read))
    return np.array([wave_S[k : k + 512].max() for k in range(0, len(wave_S), 512)]) * 2


def _header_that_lies(path: Path) -> None:
    """A header of three hours, of which a second is there."""
    soundfile.write(path, np.zeros(16_000), 16_000)
    data = bytearray(path.read_bytes())
    at = data.index(b"data")
    data[4:8], data[at + 4 : at + 8] = struct.pack("<I", 3 * 3600 * 32_000 + 36), struct.pack("<I", 3 * 3600 * 32_000)
    path.write_bytes(data)


@pytest.mark.parametrize("cutting", [NONE, FIXED])
@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("gone.wav", lambda path: None, "does not exist"),
        ("text.wav", lambda path: path.write_text("hello, this is text" * 20), "does not decode"),
        ("empty.wav", lambda path: path.write_bytes(b""), "is empty (0 bytes)"),
        ("lies.wav", _header_that_lies, "is truncated: the last"),
        ("folder.wav", lambda path: path.mkdir(), "is not a file"),
        ("pipe.wav", os.mkfifo, "is not a file"),
    ],
)
def test_what_cannot_be_read_is_a_row_with_its_reason(
    tmp_path: Path, name: str, make: Any, reason: str, cutting: Cutting
) -> None:
    make(tmp_path / name)
    (piece,) = pieces(Input(path=name, location=str(tmp_path / name)), cutting)
    assert piece.note is not None and piece.note.startswith(reason)
    assert piece.waveform_S is None and piece.path == name


def test_a_problem_of_the_listing_and_a_missing_object_are_rows(tmp_path: Path) -> None:
    (piece,) = pieces(Input(path="x", location="/x", problem="is a folder that cannot be read (no)"))
    assert piece.note == "is a folder that cannot be read (no)"
    (piece,) = pieces(Input(path="file:///no/a.wav", location=f"file://{tmp_path}/a.wav"))
    assert piece.note == "does not exist"


def test_an_object_is_read_as_a_file_is(tmp_path: Path) -> None:
    item = write(tmp_path / "a.wav", 1.0)
    (piece,) = pieces(Input(path="a.wav", location=f"file://{item.location}"))
    assert piece.waveform_S is not None and np.array_equal(piece.waveform_S, read_waveform(item.location))


def test_a_long_recording_needs_segments(tmp_path: Path) -> None:
    item = write(tmp_path / "a.wav", 61.0, rate_hz=1_000)
    (piece,) = pieces(item)
    assert piece.note is not None and "lasts 61.0 s, but --max-duration-s is 60" in piece.note
    assert "--segments fixed" in piece.note and piece.waveform_S is None
    assert len(pieces(item, FIXED)) == 31


def test_what_precedes_a_fault_is_predicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_HELD_S", 1.0)
    monkeypatch.setattr(blocks, "BLOCK_S", 1.0)
    samples_S = np.full(16_000 * 40, 0.1, np.float32)
    samples_S[16_000 * 35] = np.nan
    soundfile.write(tmp_path / "a.wav", samples_S, 16_000, subtype="FLOAT")
    found = pieces(Input(path="a.wav", location=str(tmp_path / "a.wav")), FIXED)
    assert all(piece.waveform_S is not None for piece in found[:-1]) and 5 < len(found) < 20
    assert found[-1].note is not None and "not finite" in found[-1].note
    assert found[-1].start_s == found[-2].end_s and found[-1].end_s is None


def test_a_shard_is_handed_on_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "BLOCK_S", 5.0)
    items = [write(tmp_path / f"{i}.wav", 2.0) for i in range(3)]
    items.insert(1, Input(path="gone.wav", location="/gone.wav"))
    found = list(decode_shard(items, NONE, hears=True))
    assert [block.pieces["path"].to_pylist() for block in found] == [["0.wav", "gone.wav", "1.wav"], ["2.wav"]]
    assert [(b.number, b.files, b.seconds, b.last) for b in found] == [(0, 3, 4.0, False), (1, 1, 2.0, True)]
    assert np.array_equal(found[1].pieces["waveform"][0].values, read_waveform(items[3].location))


def test_a_model_of_text_alone_decodes_nothing() -> None:
    items = [Input(path="a", location="/no", transcript="ha"), Input(path="b", location="/no")]
    (block,) = decode_shard(items, NONE, hears=False)
    assert block.pieces["transcript"].to_pylist() == ["ha", None] and (block.files, block.seconds) == (2, 0.0)
    assert block.pieces["note"].to_pylist() == [None, "has no transcript, which is all that this model reads"]
