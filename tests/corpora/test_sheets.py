from pathlib import Path

import pytest

from raysys.corpora.sheets import read_sheet, read_text
from raysys.errors import CorpusError
from tests.corpora.published import write


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_text_is_read_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    assert read_text(write(tmp_path / "a.txt", "“Zoë’s” – so?", encoding)) == "“Zoë’s” – so?"


def test_quotes_of_windows_within_utf_8_are_repaired(tmp_path: Path) -> None:
    assert read_text(write(tmp_path / "a.txt", "I\x92m \x85 é")) == "I’m … é"


def test_rows_have_their_lines_also_after_cells_of_several_and_empty_ones(tmp_path: Path) -> None:
    rows = list(read_sheet(write(tmp_path / "a.csv", 'B, a\n"two\nlines",1\n\n,2\n'), ("A", "b")))
    assert [row.where.rpartition(", ")[2] for row in rows] == ["line 2", "line 5"]
    assert [(row["A"], row["b"]) for row in rows] == [("1", "two\nlines"), ("2", "")]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "line 1: column 'a' is missing, found none"),
        ("b\n1\n", "line 1: column 'a' is missing, found 'b'"),
        ("a,b\n1,2\n1,2,3\n", "line 3: 3 cells under 2 columns"),
        ('a,b\n1,2\n"' + "x" * 140_000, r"line 3: not readable as CSV \(field larger"),
    ],
)
def test_a_damaged_table_names_its_line(tmp_path: Path, text: str, found: str) -> None:
    with pytest.raises(CorpusError, match=found):
        list(read_sheet(write(tmp_path / "a.csv", text), ("a",)))
