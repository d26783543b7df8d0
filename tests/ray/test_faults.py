"""Faults caused for real during a run: it ends with the very predictions of an undisturbed one.

The tests that run at each change hurt one run in turn, and each goes on from where the one before left it; each works
alone too. What takes minutes more is in nightly tests.
"""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from raysys.cli import TERMINATED, parse
from raysys.data.cache import INDEX
from raysys.errors import StorageError
from raysys.runs.crossval import crossval
from raysys.storage import Folder
from raysys.training import checkpoint, checkpoint_files
from raysys.training.watchdog import STOP
from tests.ray.conftest import Head

pytestmark = pytest.mark.cluster
slow, nightly = pytest.mark.slow, pytest.mark.nightly
ROOT = Path(__file__).resolve().parents[2]
EPOCHS = 40
SPEAKERS = ("ana", "bo", "cy")
FOLDS = (1, 2, 3)
"""Each tests one speaker, and is named after them."""
STREAMED = ("--augment.variants", "0", "--train.epochs", "4")
"""Tasks of Ray Data fetch and augment while a trial trains, ahead of it."""
LIMIT_S = 600.0


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three speakers, 16 noisy tones each."""
    folder = tmp_path_factory.mktemp("corpus")
    generator = np.random.default_rng(0)
    rows = []
    for speaker in SPEAKERS:
        for i in range(16):
            seconds = np.arange(int(16_000 * generator.uniform(0.4, 0.8))) / 16_000
            tone = 0.3 * np.sin(2 * np.pi * (250 + 150 * (i % 2)) * seconds)
            path = folder / f"{speaker}{i}.wav"
            soundfile.write(path, tone + 0.3 * generator.standard_normal(len(seconds)), 16_000)
            rows.append([f"{speaker}-{i}", path.name, speaker, ("low", "high")[i % 2]])
    table = folder / "table.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["utterance_id", "audio_path", "speaker", "emotion"])
        writer.writerows(rows)
    return table


@dataclass(frozen=True)
class Runs:
    """Runs of one configuration under several names; each a job of its own process."""

    head: Head
    root: Path
    flags: tuple[str, ...]

    def command(self, name: str, *more: str, root: Path | None = None, job: str = "crossval") -> list[str]:
        where = ["--run.root", str(root or self.root), "--run.cache", str(self.root / "cache"), "--run.name", name]
        return [sys.executable, str(ROOT / "jobs" / f"{job}.py"), *self.flags, *where, *more]

    def start(
        self, name: str, *more: str, root: Path | None = None, job: str = "crossval", alone: bool = False
    ) -> subprocess.Popen[str]:
        """`alone`: with a cluster of its own, in a process group of its own."""
        environment = self.head.environment | {"PYTHONUNBUFFERED": "1"}
        if alone:
            del environment["RAY_ADDRESS"]
        return subprocess.Popen(
            self.command(name, *more, root=root, job=job),
            env=environment,
            process_group=0 if alone else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # As from a terminal: a script's background, where these tests may run, ignores Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def finish(self, name: str, *more: str, root: Path | None = None, job: str = "crossval") -> str:
        """Run to the end. Returns: what it printed."""
        return ended(self.start(name, *more, root=root, job=job))

    def predictions(self, name: str, root: Path | None = None) -> pa.Table:
        return pq.read_table((root or self.root) / name / "predictions.parquet")

    def results(self, name: str) -> dict[str, Any]:
        results: dict[str, Any] = json.loads((self.root / name / "results.json").read_text())
        return results


def ended(process: subprocess.Popen[str], code: int = 0) -> str:
    said, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == code, said[-4000:]
    return said


@pytest.fixture(scope="module")
def runs(head: Head, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """With an undisturbed run, under the name 'whole'. Views are made beforehand, so that no tasks fetch for trials."""
    flags = ["--corpus.name", "table", "--corpus.root", str(corpus), "--corpus.modalities", "audio"]
    flags += ["--train.epochs", str(EPOCHS), "--train.batch-size", "4", "--augment.variants", "2", "--track.no-wandb"]
    flags += ["--model.width", "16", "--model.feed-forward", "24"]
    made = Runs(head, tmp_path_factory.mktemp("runs"), tuple(flags))
    made.finish("whole")
    return made


def epochs(run: Path, fold: int = 1) -> int:
    history = run / "folds" / str(fold) / "history.jsonl"
    return len(history.read_text().splitlines()) if history.exists() else 0


def until(true: Callable[[], Any], process: subprocess.Popen[str] | None = None) -> Any:
    """Wait for something; what it is when it is there."""
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        if found := true():
            return found
        if process is not None and process.poll() is not None:
            raise AssertionError(f"it ended with {process.returncode}:\n{process.communicate()[0][-4000:]}")
        time.sleep(0.02)
    raise AssertionError("nothing happened")


def training(run: Path, process: subprocess.Popen[str]) -> tuple[int, dict[str, Any]]:
    """Wait until a fold has trained for some epochs in this process. Returns: the fold, and its worker."""
    before = {fold: epochs(run, fold) for fold in FOLDS}

    def fold_at_work() -> int | None:
        return next((n for n in FOLDS if max(2, before[n]) < epochs(run, n) < EPOCHS), None)

    fold = until(fold_at_work, process)
    return fold, until(lambda: worker_of(run, fold))


def worker_of(run: Path, fold: int) -> dict[str, Any]:
    """The worker of a fold, as it says itself; empty where none trains."""
    with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
        found: dict[str, Any] = json.loads((run / "folds" / str(fold) / "worker-0.json").read_text())
        return found
    return {}


@slow
def test_a_run_hurt_by_sigkill_sigterm_and_ctrl_c_in_turn_predicts_what_an_undisturbed_one_does(runs: Runs) -> None:
    run = runs.root / "hurt"
    process = runs.start("hurt")
    fold, worker = training(run, process)
    # SIGKILL of a trial's process: another one takes over.
    os.kill(worker["pid"], signal.SIGKILL)
    done = epochs(run, fold)
    until(lambda: worker_of(run, fold).get("pid") != worker["pid"] and done < epochs(run, fold) < EPOCHS, process)
    # While it runs nobody else may, nor leave anything of its own there.
    config = (run / "config.yaml").read_bytes()
    with pytest.raises(StorageError, match="another run is using this folder"):
        crossval(parse(runs.command("hurt", "--cluster.max-concurrent-trials", "1")[2:]).config)
    assert (run / "config.yaml").read_bytes() == config
    # SIGKILL of the driver; and what it leaves is damaged too.
    process.kill()
    assert f"fold {fold}: its process was lost; it resumes from its last checkpoint" in process.communicate()[0]
    damaged, before = damage_checkpoint(run)
    done = epochs(run, damaged)
    # SIGTERM to the process group, as `timeout` sends it, of a run with a cluster of its own.
    process = runs.start("hurt", alone=True)
    until(lambda: done < epochs(run, damaged) < EPOCHS, process)
    os.killpg(process.pid, signal.SIGTERM)
    said = ended(process, TERMINATED)
    assert "the same command resumes where it stopped" in said
    last = run / "folds" / str(damaged) / checkpoint_files.LAST
    assert f"fold {damaged}: {last} is damaged" in said
    assert f"fold {SPEAKERS[damaged - 1]:<3}  epoch {before + 1:3d}/{EPOCHS}" in said
    assert f"fold {SPEAKERS[damaged - 1]:<3}  epoch {before:3d}/{EPOCHS}" not in said, (
        "it did not go on from the checkpoint before"
    )
    # Had the cluster's head died with the group, nothing of an unfinished epoch would be there.
    kept = [checkpoint.load(Folder.at(str(run)) / f"folds/{n}", checkpoint_files.LAST) for n in FOLDS]
    assert any(state is not None and "step/losses" in state[0] for state in kept)
    # Ctrl-C, once it trains again, does the same; partial results are not reported as complete.
    process = runs.start("hurt")
    training(run, process)
    process.send_signal(signal.SIGINT)
    said = ended(process, 130)
    assert "saving the state of all trials" in said and "stopped; the same command resumes" in said
    assert "Traceback" not in said
    assert not (run / "results.json").exists()
    runs.finish("hurt")
    assert runs.predictions("hurt").equals(runs.predictions("whole"))
    assert any(str(last) in note for note in runs.results("hurt")["notes"])


def damage_checkpoint(run: Path) -> tuple[int, int]:
    """Cut off the last checkpoint of a fold that has two. Returns: the fold, and the epochs in the one before."""
    until(lambda: _settled(run))
    for fold in FOLDS:
        folder = Folder.at(str(run / "folds" / str(fold)))
        state = checkpoint.load(folder, checkpoint_files.BEFORE)
        if state is None:
            continue
        last = run / "folds" / str(fold) / checkpoint_files.LAST
        # Killed between the two files there is none; what is there then instead is as damaged.
        whole = last if last.exists() else last.with_name(checkpoint_files.BEFORE)
        last.write_bytes(whole.read_bytes()[:-100])
        before = len(state[1]["history"])
        assert 2 <= before < EPOCHS
        return fold, before
    raise AssertionError("no fold has two checkpoints")


def _settled(run: Path) -> bool:
    """Whether nobody trains there any more."""
    done = [epochs(run, fold) for fold in FOLDS]
    time.sleep(2)
    return [epochs(run, fold) for fold in FOLDS] == done


@nightly
def test_a_killed_data_task_is_done_again(runs: Runs) -> None:
    runs.finish("streamed", *STREAMED)
    process = runs.start("task", *STREAMED)
    killed: set[int] = set()
    while len(killed) < 3:
        # Its title is this only while it is at a task.
        at_work = until(lambda: _process("ray::MapBatches(_fetch)"), process)
        os.kill(at_work, signal.SIGKILL)
        killed.add(at_work)
    ended(process)
    assert runs.predictions("task").equals(runs.predictions("streamed"))


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def _process(title: str) -> int | None:
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{entry}/cmdline").read_bytes().startswith(title.encode()):
                    return int(entry)
    return None


@nightly
def test_a_worker_that_hangs_is_ended_and_goes_on(runs: Runs) -> None:
    process = runs.start("hang", "--cluster.hang-limit-s", "12")
    run = runs.root / "hang"
    fold, worker = training(run, process)
    # Workers read this file every five seconds: opening a pipe into which nobody writes never returns.
    stop, pipe = run / STOP, run / "pipe"
    text = stop.read_text()
    os.mkfifo(pipe)
    pipe.replace(stop)
    until(lambda: not Path(f"/proc/{worker['pid']}").exists(), process)
    (run / "file").write_text(text)
    (run / "file").replace(stop)
    said = ended(process)
    assert f"fold {fold}: its process was lost; it resumes from its last checkpoint" in said
    assert f"fold {fold}: no step for 12 s; the process ended itself and was restarted" in said
    assert runs.predictions("hang").equals(runs.predictions("whole"))


@pytest.fixture
def little_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for two folds at once, of some 5 MB each, and little more."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"only root may mount a file system here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Returns: the file that takes all the room that was left."""
    ballast = disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb") as file:
        while True:
            file.write(bytes(4096))
            file.flush()
    return ballast


@nightly
def test_a_full_cache_and_a_flipped_bit_in_it_are_named(runs: Runs, little_disk: Path) -> None:
    cache = little_disk / "cache"
    cache.mkdir()
    ballast = fill(little_disk)
    flags = ["--run.cache", str(cache), *STREAMED]
    said = ended(runs.start("cached", *flags), 2)
    assert "cannot be written" in said and "Check free space" in said and "Traceback" not in said
    ballast.unlink()
    runs.finish("cached", *flags, job="prepare")
    (part,) = cache.glob("waveforms-*/part-00000.arrow")
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    # A task of the data finds it, in a trial's fold; the message is the task's own.
    said = ended(runs.start("cached", *flags), 2)
    assert f"{part}: utterance" in said and "does not match its checksum" in said and "Traceback" not in said
    assert not (part.parent / INDEX).exists(), "the next run would read it again"


@nightly
def test_a_full_disk_ends_the_run_with_a_message_and_costs_no_checkpoint(runs: Runs, little_disk: Path) -> None:
    run = little_disk / "full"
    process = runs.start("full", root=little_disk)
    hurt, _ = training(run, process)
    ballast = fill(little_disk)
    said = ended(process, 2)
    assert "cannot be written" in said and "Check free space" in said
    assert "Traceback" not in said
    ballast.unlink()
    folders = {fold: Folder.at(str(run)) / f"folds/{fold}" for fold in FOLDS}
    kept = {
        n: checkpoint.load(f, checkpoint_files.LAST) or checkpoint.load(f, checkpoint_files.BEFORE)
        for n, f in folders.items()
    }
    found = kept[hurt]
    assert found is not None and found[1]["epoch"] >= 2
    again = runs.finish("full", root=little_disk)
    for fold, state in kept.items():
        began_anew = f"fold {SPEAKERS[fold - 1]:<3}  epoch   1/{EPOCHS}" in again
        assert began_anew == (state is None), again
    assert runs.predictions("full", little_disk).equals(runs.predictions("whole"))


@nightly
def test_a_point_whose_loss_is_not_finite_fails_alone_and_its_process_goes(runs: Runs) -> None:
    flags = ["--grid", "optim.lr=0.001,1e30", "--optim.warmup", "0", "--train.epochs", "2"]
    said = runs.finish("grid", *flags, job="gridsearch")
    assert "failed: epoch" in said and "the loss is not finite" in said
    grid = runs.results("grid")["grid"]
    assert (grid["n_trials"], grid["n_failed"]) == (6, 3)
    good, bad = grid["points"]
    assert good["validation_ua"] is not None
    assert bad["stopped"] and bad["validation_ua"] is None and bad["test_ua"] is None
    # Who failed is still there to be read; who ended well left no trace.
    trials = runs.root / "grid" / "trials"
    failed = {worker["pid"]: worker["at"] for worker in map(read_json, trials.glob("*/worker-0.json"))}
    ended_well = list(map(read_json, trials.glob("*/result.json")))
    assert len(failed) == 3 and len(ended_well) == 3
    for result in ended_well:
        failed_at = failed.get(int(result["process"].split()[1]), math.inf)
        assert result["started"] < failed_at, "a process went on after a failure in it"
