"""User tables with odd cells and damaged bytes: read correctly, or refused with the position."""

from __future__ import annotations

import csv
import io
import math
import tempfile
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import strategies as st

from raysys.config import CorpusConfig
from raysys.corpora.columns import ALIASES, UNSURE
from raysys.data.manifest import Manifest
from tests.corpora.damage import PLACE, flipped
from tests.corpora.fuzzing import CASES, Outcome, Sound, accounted, cases, read

COLUMNS = ("utterance_id", "audio_path", "speaker", "emotion", "transcript", "start_s", "end_s")
N_SAMPLES = 800
ODD_TEXTS = (
    "",
    " ",
    '"',
    "'",
    "a,b",
    'say "no"',
    "two\nlines",
    "two\r\nlines",
    "😀",
    "é",
    "e\u0301",
    "\ufeff",
    "NA",
    "=1+1",
)
TEXTS = st.one_of(st.sampled_from(ODD_TEXTS), st.text(max_size=20))
TIMES = st.one_of(
    st.sampled_from(
        ["", " ", "0", "-0", "0.01", "1e-3", "1e305", "1e999", "-1", "nan", "inf", "0:01", "1_0", "0,5", "x"]
    ),
    st.floats(0, 0.06).map(str),
)


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("audio") / "a.wav"
    soundfile.write(path, Sound(0.05, 300.0, 1_500.0).sampled(16_000), 16_000, subtype="PCM_16")
    return str(path)


def rows_of(audio: str) -> list[list[str]]:
    """Twelve valid utterances of three speakers and two emotions."""
    return [[f"u{i:02d}", audio, f"s{i % 3}", "xy"[i % 2], f"Words {i}.", "", f"0.0{i + 10}"] for i in range(12)]


def written(
    rows: Sequence[Sequence[str]], line_end: str = "\n", mark: str = "", header: Sequence[str] = COLUMNS
) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=line_end, quoting=csv.QUOTE_ALL).writerows([header, *rows])
    return (mark + text.getvalue()).encode()


def read_table(table: Path, on_error: Any = "fail") -> Outcome:
    outcome = read(CorpusConfig(name="table", root=str(table), on_error=on_error, folds="speaker"), table.parent)
    if outcome.manifest is not None:
        manifest = outcome.manifest
        assert Manifest.from_table(manifest.to_table()) == manifest
        assert manifest.fingerprint()
    return outcome


def part_of(start: str, end: str) -> int | None:
    """Samples of a part of the file; None if the cells are invalid, or the file does not contain it."""
    try:
        start_s, end_s = (float(cell) if cell.strip() else default for cell, default in ((start, 0.0), (end, 0.05)))
    except ValueError:
        return None
    if not (math.isfinite(start_s) and math.isfinite(end_s) and 0 <= start_s < end_s and end_s < 1):
        return None
    first, last = round(start_s * 16_000), round(end_s * 16_000)
    return last - first if first < last <= N_SAMPLES else None


@cases(
    "cells",
    texts=st.tuples(TEXTS, TEXTS, TEXTS),
    times=st.tuples(TIMES, TIMES),
    line_end=st.sampled_from(["\n", "\r\n"]),
    mark=st.sampled_from(["", "\ufeff"]),
    row=st.integers(0, 11),
)
def test_cells_are_read_as_they_were_written(
    audio: str, texts: tuple[str, str, str], times: tuple[str, str], line_end: str, mark: str, row: int
) -> None:
    rows = rows_of(audio)
    name, speaker, words = texts
    rows[row] = [name, audio, speaker, rows[row][3], words, *times]
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "corpus.csv"
        table.write_bytes(written(rows, line_end, mark))
        outcome = read_table(table)
    expected = part_of(*times)
    controlled = any(unicodedata.category(c) == "Cc" for c in name.strip() + speaker.strip())
    refused = controlled and outcome.manifest is None and "control character" in outcome.said
    if not name.strip() or not speaker.strip() or expected is None:
        assert outcome.manifest is None
        # A line break in a cell adds a line to the file.
        assert f"{table}, line " in outcome.said or f"{audio} ({name.strip()})" in outcome.said or refused
        return
    if controlled:
        assert refused and outcome.said.startswith(f"{table}: ")
        return
    assert outcome.manifest is not None, outcome.said
    accounted(outcome, {r[0].strip() for r in rows})
    found = {u.utterance_id: u for u in outcome.manifest.utterances}
    for cells in rows:
        utterance = found[cells[0].strip()]
        speaker = unicodedata.normalize("NFC", cells[2].strip())
        assert (utterance.speaker, utterance.emotion) == (speaker, cells[3])
        assert utterance.transcript == (cells[4].strip() or None)
    assert len(outcome.waveforms[name.strip()]) == expected


BROKEN = st.one_of(
    st.tuples(st.just("cut"), PLACE),
    st.tuples(st.just("flipped"), PLACE, st.integers(0, 7)),
    st.tuples(st.just("put in"), PLACE, st.binary(min_size=1, max_size=4)),
    st.tuples(st.just("row again"), st.integers(0, 11)),
    st.tuples(st.just("encoding"), st.sampled_from(["utf-16", "utf-8-sig", "utf-32"])),
    st.tuples(
        st.just("header"), st.sampled_from(COLUMNS), st.text(max_size=12) | st.sampled_from(sorted(ALIASES | UNSURE))
    ),
    st.tuples(st.just("bytes"), st.binary(max_size=200)),
)


def broken(rows: list[list[str]], kind: str, *how: Any) -> bytes:
    data = written(rows)
    match kind:
        case "cut":
            return data[: int(how[0] * len(data))]
        case "flipped":
            return flipped(data, *how)
        case "put in":
            at = int(how[0] * len(data))
            return data[:at] + how[1] + data[at:]
        case "row again":
            return written([*rows, rows[how[0]]])
        case "encoding":
            return data.decode().encode(how[0])
        case "header":
            return written(rows, header=[how[1] if name == how[0] else name for name in COLUMNS])
        case _:
            return bytes(how[0])


@cases("damaged tables", damage=BROKEN, on_error=st.sampled_from(["fail", "skip"]))
def test_a_damaged_table_is_refused_or_loses_no_row(audio: str, damage: tuple[Any, ...], on_error: str) -> None:
    rows = rows_of(audio)
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "corpus.csv"
        table.write_bytes(broken(rows, *damage))
        outcome = read_table(table, on_error)
    if outcome.manifest is None:
        # A name changed by a flipped bit is reported in its new form.
        assert str(table) in outcome.said or outcome.said.startswith("corpus: "), outcome.said
        return
    assert damage[0] not in ("row again", "bytes")
    if damage[0] == "header":
        assert UNSURE.get(damage[2]) != damage[1], "a column under another name was dropped"
    n_rows = len(outcome.manifest.utterances) + len(outcome.manifest.skipped)
    whole_rows = broken(rows, *damage).count(b"\n") - 1 if damage[0] == "cut" else len(rows)
    assert whole_rows <= n_rows <= len(rows)
    if damage[0] == "encoding":
        accounted(outcome, {r[0] for r in rows})


STRINGS = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
NO_STRINGS = [pa.int64(), pa.float64(), pa.bool_(), pa.timestamp("ns"), pa.binary(), pa.date32()]


@cases(
    "Parquet",
    what=st.one_of(
        st.tuples(st.just("type"), st.sampled_from(STRINGS), st.sampled_from(COLUMNS[:5])),
        st.tuples(st.just("wrong type"), st.sampled_from(NO_STRINGS), st.sampled_from(COLUMNS[:5])),
        st.tuples(st.just("number"), st.sampled_from([1e305, math.nan, math.inf, -1.0, 0.005]), st.just("start_s")),
        st.tuples(st.just("null"), st.none(), st.sampled_from(COLUMNS)),
        st.tuples(st.just("not UTF-8"), st.none(), st.sampled_from(COLUMNS[:5])),
        st.tuples(st.just("cut"), PLACE, st.none()),
        st.tuples(st.just("flipped"), PLACE, st.integers(0, 7)),
    ),
)
def test_a_parquet_table_with_one_defect(audio: str, what: tuple[str, Any, Any]) -> None:
    kind, value, column = what
    rows = rows_of(audio)
    columns: dict[str, Any] = {name: [r[i] for r in rows] for i, name in enumerate(COLUMNS)}
    columns |= {"start_s": [None] * 12, "end_s": [float(cell) for cell in columns["end_s"]]}
    columns["start_s"] = pa.array(columns["start_s"], pa.float64())
    match kind:
        case "type":
            columns[column] = pa.array(columns[column]).cast(value)
        case "wrong type":
            columns[column] = (
                pa.array([1] * 12).cast(pa.string()).cast(pa.binary())
                if value == pa.binary()
                else (pa.array([1] * 12, pa.int32() if value == pa.date32() else pa.int64()).cast(value))
            )
        case "number":
            columns[column] = [value, *[None] * 11]
        case "null":
            columns[column] = pa.array([None, *list(pa.array(columns[column]).to_pylist())[1:]])
        case "not UTF-8":
            columns[column] = pa.array([b"\xff\xfe", *(c.encode() for c in columns[column][1:])]).view(pa.string())
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "corpus.parquet"
        pq.write_table(pa.table(columns), table)
        data = table.read_bytes()
        if kind == "cut":
            table.write_bytes(data[: int(value * len(data))])
        elif kind == "flipped":
            table.write_bytes(flipped(data, value, column))
        outcome = read_table(table)
    if outcome.manifest is None:
        place = str(table) in outcome.said or kind == "flipped" or (kind == "number" and audio in outcome.said)
        assert place, outcome.said
        assert kind != "type" and (kind, value) != ("number", 0.005)
        return
    assert kind not in ("wrong type", "not UTF-8", "cut")
    assert kind != "null" or column in ("transcript", "start_s", "end_s")
    assert len(outcome.manifest.utterances) == 12
    if kind != "flipped":
        accounted(outcome, {r[0] for r in rows})


def test_five_hundred_cases_are_generated() -> None:
    """Each test of the three files checks its own number."""
    assert sum(CASES.values()) >= 500
