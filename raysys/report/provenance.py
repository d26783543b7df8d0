"""Provenance of a result: date, command, commit and hardware."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from raysys.errors import StorageError
from raysys.results import Provenance, RunResult
from raysys.storage import Folder

_SOURCE = Path(__file__).resolve().parents[1]


def provenance(run: Folder, gpus: Iterable[str | None]) -> Provenance:
    """Date (UTC), command line, commit and hardware; for a finished run, what its results already say.

    Args:
        gpus: of each trial the GPU that it trained on, if any.
    """
    # Results that are missing or damaged say nothing.
    with contextlib.suppress(StorageError):
        if (earlier := RunResult.read(run).made) is not None:
            return earlier
    return Provenance(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command_line(sys.argv),
        commit=commit(_SOURCE),
        hardware=hardware(gpus),
    )


def command_line(words: list[str]) -> str:
    """The command line, quoted for a shell; credentials in addresses are removed."""
    program = Path(words[0]).name if words else ""
    return re.sub(r"//[^/\s@]*@", "//", shlex.join([program, *words[1:]]))


def commit(folder: Path) -> str | None:
    """Commit of the checkout that holds this package, and whether files have changed since; None if not in one."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != folder.parent:
            return None
        return git("rev-parse", "HEAD") + (", changed" if git("status", "--porcelain", "--", str(folder)) else "")
    except (OSError, subprocess.SubprocessError):
        return None


def hardware(gpus: Iterable[str | None] = ()) -> str:
    """The driver's processor, usable cores and memory; the GPU models."""
    processor = platform.processor() or platform.machine()
    try:
        models = re.findall(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        models = []
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    parts = [models[0] if models else processor, f"{len(os.sched_getaffinity(0))} cores", f"{memory_gib:.0f} GiB"]
    return ", ".join([*parts, *sorted({gpu for gpu in gpus if gpu})])
