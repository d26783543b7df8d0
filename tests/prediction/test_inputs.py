"""What a command line names is listed once for each time that it is named, in order; what names nothing is refused."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysys.errors import ConfigError, CorpusError, StorageError
from raysys.prediction.inputs import Input, list_inputs, look


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("b.wav", "a.FLAC", "notes.txt", "c d/é.mp3", "c d/[x].ogg", ".hidden/h.wav", ".h.wav"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 16_000)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "in"


def paths(*arguments: str) -> list[str]:
    return [item.path for item in list_inputs(arguments)]


def write_csv(path: Path, rows: Sequence[Sequence[object]]) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return str(path)


def test_a_folder_has_its_audio_by_name_and_what_is_below_it(folder: Path) -> None:
    assert paths("in") == ["in/a.FLAC", "in/b.wav", "in/c d/[x].ogg", "in/c d/é.mp3"]
    assert paths(f"{folder}/") == [f"{folder}/{name}" for name in ("a.FLAC", "b.wav", "c d/[x].ogg", "c d/é.mp3")]
    assert {item.location for item in list_inputs(["in"])} == set(paths(str(folder)))


def test_files_keep_their_order_and_are_listed_as_often_as_named(folder: Path) -> None:
    assert paths("in/b.wav", "in/notes.txt", "in/b.wav") == ["in/b.wav", "in/notes.txt", "in/b.wav"]
    assert paths("in/b.wav", "in/c d") == ["in/b.wav", "in/c d/[x].ogg", "in/c d/é.mp3"]


def test_a_pattern_matches_audio_and_a_file_with_brackets_is_itself(folder: Path) -> None:
    assert paths("in/*") == ["in/a.FLAC", "in/b.wav"]
    assert paths("in/**/*.[mo]*") == ["in/c d/[x].ogg", "in/c d/é.mp3"]
    assert paths("in/c d/[x].ogg") == ["in/c d/[x].ogg"]


def test_a_table_has_parts_and_transcripts_relative_to_its_folder(folder: Path) -> None:
    table = write_csv(
        folder / "t.csv",
        [["File", "transcript", "start_s", "end_s"], ["b.wav", "hello", "", ""], ["/x/y.wav", "", "1", "2.5"]],
    )
    assert list(list_inputs([table], lambda _: None)) == [
        Input(path="b.wav", location=f"{folder}/b.wav", transcript="hello", guessed_s=1.0),
        Input(path="/x/y.wav", location="/x/y.wav", start_s=1.0, end_s=2.5, guessed_s=1.5),
    ]
    assert look([table]) and not look(["in"])
    pq.write_table(pa.table({"audio_path": ["b.wav", "s3://b/c.wav"]}), folder / "t.parquet")
    found = list(list_inputs([f"{folder}/t.parquet"]))
    assert [item.location for item in found] == [f"{folder}/b.wav", "s3://b/c.wav"]


def test_an_address_is_listed_as_a_folder_is(folder: Path) -> None:
    with pytest.raises(StorageError, match="no file system is installed for nostore://"):
        look(["nostore://b/x"])
    address = f"file://{folder}"
    names = ("a.FLAC", "b.wav", "c d/[x].ogg", "c d/é.mp3")
    assert paths(address) == [f"{address}/{name}" for name in names]
    assert paths(f"{address}/*.wav") == [f"{address}/b.wav"]


def test_a_name_that_is_no_text_is_shown_escaped_and_still_found(folder: Path) -> None:
    name = os.fsdecode(b"in/\xff.wav")
    Path(name).write_bytes(b"")
    (item,) = [item for item in list_inputs(["in"]) if "xff" in item.path]
    assert item.path == "in/\\xff.wav"
    assert os.path.exists(item.location)


def test_a_folder_below_that_cannot_be_read_is_a_problem_of_its_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("c d"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = list(list_inputs(["in"]))
    assert [(item.path, item.problem) for item in found] == [
        ("in/a.FLAC", None),
        ("in/b.wav", None),
        ("in/c d", "is a folder that cannot be read (Permission denied)"),
    ]
    with pytest.raises(ConfigError, match="in/c d: cannot be read"):
        look(["in/c d"])


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        ("nowhere.wav", "no such file or folder"),
        ("nowhere/*.wav", "no audio file matches"),
        ("in/*.txt", "no audio file matches"),
        ("empty", "no audio file in it and below it"),
    ],
)
def test_what_names_nothing_is_refused(folder: Path, argument: str, reason: str) -> None:
    Path("empty").mkdir()
    with pytest.raises(ConfigError, match=reason):
        look(["in", argument])


def test_a_table_without_its_column_or_rows_or_with_a_wrong_cell_is_refused(folder: Path) -> None:
    with pytest.raises(CorpusError, match="column 'audio_path' is missing, found 'sound', 'emotion'"):
        look([write_csv(folder / "t.csv", [["sound", "emotion"], ["b.wav", "x"]])])
    with pytest.raises(ConfigError, match="has no rows"):
        look([write_csv(folder / "t.csv", [["path"]])])
    table = write_csv(folder / "t.csv", [["path", "start_s", "end_s"], ["b.wav", 2, 1]])
    with pytest.raises(CorpusError, match=r"line 2: column 'end_s' holds 1.0, which is not after start_s 2.0"):
        list(list_inputs([table]))
