"""Decode a shard's recordings and cut them into pieces, each of which becomes a row of the output."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from raysys.config import SAMPLE_RATE_HZ
from raysys.data.audio import decode
from raysys.data.blocks import decode_blocks, duration_s
from raysys.data.manifest import Utterance
from raysys.errors import AudioError, StorageError
from raysys.inference.segments import Segment, cut, find_segments
from raysys.prediction.inputs import Input, download
from raysys.prediction.request import Cutting
from raysys.storage import is_address

BLOCK_S = 240.0
"""Seconds of waveforms that are handed on together, 64 kB each."""
_BLOCK_PIECES = 512
_HELD_S = 600.0
"""A recording of at most this length is decoded once for finding speech and for cutting it out; a longer one twice."""
_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("transcript", pa.string()),
        ("note", pa.string()),
        ("waveform", pa.large_list(pa.float32())),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Piece:
    """An utterance to be predicted, or the reason why there is none.

    Attributes:
        start_s, end_s: in the file; None if unknown.
        waveform_S: float32, 16 kHz, mono; None with a note, and for a model of text alone.
        note: why it has no prediction.
        last: no other piece of its input follows.
    """

    path: str
    start_s: float | None
    end_s: float | None
    transcript: str | None = None
    waveform_S: np.ndarray | None = None
    note: str | None = None
    last: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Pieces that are predicted together.

    Attributes:
        pieces: table of path, start_s, end_s, transcript, note, waveform.
        files: recordings whose last piece is among them.
        seconds: of the waveforms.
        last: of its shard.
    """

    number: int
    pieces: pa.Table
    files: int
    seconds: float
    last: bool


def decode_shard(inputs: Iterable[Input], cutting: Cutting, *, hears: bool) -> Iterator[Block]:
    """Decode the recordings of a shard one after another, in the memory of a block.

    Args:
        hears: False for a model of text alone: nothing is decoded.
    """
    held: list[Piece] = []
    number, seconds = 0, 0.0
    for item in inputs:
        for piece in pieces_of(item, cutting) if hears else [_text_of(item)]:
            length_s = 0.0 if piece.waveform_S is None else len(piece.waveform_S) / SAMPLE_RATE_HZ
            if held and (seconds + length_s > BLOCK_S or len(held) == _BLOCK_PIECES):
                yield _block(number, held, seconds, last=False)
                held, number, seconds = [], number + 1, 0.0
            held.append(piece)
            seconds += length_s
    yield _block(number, held, seconds, last=True)


def pieces_of(item: Input, cutting: Cutting) -> Iterator[Piece]:
    """A recording's pieces, in order, at least one. Whatever is wrong with it becomes the note of one."""
    before: Piece | None = None
    try:
        if item.problem:
            raise AudioError(item.problem)
        with _on_this_machine(item.location) as path:
            _refuse_no_file(path)
            utterance = Utterance(
                utterance_id="", audio_path=path, speaker="", emotion="", start_s=item.start_s, end_s=item.end_s
            )
            for piece in _decoded(item, utterance, cutting):
                if before is not None:
                    yield before
                before = piece
    except (AudioError, StorageError) as error:
        if before is not None:
            yield before
        # What precedes a fault in a long recording is predicted.
        start_s = item.start_s if before is None else before.end_s
        before = Piece(path=item.path, start_s=start_s, end_s=item.end_s, note=str(error))
    assert before is not None
    yield dataclasses.replace(before, last=True)


def _decoded(item: Input, utterance: Utterance, cutting: Cutting) -> Iterator[Piece]:
    length_s, offset_s = duration_s(utterance), item.start_s or 0.0
    if cutting.segments == "none":
        if length_s > cutting.max_duration_s:
            raise AudioError(
                f"lasts {length_s:.1f} s, but --max-duration-s is {cutting.max_duration_s:g}; cut it into segments: "
                f"--segments fixed or speech"
            )
        waveform_S = decode(utterance)
        end_s = offset_s + len(waveform_S) / SAMPLE_RATE_HZ
        yield Piece(path=item.path, start_s=offset_s, end_s=end_s, transcript=item.transcript, waveform_S=waveform_S)
        return
    held = list(decode_blocks(utterance)) if length_s <= _HELD_S else None
    # A generator each time that it is read.
    segments = find_segments(
        lambda: decode_blocks(utterance) if held is None else held, length_s, cutting.segments, cutting.segment_s
    )
    if not segments:
        raise AudioError("contains no speech")
    waveforms = cut(decode_blocks(utterance) if held is None else held, segments)
    for segment, waveform_S in zip(segments, waveforms, strict=True):
        yield _segment_of(item, segment, waveform_S)


def _segment_of(item: Input, segment: Segment, waveform_S: np.ndarray) -> Piece:
    """A transcript is of the whole, so a segment has none."""
    offset_s = item.start_s or 0.0
    return Piece(
        path=item.path,
        start_s=offset_s + segment.start_s,
        end_s=offset_s + segment.end_s,
        waveform_S=waveform_S if len(waveform_S) else None,
        note=None if len(waveform_S) else "contains no samples",
    )


def _text_of(item: Input) -> Piece:
    note = None if item.transcript else "has no transcript, which is all that this model reads"
    return Piece(
        path=item.path, start_s=item.start_s, end_s=item.end_s, transcript=item.transcript, note=note, last=True
    )


@contextlib.contextmanager
def _on_this_machine(location: str) -> Iterator[str]:
    """The file's path, or that of a copy of what an object store has, while it is used."""
    if not is_address(location):
        yield location
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = download(location, folder)
        except FileNotFoundError:
            raise AudioError("does not exist") from None
        yield path


def _refuse_no_file(path: str) -> None:
    if not os.path.exists(path):
        raise AudioError("does not exist")
    # Before it is opened: a pipe would wait for a writer.
    if not os.path.isfile(path):
        raise AudioError("is not a file")


def _block(number: int, pieces: list[Piece], seconds: float, *, last: bool) -> Block:
    columns = {name: [getattr(piece, name) for piece in pieces] for name in _SCHEMA.names[:-1]}
    waveforms = _waveforms([piece.waveform_S for piece in pieces])
    table = pa.table([*(pa.array(columns[f.name], f.type) for f in list(_SCHEMA)[:-1]), waveforms], schema=_SCHEMA)
    return Block(number=number, pieces=table, files=sum(p.last for p in pieces), seconds=seconds, last=last)


def _waveforms(waveforms: list[np.ndarray | None]) -> pa.Array:
    """Without a Python object for every sample."""
    lengths = [0 if waveform_S is None else len(waveform_S) for waveform_S in waveforms]
    samples = np.concatenate([np.zeros(0, np.float32), *(w for w in waveforms if w is not None)])
    ends = np.cumsum([0, *lengths])
    return pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), pa.array(samples))
