"""A worker's watchdog, in a separate process: it ends a process that hangs, in Python or in C, and no other."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from raysys.storage import Folder
from raysys.training.watchdog import Watchdog, tell, to_stop

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import ctypes, sys, time
from pathlib import Path
from tests.training.test_watchdog import watchdog_in
def wait_in_c():
    ctypes.PyDLL(None).sleep(30)  # with the interpreter's lock held
with watchdog_in(Path(sys.argv[1]), limit_s=1.0) as watchdog:
    {body}
print("done")
"""


def trial_folder(run: Path) -> Folder:
    return Folder.at(str(run / "folds" / "1"))


def watchdog_in(run: Path, *, limit_s: float = 10.0, stops: bool = False) -> Watchdog:
    return Watchdog(trial_folder(run), Folder.at(str(run)), rank=0, node="n", limit_s=limit_s, stops=stops)


def ran(body: str, run: Path) -> subprocess.CompletedProcess[str]:
    code = CODE.replace("{body}", body)
    command = [sys.executable, "-c", code, str(run)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(("body", "where"), [("time.sleep(30)", "<module>"), ("wait_in_c()", "wait_in_c")])
def test_a_step_that_hangs_ends_its_process_and_is_reported_once(body: str, where: str, tmp_path: Path) -> None:
    done = ran(body, tmp_path)
    assert done.returncode == 1 and "done" not in done.stdout
    again = watchdog_in(tmp_path)
    said = again.earlier()
    assert said is not None and "the process ended itself and was restarted" in said
    assert where in Path(said.rsplit(" ", 1)[1]).read_text()
    assert again.earlier() is None


def test_steps_within_the_limit_and_waiting_for_the_driver_end_nothing(tmp_path: Path) -> None:
    body = "[(time.sleep(0.4), watchdog()) for _ in range(5)]\n    with watchdog.waiting(): time.sleep(2)"
    done = ran(body, tmp_path)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    assert trial_folder(tmp_path).names() == [], "a worker that ended well leaves nothing"


def test_an_error_disarms_it_and_leaves_who_it_was(tmp_path: Path) -> None:
    done = ran('raise ValueError("mine")', tmp_path)
    assert done.returncode == 1 and "ValueError: mine" in done.stderr
    assert trial_folder(tmp_path).names() == ["worker-0.json"]


@pytest.mark.parametrize("stops", [True, False])
def test_it_notices_a_stop_within_seconds_if_it_may_stop_alone(
    stops: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr(Watchdog, "step", lambda self: None)
    watchdog = watchdog_in(tmp_path, stops=stops)
    tell(Folder.at(str(tmp_path)), stop=True)
    assert watchdog() is False, "asked only every five seconds"
    clock[0] += 6
    assert watchdog() is stops


def test_a_store_that_does_not_answer_stops_no_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Folder.at(str(tmp_path))
    tell(run, stop=True)
    assert to_stop(run)

    def silent(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Folder, "read_json", silent)
    assert not to_stop(run)
