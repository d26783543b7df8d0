"""`raysys`, the command installed by the wheel: the same jobs as in jobs/, and fast if nothing is computed."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

from raysys.__main__ import COMMANDS, main, usage

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "ray", "transformers", "wandb", "pandas", "scipy", "matplotlib")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["raysys", *arguments])
    try:
        main()
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


def test_every_job_is_a_command() -> None:
    assert set(COMMANDS) == {path.stem for path in (ROOT / "jobs").glob("*.py")}
    (script,) = entry_points(group="console_scripts", name="raysys")
    assert script.load() is main


def test_it_says_its_version_and_lists_its_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"raysys {version('raysys')}\n"
    assert run(monkeypatch) == 0
    said = capsys.readouterr().out
    assert all(f"  {name} " in said for name in COMMANDS)
    assert max(map(len, usage(60).splitlines()[:-1])) <= 60


def test_a_mistyped_command_is_refused_with_a_suggestion(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "crosval", "--train.epochs", "1") == 2
    assert capsys.readouterr().err == "error: there is no command 'crosval'. Did you mean crossval?\n"


def test_a_command_does_what_the_job_of_its_name_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "crossval", "--dry-run", "--model.width", "48") == 0
    said = capsys.readouterr().out
    job = [sys.executable, str(ROOT / "jobs" / "crossval.py"), "--dry-run", "--model.width", "48"]
    assert said == subprocess.run(job, capture_output=True, text=True, check=True).stdout
    assert "total_parameters" in said


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--version"], 0),
        (["crossval", "--help"], 0),
        (["gridsearch", "--train.epoch", "3"], 2),
        (["ablation", "--train.epochs", "0"], 2),
        (["compare", "--help"], 0),
    ],
)
def test_help_and_mistakes_import_nothing_heavy(arguments: list[str], code: int) -> None:
    look = (
        "import atexit, sys; from raysys.__main__ import main\n"
        "sys.argv = ['raysys', *sys.argv[1:]]\n"
        f"atexit.register(lambda: print('heavy:', [n for n in {HEAVY!r} if n in sys.modules]))\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", look, *arguments], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == code, done.stderr
    assert done.stdout.splitlines()[-1] == "heavy: []"
