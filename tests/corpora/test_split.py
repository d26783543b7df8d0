"""The column 'split' of a table: read where a published partition is asked for, otherwise told and left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from raysys.config import CorpusConfig
from raysys.corpora.read import look, read_manifest
from raysys.corpora.table import read_table
from raysys.data.manifest import UNKNOWN
from raysys.errors import CorpusError, ManifestError

HEADER = "utterance_id,audio_path,speaker,emotion,split"
ROWS = """a,a.wav,S1,joy,Train
b,b.wav,S2,fear,train
c,c.wav,,joy,Development
d,d.wav,Unknown,fear,Test1
e,e.wav,unknown,joy,test2
"""


def write(folder: Path, rows: str = ROWS, header: str = HEADER) -> Path:
    path = folder / "corpus.csv"
    path.write_text(f"{header}\n{rows}")
    return path


def test_parts_and_unknown_speakers_are_read(tmp_path: Path) -> None:
    utterances = read_table(write(tmp_path), given=True).utterances
    assert [u.split for u in utterances] == ["train", "train", "validation", "test1", "test2"]
    assert [u.speaker for u in utterances] == ["S1", "S2", UNKNOWN, UNKNOWN, UNKNOWN]


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (
            "a,a.wav,S1,joy,train\nb,b.wav,S1,joy,holdout\n",
            "line 3: column 'split' holds 'holdout', expected train, val",
        ),
        ("a,a.wav,S1,joy,1\n", "line 2: column 'split' holds '1', expected train"),
    ],
)
def test_an_unknown_word_names_its_line(tmp_path: Path, rows: str, found: str) -> None:
    path = write(tmp_path, rows)
    with pytest.raises(CorpusError) as error:
        read_table(path, given=True)
    assert f"{path}, {found}" in str(error.value)


def test_a_table_without_the_column_has_no_partition_to_give(tmp_path: Path) -> None:
    path = write(tmp_path, "a,a.wav,S1,joy\n", "utterance_id,audio_path,speaker,emotion")
    with pytest.raises(CorpusError, match=r"column 'split' is missing, found 'utterance_id'.*Rename or add it"):
        read_table(path, given=True)


def test_empty_cells_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, ROWS + "f,f.wav,S3,joy,\ng,g.wav,S3,fear,\n")
    config = CorpusConfig(name="table", root=str(path), folds="given")
    with pytest.raises(ManifestError, match=r"2 of 7 have none, such as 'f' \(line 7\)"):
        look(config)


def test_a_column_that_is_not_used_is_told_and_changes_nothing(tmp_path: Path) -> None:
    rows = "a,a.wav,S1,joy,holdout\nb,b.wav,S2,fear,\nc,c.wav,S3,joy,train\n"
    used = read_manifest(CorpusConfig(name="table", root=str(write(tmp_path, rows))), cache=tmp_path)
    (note,) = used.notes
    assert note.endswith("column 'split' is not used; --corpus.folds given trains, validates and tests as it says")
    assert {u.split for u in used.utterances} == {None}
    plain = "\n".join(line.rsplit(",", 1)[0] for line in rows.splitlines())
    path = write(tmp_path, plain + "\n", "utterance_id,audio_path,speaker,emotion")
    without = read_manifest(CorpusConfig(name="table", root=str(path)), cache=tmp_path)
    assert used.fingerprint() == without.fingerprint() and without.notes == ()


@pytest.mark.parametrize(
    ("speaker", "found"),
    [("", "column 'speaker' is empty"), ("Unknown", "column 'speaker' holds 'Unknown', and folds keep speakers apart")],
)
def test_speakers_may_be_unknown_in_a_given_partition_only(tmp_path: Path, speaker: str, found: str) -> None:
    path = write(tmp_path, f"a,a.wav,{speaker},joy,train\n")
    with pytest.raises(CorpusError, match=f"line 2: {found}"):
        read_table(path)
    assert read_table(path, given=True).utterances[0].speaker == UNKNOWN
