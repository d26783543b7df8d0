"""The jobs that do not train, as commands: what they print, and how a user error ends."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest
import ray

from raysys.errors import StorageError
from raysys.report.compare import compare
from raysys.runs.finish import write_report
from raysys.storage import Folder
from tests.report.run_folder import write_run as write_finished_run
from tests.report.test_compare import A, B, write_run

JOBS = Path(__file__).resolve().parents[2] / "jobs"


def run_job(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: str) -> int:
    """Its exit code."""
    monkeypatch.setattr("sys.argv", [name, *arguments])
    try:
        runpy.run_path(str(JOBS / name), run_name="__main__")
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


@pytest.fixture
def runs(tmp_path: Path) -> tuple[str, str]:
    return write_run(str(tmp_path / "a"), A).location, write_run(str(tmp_path / "b"), B).location


def test_compare_prints_the_table_and_writes_what_compare_returns(
    runs: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new" / "comparison.json"
    assert run_job(monkeypatch, "compare.py", *runs, "--json", str(file)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:5] for line in lines if line.startswith("WA")] == [["WA", "16", "81.2", "93.8", "+12.5"]]
    assert json.loads(file.read_text()) == compare(Folder.at(runs[0]), Folder.at(runs[1]))


def test_compare_takes_and_writes_addresses(
    runs: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    remote = write_run("memory://jobs/b", B).location
    assert run_job(monkeypatch, "compare.py", runs[0], remote, "--json", "memory://jobs/out/found.json") == 0
    assert remote in capsys.readouterr().out
    assert Folder.at("memory://jobs/out").read_json("found.json")["b"]["run"] == remote


@pytest.mark.parametrize("job", ["crossval.py", "gridsearch.py", "ablation.py", "paper.py", "prepare.py"])
def test_help_has_an_example_and_the_jobs_own_flags(
    job: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_job(monkeypatch, job, "--help") == 0
    said = capsys.readouterr().out
    assert f"Example: {job.removesuffix('.py')} --" in said and "--corpus.root" in said
    trains = job != "prepare.py"
    assert all((flag in said) == trains for flag in ("--model.audio", "--optim.lr", "--loss.alpha", "--train.epochs"))


@pytest.mark.parametrize("preset", ["demo", "light"])
def test_the_help_of_prepare_shows_the_presets_own_values(
    preset: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "79")
    shown = []
    for job in ("crossval.py", "prepare.py"):
        assert run_job(monkeypatch, job, "--preset", preset, "--help") == 0
        said = capsys.readouterr().out
        shown.append(re.search(r"--augment\.variants.*?\(default: (\d+)\)", said, re.DOTALL))
    assert shown[0] is not None and shown[1] is not None
    assert shown[0][1] == shown[1][1] != "0"


def test_a_report_that_fails_is_a_note_and_the_job_that_it_names_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_finished_run(tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr("raysys.report.page.draw", lambda run: 1 / 0)
        write_report(run)
    said = capsys.readouterr().out
    assert said.startswith("note ") and "ZeroDivisionError" in said and f"jobs/report.py {run.location}" in said
    assert not run.exists("report.html")
    assert run_job(monkeypatch, "report.py", run.location) == 0
    assert capsys.readouterr().out == f"{run.location}/report.html\n"
    assert run.exists("report.html") and run.exists("table.md")
    run.delete("results.json")
    with pytest.raises(StorageError):
        write_report(run)


@pytest.mark.parametrize(
    ("job", "arguments", "said"),
    [
        ("report.py", ["/nowhere"], "error: /nowhere: there is no results.json"),
        ("compare.py", ["{a}", "/nowhere"], "error: /nowhere: there is no results.json"),
        ("compare.py", ["{a}", "nothing://b"], "no file system is installed for nothing://"),
        ("serve.py", ["/nowhere"], "error: /nowhere: contains no config.json: there is no such folder"),
        ("serve.py", ["{a}", "--host", "0.0.0.0"], "--host 0.0.0.0: other machines reach it"),
        ("serve.py", ["{a}", "--max-batch", "0"], "error: --max-batch is 0"),
        ("serve.py", ["{a}", "--token-file", "/nowhere"], "error: --token-file /nowhere: cannot be read"),
        ("serve.py", ["{a}", "--prot", "80"], "--port"),
        ("serve.py", [], "MODEL"),
        ("bench.py", ["--rows", "serving"], "add --model"),
        ("compare.py", ["{a}"], "Another finished run over the same corpus"),
        ("compare.py", ["{a}", "{b}", "--jsn", "x"], "--json"),
        ("prepare.py", ["--corpus.name", "ravdess"], "needs --corpus.root"),
        ("prepare.py", ["--corpus.name", "table", "--corpus.root", "/nowhere.csv"], "/nowhere.csv"),
        ("prepare.py", ["--corpus.nme", "table"], "--corpus.name"),
        ("crossval.py", ["--train.epoch", "3"], "--train.epochs"),
        ("crossval.py", ["--train.epochs", "0"], "--train.epochs is 0"),
        ("crossval.py", ["--corpus.name", "ravdess"], "needs --corpus.root"),
        ("crossval.py", ["--corpus.name", "iemocap", "--corpus.root", "/nowhere"], "/nowhere"),
        ("crossval.py", ["--model.audio", "no/such-model"], "--model.audio no/such-model"),
        ("crossval.py", ["--cluster.data-cpus-per-worker", "0"], "--cluster.data-cpus-per-worker is 0"),
    ],
)
def test_a_user_error_ends_a_job_with_code_2_and_says_how_to_fix_it(
    job: str,
    arguments: list[str],
    said: str,
    runs: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    given = [argument.format(a=runs[0], b=runs[1]) for argument in arguments]
    assert run_job(monkeypatch, job, *given) == 2
    captured = capsys.readouterr()
    assert said in captured.out + captured.err
    assert "Traceback" not in captured.err
    assert not ray.is_initialized(), "a cluster was started before the error was found"


def test_serve_without_its_packages_says_how_to_install_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("raysys.commands.serve.find_spec", lambda name: None if name == "python_multipart" else name)
    assert run_job(monkeypatch, "serve.py", str(tmp_path)) == 2
    assert "serve needs python_multipart: pip install 'raysys[serve]'" in capsys.readouterr().err


def test_prepare_has_the_dry_run_of_the_other_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("prepare.py", "--dry-run", "--corpus.name", "ravdess", "--corpus.root")
    assert run_job(monkeypatch, *flags, str(tmp_path)) == 0
    assert "decoded audio 0.12 GB an hour" in capsys.readouterr().out
    assert run_job(monkeypatch, *flags, str(tmp_path / "nowhere")) == 2


def test_bench_writes_the_rows_that_were_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from raysys.allocator import ENVIRONMENT
    from raysys.bench import run
    from raysys.bench.measure import row_of

    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)  # otherwise it restarts itself with them
    monkeypatch.setattr(run.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(run, "small_setting", lambda n: None)
    monkeypatch.setattr(run, "training_rows", lambda *_, **__: [row_of("step_vs_plain", [2.0, 4.0], "x", "small")])
    monkeypatch.setattr(run, "evaluation_row", lambda *_, **__: row_of("eval_vs_plain", [3.0], "x"))
    out = tmp_path / "runs" / "bench.json"
    assert run_job(monkeypatch, "bench.py", "--rows", "training", "--out", str(out), "--repeats", "2") == 0
    said = capsys.readouterr().out
    assert [line.split()[:6] for line in said.splitlines() if line.startswith("step")] == [
        ["step_vs_plain", "3", "x", "2", "to", "4"]
    ]
    assert [row["name"] for row in json.loads(out.read_text())["rows"]] == ["step_vs_plain", "eval_vs_plain"]
