"""What the README names as proof is there: a renamed test or file would leave it saying what nothing shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
NAMED_TESTS = sorted(set(re.findall(r"`(test_\w+?)(?:_\.\.\.)?`", README)))
NAMED_FILES = sorted(set(re.findall(r"`([\w/]+\.py)`", README)))


def test_every_row_of_the_faults_names_its_test() -> None:
    table = README.split("| fault | what happens | shown by |")[1].split("\n\n")[0]
    rows = table.strip().splitlines()[1:]
    assert len(rows) >= 10
    for row in rows:
        shown_by = row.rstrip(" |").rsplit("|", 1)[1]
        assert "`test" in shown_by, row


@pytest.mark.parametrize("name", NAMED_TESTS)
def test_each_test_that_is_named_exists(name: str) -> None:
    sources = (path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert any(re.search(rf"^def {name}\w*\(", source, re.MULTILINE) for source in sources)


@pytest.mark.parametrize("name", NAMED_FILES)
def test_each_file_that_is_named_exists(name: str) -> None:
    assert any((ROOT / base / name).exists() for base in ("", "raysys", "tests"))
