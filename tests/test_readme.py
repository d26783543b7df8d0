"""The documentation against the code: everything it names exists, and its commands, tables and examples work."""

from __future__ import annotations

import ast
import contextlib
import io
import re
import runpy
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile

from raysys.config import CorpusConfig
from raysys.corpora.columns import OPTIONAL_SECONDS, OPTIONAL_STRINGS, REQUIRED, SPLIT
from raysys.corpora.read import read_corpus
from raysys.data.folds import make_folds

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
FAULTS = (ROOT / "tests" / "README.md").read_text()
# Not Path.rglob: environments and caches below the root contain third-party documents.
DOCUMENTS = {
    str(path.relative_to(ROOT)): path.read_text()
    for pattern in ("*.md", ".github/*.md", "cluster/**/*.md", "jobs/**/*.md", "raysys/**/*.md", "tests/**/*.md")
    for path in sorted(ROOT.glob(pattern))
}
JOBS = sorted(path.stem for path in (ROOT / "jobs").glob("*.py"))
OTHER_PROGRAMS = {
    "bash": {"--generate"},
    "curl": {"--data-binary"},
    "docker": {"--file", "--tag", "--shm-size"},
    "kubectl": {"--from-literal", "--from-file"},
    "pip and uv": {"--with"},
    "ray": {"--address", "--working-dir", "--runtime-env-json", "--dashboard-host", "--head", "--port"},
    "raysys": {"--version"},
    "sbatch": {"--partition"},
    "timeout": {"--preserve-status"},
}
"""Flags named in the documents that no job has."""
FLAG = re.compile(r"(?<![\w-])--[a-z][\w.-]*\w")


def named(pattern: str) -> list[tuple[str, str]]:
    """Each match of a pattern, with its document."""
    return sorted({(name, found) for name, text in DOCUMENTS.items() for found in re.findall(pattern, text)})


@cache
def flags_of(job: str) -> frozenset[str]:
    """All flags that a job's own --help lists."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(sys, "argv", [f"{job}.py", "--help"])
        patch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / "jobs" / f"{job}.py"), run_name="__main__")
    assert ended.value.code == 0
    return frozenset(re.findall(r"(?<=[│ ])--[a-z][\w.-]*\w", printed.getvalue()))


@cache
def known_tests() -> frozenset[str]:
    """Names of all tests."""
    sources = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    return frozenset(name for source in sources for name in re.findall(r"^def (test_\w+)\(", source, re.MULTILINE))


def commands() -> Iterator[tuple[str, str, str]]:
    """Document, job and arguments of each command that starts a job; a trailing backslash continues a line."""
    for name, text in DOCUMENTS.items():
        joined = re.sub(r"\\\n\s*", " ", text)
        for job, arguments in re.findall(r"(?:jobs/(?=\w+\.py)|\braysys )(\w+)(?:\.py)?\b([^\n`|#]*)", joined):
            if job in JOBS:
                yield name, job, arguments


def test_the_required_documents_exist() -> None:
    places = ("", "cluster/", "jobs/", "raysys/", "raysys/bench/", "tests/")
    assert set(DOCUMENTS) == {*(f"{place}README.md" for place in places), ".github/CONTRIBUTING.md"}


def test_the_front_page_is_short() -> None:
    assert len(README.encode()) < 14_000


def test_every_row_of_the_faults_names_its_test() -> None:
    table = FAULTS.split("| fault | what happens | shown by |")[1].split("\n\n")[0]
    rows = table.strip().splitlines()[1:]
    assert len(rows) >= 17
    for row in rows:
        shown_by = row.rstrip(" |").rsplit("|", 1)[1]
        assert "`test" in shown_by, row


@pytest.mark.parametrize(("document", "name"), named(r"`(test_\w+?)(?:_\.\.\.)?`"))
def test_each_test_that_is_named_exists(document: str, name: str) -> None:
    assert any(test.startswith(name) for test in known_tests())


@pytest.mark.parametrize(("document", "name"), named(r"`(?:python )?([\w/]+\.py)\b"))
def test_each_file_that_is_named_exists(document: str, name: str) -> None:
    assert any((ROOT / base / name).exists() for base in ("", "raysys", "tests", Path(document).parent))


@pytest.mark.parametrize(
    ("file", "name"), sorted(set(re.findall(r"`([a-z_/]+\.py):([A-Za-z_]+)`", DOCUMENTS["raysys/README.md"])))
)
def test_each_function_named_in_the_documents_is_in_its_file(file: str, name: str) -> None:
    tree = ast.parse((ROOT / "raysys" / file).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


@pytest.mark.parametrize(("document", "target"), named(r"\]\((?!\w+:)([^)\s]+)\)"))
def test_each_local_link_leads_somewhere(document: str, target: str) -> None:
    path, _, section = target.partition("#")
    file = (ROOT / document).parent / path if path else ROOT / document
    assert file.exists()
    if section:
        headings = re.findall(r"^#+ (.*)", file.read_text(), re.MULTILINE)
        assert section in [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


@pytest.mark.parametrize(("document", "job", "arguments"), list(commands()))
def test_each_command_has_flags_that_its_job_knows(document: str, job: str, arguments: str) -> None:
    # Text in quotes belongs to a variant.
    for flag in FLAG.findall(re.sub(r"'[^']*'", "", arguments)):
        assert flag in flags_of(job), f"jobs/{job}.py has no {flag}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_each_flag_exists(document: str) -> None:
    known = set.union(*OTHER_PROGRAMS.values(), *(set(flags_of(job)) for job in JOBS), {"--help"})
    # A section of flags is written --optim.*
    sections = {flag.split(".")[0] for flag in known if "." in flag}
    found = FLAG.findall(re.sub(r"(--\w+)\.\*", r"\1", DOCUMENTS[document]))
    assert set(found) - known - sections == set()


def test_no_listed_foreign_flag_is_unused() -> None:
    everything = "".join(DOCUMENTS.values())
    assert {flag for flags in OTHER_PROGRAMS.values() for flag in flags} <= set(FLAG.findall(everything))


def test_the_table_of_columns_matches_the_reader() -> None:
    rows = README.split("| column | | content |\n|---|---|---|\n")[1].split("\n\n")[0].splitlines()
    listed: dict[str, set[str]] = {"required": set(), "optional": set()}
    for names, kind, _ in (row.strip("| ").split(" | ", 2) for row in rows):
        listed[kind] |= set(re.findall(r"`(\w+)`", names))
    assert listed == {"required": set(REQUIRED), "optional": {*OPTIONAL_STRINGS, *OPTIONAL_SECONDS, SPLIT}}


def test_the_example_of_a_table_is_a_corpus_that_can_be_cross_validated(tmp_path: Path) -> None:
    (example,) = re.findall(r"```csv\n(.*?)```", README, re.DOTALL)
    (tmp_path / "my.csv").write_text(example)
    (tmp_path / "wav").mkdir()
    names = re.findall(r"wav/[\w-]+\.wav", example)
    for i, name in enumerate(names):
        soundfile.write(tmp_path / name, np.sin(np.arange(1600) * (i + 1) / 100), 16_000)
    config = CorpusConfig(name="table", root=str(tmp_path / "my.csv"))
    manifest = read_corpus(config, cache=tmp_path / "cache")
    assert [u.audio_path for u in manifest.utterances] == [str(tmp_path / name) for name in names]
    assert len(make_folds(manifest, config)) == 3
