"""cluster/slurm/crossval.sbatch, run with stubs for Slurm's and Ray's commands: what it starts, and what it leaves."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "cluster" / "slurm" / "crossval.sbatch"
# Stubs in Python: bash may fail if a signal arrives while it reads a command substitution.
HEADER = f"""#!{sys.executable} -IS
import os, signal, subprocess, sys, time

def log(line):
    with open(os.environ["LOG"], "a") as file:
        file.write(line + "\\n")

def on_sigterm(act):
    signal.signal(signal.SIGTERM, lambda *_: act())

def forever():
    while True:
        time.sleep(0.05)

"""
# Like srun, forwards SIGTERM: to all processes of each task, or (Slurm with cgroups) only to the first one.
SRUN = """
words = sys.argv[1:]
options = words[: next(i for i, word in enumerate(words) if not word.startswith("--"))]
tasks = next(int(option.split("=")[1]) for option in options if option.startswith("--ntasks="))
command = words[len(options):]
log(f"srun {' '.join([*options, *command[4:]])}")
children, ended = [], []

def stop():
    ended.append(True)
    for child in children:
        try:
            (os.killpg if os.environ.get("TO_ALL") else os.kill)(child.pid, signal.SIGTERM)
        except ProcessLookupError:
            pass

on_sigterm(stop)
for _ in range(tasks):
    children.append(subprocess.Popen(command, start_new_session=True))
    with open(os.environ["LOG"] + ".groups", "a") as file:
        file.write(f"{children[-1].pid}\\n")
if ended:
    stop()
sys.exit(max(child.wait() for child in children))
"""
SCONTROL = """
if sys.argv[1] == "show":
    print(*os.environ["SLURM_JOB_NODELIST"].split(), sep="\\n")
else:
    log(f"scontrol {' '.join(sys.argv[1:])}; left: {' '.join(os.listdir(os.environ['RAYSYS_RUN_ROOT']))}")
"""
RAY = """
if sys.argv[1] == "status":
    with open(os.environ["LOG"]) as file:
        up = sum(line.startswith("ray ") and " token " in line for line in file)
    print("Active:", *[" 1 node_ab"] * up, sep="\\n")
    sys.exit()
where = sys.argv[2]

def end():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    log(f"ray {where} ended")
    os._exit(0)

on_sigterm(end)
token = os.environ["RAY_AUTH_TOKEN_PATH"]
modes = [oct(os.stat(path).st_mode & 0o777)[2:] for path in (token, os.path.dirname(token))]
log(f"ray {where} {os.environ['RAY_AUTH_MODE']} {' '.join(modes)} {os.path.getsize(token)} "
    + os.environ.get("RAY_AUTH_TOKEN", "no-other"))
if where == "--head" and os.environ.get("HEAD_DIES"):
    sys.exit(1)
forever()
"""
# The job. Waits for SIGTERM where no code is given.
PYTHON = """
def end():
    log("driver SIGTERM")
    os._exit(75)

on_sigterm(end)
places = [os.environ["RAYSYS_CORPUS_ROOT"], os.environ["RAYSYS_RUN_ROOT"]]
log(" ".join(["driver", os.environ["RAY_ADDRESS"], *sys.argv[1:], *places]))

def nodes():
    with open(os.environ["LOG"]) as file:
        return sum(line.startswith("ray ") and " token " in line for line in file)

while nodes() < len(os.environ["SLURM_JOB_NODELIST"].split()):
    time.sleep(0.05)
if os.environ.get("CODE"):
    sys.exit(int(os.environ["CODE"]))
forever()
"""


class Job:
    """The script as Slurm would start it."""

    def __init__(self, place: Path, *flags: str, **settings: str) -> None:
        binaries = place / "venv" / "bin"
        binaries.mkdir(parents=True)
        for name, body in {"srun": SRUN, "scontrol": SCONTROL, "ray": RAY, "python": PYTHON}.items():
            (binaries / name).write_text(HEADER + body)
            (binaries / name).chmod(0o755)
        self.log, self.runs = place / "log", place / "runs"
        self.log.touch()
        # Names a folder in /tmp, unique to this test run.
        self.id = str(90_000_000 + os.getpid())
        environment = {
            "LOG": str(self.log),
            "RAYSYS_CORPUS_ROOT": str(place / "corpus"),
            "RAYSYS_RUN_ROOT": str(self.runs),
            "RAYSYS_VENV": str(place / "venv"),
            "RAYSYS_HEAD_IP": "127.0.0.1",
            "RAY_AUTH_TOKEN": "somebody-elses",
            "SLURM_SUBMIT_DIR": str(ROOT),
            "SLURM_JOB_ID": self.id,
            "SLURM_JOB_NODELIST": "n1 n2 n3",
            "SLURM_CPUS_ON_NODE": "8",
        }
        self.process = subprocess.Popen(
            ["bash", str(SCRIPT), *flags],
            env=os.environ | environment | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def lines(self, start: str) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if line.startswith(start)]

    def nodes(self) -> list[str]:
        """What each `ray start` saw when it started."""
        return [line for line in self.lines("ray -") if not line.endswith("ended")]

    def signal_when_running(self, number: signal.Signals) -> None:
        deadline = time.monotonic() + 30
        while not (self.lines("driver ") and len(self.nodes()) == 3):
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)
        self.process.send_signal(number)

    def end(self) -> int:
        self.output, _ = self.process.communicate(timeout=60)
        return self.process.returncode


@pytest.fixture
def jobs() -> Iterator[list[Job]]:
    started: list[Job] = []
    yield started
    for job in started:
        groups = Path(f"{job.log}.groups")
        for group in [job.process.pid, *map(int, groups.read_text().split() if groups.exists() else [])]:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)


def nothing_left(job: Job) -> bool:
    return list(job.runs.iterdir()) == [] and not Path(f"/tmp/raysys-{job.id}").exists()


def test_it_is_valid_bash() -> None:
    subprocess.run(["bash", "-n", SCRIPT], check=True)


@pytest.mark.parametrize("to_all", ["", "yes"])
def test_a_job_starts_head_and_workers_and_stops_them(tmp_path: Path, jobs: list[Job], to_all: str) -> None:
    jobs.append(job := Job(tmp_path, "--train.seed", "1", CODE="0", TO_ALL=to_all))
    assert job.end() == 0, job.output
    address = f"127.0.0.1:{20_000 + int(job.id) % 10_000}"
    head, others = sorted(job.lines("srun"), key=lambda line: "--head" not in line)
    assert "--nodelist=n1 " in head
    assert "--node-ip-address=127.0.0.1" in head
    assert f"--port={address.split(':')[1]}" in head
    assert "--nodes=2 --ntasks=2 --exclude=n1 " in others
    assert f"--address={address}" in others
    (driver,) = job.lines("driver")
    assert driver.startswith(f"driver {address} jobs/crossval.py --preset paper ")
    assert driver.endswith(f"--corpus.name iemocap --train.seed 1 {tmp_path}/corpus {tmp_path}/runs")
    ended = [line.split()[1] for line in job.lines("ray -") if line.endswith("ended")]
    assert sorted(ended) == [f"--address={address}", f"--address={address}", "--head"]
    assert nothing_left(job)
    assert not job.lines("scontrol")


def test_every_node_has_the_jobs_own_token_from_a_file_that_others_cannot_read(tmp_path: Path, jobs: list[Job]) -> None:
    jobs.append(job := Job(tmp_path, CODE="0"))
    job.end()
    seen = [line.split()[2:] for line in job.nodes()]
    assert seen == [["token", "600", "700", "64", "no-other"]] * 3
    assert "somebody-elses" not in job.output


def test_before_the_time_limit_the_driver_ends_and_the_job_is_requeued(tmp_path: Path, jobs: list[Job]) -> None:
    jobs.append(job := Job(tmp_path))
    job.signal_when_running(signal.SIGUSR1)
    assert job.end() == 75
    assert job.lines("driver SIGTERM") == ["driver SIGTERM"]
    # Last of all: Slurm kills the job for it.
    assert job.lines("scontrol") == [f"scontrol requeue {job.id}; left: "]
    assert nothing_left(job)


def test_a_cancelled_job_is_not_requeued(tmp_path: Path, jobs: list[Job]) -> None:
    jobs.append(job := Job(tmp_path))
    job.signal_when_running(signal.SIGTERM)
    assert job.end() == 75
    assert job.lines("driver SIGTERM") == ["driver SIGTERM"]
    assert not job.lines("scontrol")
    assert nothing_left(job)


def test_a_user_error_sets_the_jobs_exit_code(tmp_path: Path, jobs: list[Job]) -> None:
    jobs.append(job := Job(tmp_path, CODE="2"))
    assert job.end() == 2
    assert nothing_left(job)


def test_a_driver_without_a_head_is_ended(tmp_path: Path, jobs: list[Job]) -> None:
    jobs.append(job := Job(tmp_path, HEAD_DIES="1"))
    assert job.end() == 75
    assert "the head's Slurm step ended before the driver" in job.output
    assert nothing_left(job)


@pytest.mark.parametrize("foreign", ["a link", "another user's"])
def test_another_users_ray_folder_is_neither_used_nor_touched(tmp_path: Path, jobs: list[Job], foreign: str) -> None:
    """Its name can be guessed: whoever created it first would own Ray's sockets."""
    folder, theirs = Path(f"/tmp/raysys-{90_000_000 + os.getpid()}"), tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "file").touch()
    if foreign == "a link":
        folder.symlink_to(theirs)
    elif os.geteuid() == 0:
        theirs.rename(folder)
        os.chown(folder, 65_534, 65_534)
    else:
        pytest.skip("only root gives a folder away")
    try:
        jobs.append(job := Job(tmp_path, CODE="0"))
        assert job.end() != 0
        assert f"{folder} on " in job.output and "is another user's" in job.output
        assert not job.nodes()
        assert (folder / "file").exists()
    finally:
        folder.unlink() if folder.is_symlink() else shutil.rmtree(folder)


def test_rays_folder_is_private_to_its_user(tmp_path: Path, jobs: list[Job]) -> None:
    jobs.append(job := Job(tmp_path))
    job.signal_when_running(signal.SIGTERM)
    mode = Path(f"/tmp/raysys-{job.id}").stat().st_mode & 0o777
    job.end()
    assert mode == 0o700
    assert nothing_left(job)


def test_a_missing_variable_is_named(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAYSYS_")}
    ended = subprocess.run(["bash", SCRIPT], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    assert "RAYSYS_CORPUS_ROOT: the absolute path of IEMOCAP" in ended.stderr
