"""Provenance of a result: kept from the first time, without secrets; no error if git or a checkout is missing."""

from __future__ import annotations

import dataclasses
import subprocess
from datetime import datetime
from pathlib import Path

import pytest

from raysys.report.results import command_line, commit, hardware, provenance
from raysys.storage import Folder
from tests.report.made_up import run_result


def test_a_finished_run_keeps_what_made_it(tmp_path: Path) -> None:
    run = Folder.at(str(tmp_path))
    first = provenance(run, [None])
    assert datetime.fromisoformat(first.date).utcoffset() is not None
    run_result(made={**dataclasses.asdict(first), "date": "2026-01-02T03:04:05+00:00"}).write(run)
    assert provenance(run, [None]).date == "2026-01-02T03:04:05+00:00"
    # Results of an earlier version have none, and damaged ones say nothing.
    run_result().write(run)
    assert provenance(run, [None]).command == first.command
    run.write_bytes("results.json", b"{")
    assert provenance(run, [None]).command == first.command


def test_a_command_can_be_typed_again_and_holds_no_login() -> None:
    words = ["/somewhere/jobs/crossval.py", "--run.root", "s3://me:secret@bucket/runs", "--run.name", "two words"]
    assert command_line(words) == "crossval.py --run.root s3://bucket/runs --run.name 'two words'"


def test_the_commit_is_the_checkouts_and_says_where_files_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "raysys"
    package.mkdir()
    (package / "a.py").write_text("a = 1\n")
    assert commit(package) is None
    identity = ["-c", "user.name=A", "-c", "user.email=a@b"]
    for arguments in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "one"]):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)
    found = commit(package)
    assert found is not None and len(found) == 40
    (package / "a.py").write_text("a = 2\n")
    assert commit(package) == f"{found}, changed"
    # A package installed inside another project's checkout does not belong to that checkout.
    below = package / "site-packages" / "raysys"
    below.mkdir(parents=True)
    assert commit(below) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit(package) is None


def test_hardware_names_cores_and_memory() -> None:
    assert " cores, " in hardware() and hardware().endswith(" GiB")
    assert hardware(["H100", None, "A10", "H100"]).endswith(" GiB, A10, H100")
