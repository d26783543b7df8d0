"""Annotators' votes in a table: read as shares by class, and refused with row, numbers and remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysys.config import CorpusConfig
from raysys.corpora.read import read_manifest
from raysys.corpora.table import read_table
from raysys.data.manifest import Manifest
from raysys.errors import CorpusError

HEADER = "utterance_id,audio_path,speaker,emotion"


def write_csv(folder: Path, header: str, *rows: str) -> Path:
    path = folder / "corpus.csv"
    path.write_text("\n".join([f"{HEADER},{header}", *rows]) + "\n")
    return path


def manifest_of(path: Path, **config: Any) -> Manifest:
    return read_manifest(CorpusConfig(name="table", root=str(path), **config), cache=path.parent)


def votes_of(manifest: Manifest) -> dict[str, Any]:
    return {u.utterance_id: u.votes for u in manifest.utterances}


def test_counts_are_shares_in_the_order_of_the_classes_and_empty_cells_none(tmp_path: Path) -> None:
    """Classes of a table are in alphabetical order: fear, joy."""
    path = write_csv(tmp_path, "votes_joy,Votes_fear", "a,a.wav,S1,joy,3,1", "b,b.wav,S2,fear,0,2", "c,c.wav,S3,joy, ,")
    notes: list[str] = []
    assert read_table(path, notes.append).voted == ("joy", "fear")
    assert notes == []
    assert votes_of(manifest_of(path)) == {"a": (0.25, 0.75), "b": (1.0, 0.0), "c": None}


def test_probabilities_are_taken_as_they_are_up_to_rounding(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "p_joy,p_fear", "a,a.wav,S1,joy,0.75,0.25", "b,b.wav,S2,fear,0.3,0.7008")
    found = votes_of(manifest_of(path))
    assert found["a"] == (0.25, 0.75)
    assert found["b"] == pytest.approx((0.7008 / 1.0008, 0.3 / 1.0008))
    assert sum(found["b"]) == pytest.approx(1.0, abs=1e-15)


def test_parquet_reads_like_csv(tmp_path: Path) -> None:
    columns = {"utterance_id": ["a", "b"], "audio_path": ["a.wav", "b.wav"], "speaker": ["S1", "S2"]}
    votes = {"emotion": ["joy", "fear"], "votes_joy": [3, None], "votes_fear": pa.array([1.0, None])}
    pq.write_table(pa.table({**columns, **votes}), tmp_path / "corpus.parquet")
    path = write_csv(tmp_path, "votes_joy,votes_fear", "a,a.wav,S1,joy,3,1", "b,b.wav,S2,fear,,")
    assert manifest_of(tmp_path / "corpus.parquet").utterances == manifest_of(path).utterances


def test_votes_for_merged_emotions_add_up_and_for_dropped_ones_are_left_out(tmp_path: Path) -> None:
    rows = ("a,a.wav,S1,joy,2,1,1,4", "b,b.wav,S2,fear,0,0,2,0", "c,c.wav,S3,happiness,0,0,0,5")
    path = write_csv(tmp_path, "votes_joy,votes_happiness,votes_fear,votes_other", *rows)
    manifest = manifest_of(path, emotion_map=("happiness=joy", "other="))
    assert manifest.classes == ("fear", "joy")
    assert votes_of(manifest) == {"a": (0.25, 0.75), "b": (1.0, 0.0), "c": None}
    assert "1 utterances have votes for left-out emotions alone; they count as without votes" in manifest.notes


def test_votes_for_classes_that_the_user_leaves_out_are_left_out(tmp_path: Path) -> None:
    rows = ("a,a.wav,S1,joy,2,1,1", "b,b.wav,S2,fear,0,2,0", "c,c.wav,S3,rage,0,0,3")
    path = write_csv(tmp_path, "votes_joy,votes_fear,votes_rage", *rows)
    manifest = manifest_of(path, classes=("joy", "fear"))
    assert votes_of(manifest) == {"a": (2 / 3, 1 / 3), "b": (0.0, 1.0)}


def test_labels_that_most_annotators_did_not_choose_are_noted(tmp_path: Path) -> None:
    """Swapped columns would show; a tie is no contradiction."""
    rows = ("a,a.wav,S1,joy,1,3", "b,b.wav,S2,fear,2,2", "c,c.wav,S3,joy,3,1")
    manifest = manifest_of(write_csv(tmp_path, "votes_joy,votes_fear", *rows))
    assert manifest.notes == ("1 of 3 utterances with votes have an emotion that is not the one with the most votes",)


def test_columns_that_begin_with_p_may_be_about_something_else(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "p_id,p_age", "a,a.wav,S1,joy,P07,31", "b,b.wav,S2,fear,P08,x")
    notes: list[str] = []
    table = read_table(path, notes.append)
    assert table.voted == () and {u.votes for u in table.utterances} == {None}
    assert notes == [f"{path}: ignored columns, which are named after no emotion: 'p_id', 'p_age'"]


@pytest.mark.parametrize(
    ("header", "cells", "said"),
    [
        ("votes_joy,votes_fear", "0,0", r"line 3: there is no vote in 'votes_joy', 'votes_fear'\. Give at least one"),
        (
            "votes_joy,votes_fear",
            "2,",
            r"line 3: column 'votes_fear' is empty, but others with votes are not\. Write 0",
        ),
        ("votes_joy,votes_fear", "-1,2", r"line 3: column 'votes_joy' holds '-1', expected a whole number of votes"),
        ("votes_joy,votes_fear", "2,0.5", r"line 3: column 'votes_fear' holds '0.5', .* belong in columns p_<emotion>"),
        ("votes_joy,votes_fear", "2,many", r"line 3: column 'votes_fear' holds 'many', expected a whole number"),
        ("votes_joy,votes_fear", "2,inf", r"line 3: column 'votes_fear' holds 'inf', expected a whole number"),
        ("p_joy,p_fear", "0.5,0.4", r"line 3: 'p_joy', 'p_fear' sum to 0.9, expected 1 \(up to 0.001\)\. Correct"),
        ("p_joy,p_fear", "0.5,0.502", r"line 3: 'p_joy', 'p_fear' sum to 1.002, expected 1"),
        ("p_joy,p_fear", "-0.5,1.5", r"line 3: column 'p_joy' holds '-0.5', expected a probability from 0 to 1"),
        ("p_joy,p_fear", "nan,1", r"line 3: column 'p_joy' holds 'nan', expected a probability"),
        ("p_joy,p_fear", "75,25", r"line 3: column 'p_joy' holds '75', expected a probability from 0 to 1"),
    ],
)
def test_bad_votes_name_row_numbers_and_remedy(tmp_path: Path, header: str, cells: str, said: str) -> None:
    path = write_csv(
        tmp_path, header, f"a,a.wav,S1,joy,{'3,1' if header[0] == 'v' else '1,0'}", f"b,b.wav,S2,fear,{cells}"
    )
    with pytest.raises(CorpusError, match=said):
        manifest_of(path)


@pytest.mark.parametrize(
    ("header", "cells", "said"),
    [
        ("votes_joy,p_joy", "1,1", r"votes both as counts \('votes_joy'\) and as probabilities \('p_joy'\)\. Keep one"),
        ("votes_joy,votes_joy", "1,1", r"line 1: column 'votes_joy' occurs twice\. Remove one"),
        ("votes_joy,VOTES_joy", "1,1", r"columns 'votes_joy' and 'VOTES_joy' are of one emotion\. Keep one"),
        (
            "votes_joy,votes_Fear",
            "1,1",
            r"votes for 'Fear', but no utterance has .* the classes are 'fear', 'joy'\. .* 'Fear='",
        ),
        ("p_joy", "1", r"columns of votes, but none for 'fear'\. Add one, with 0"),
    ],
)
def test_bad_columns_of_votes_name_the_remedy(tmp_path: Path, header: str, cells: str, said: str) -> None:
    path = write_csv(tmp_path, header, f"a,a.wav,S1,joy,{cells}", f"b,b.wav,S2,fear,{cells}")
    with pytest.raises(CorpusError, match=said):
        manifest_of(path)


@pytest.mark.parametrize("cell", [True, "3", -1, float("nan")])
def test_a_parquet_cell_that_is_no_count_is_refused(tmp_path: Path, cell: object) -> None:
    columns = {"audio_path": ["a.wav", "b.wav"], "speaker": ["S1", "S2"], "emotion": ["joy", "fear"]}
    votes = {"votes_joy": [cell, cell], "votes_fear": [1, 1]}
    pq.write_table(pa.table({**columns, **votes}), path := tmp_path / "corpus.parquet")
    if cell == "3":
        # As in a CSV, where every cell is text.
        assert votes_of(manifest_of(path)) == {"a.wav": (0.25, 0.75), "b.wav": (0.25, 0.75)}
        return
    with pytest.raises(CorpusError, match=r"row 1: column 'votes_joy' holds .*, expected a whole number of votes"):
        manifest_of(path)
