"""Following trials: what is printed, retried and deleted, and what SIGTERM waits for. Ray is not started."""

from __future__ import annotations

import dataclasses
import io
import os
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.experiment import Trial as TuneTrial

from raysys.config import ClusterConfig, ExperimentConfig, TrainConfig
from raysys.errors import StorageError
from raysys.runs import follow
from raysys.runs.follow import MAX_FAILURES, Follow
from raysys.runs.ledger import Ledger
from raysys.runs.lines import EpochLines, TrialLines
from raysys.runs.trial import Trial
from raysys.storage import Folder
from raysys.termination import Terminated, came, handling, raise_terminated
from raysys.training.watchdog import tell, to_stop
from tests.runs.results import trial_in


def own_trial(run: Path, fold: int, workers: int = 1) -> Trial:
    config = ExperimentConfig(cluster=ClusterConfig(workers_per_trial=workers))
    return dataclasses.replace(trial_in(run), config=config, fold=fold)


def follow_in(run: Path, *trials: Trial, screen: io.StringIO | None = None) -> Follow:
    own = trials or (own_trial(run, 0),)
    return Follow(own, Ledger(own, keep="all"), TrialLines(own), screen or io.StringIO())


def trial(number: int, failures: int = 0) -> Any:
    """As reported by Tune."""
    return SimpleNamespace(config={"trial": number}, max_failures=MAX_FAILURES, num_failures=failures)


EPOCH = {"epoch": 0, "loss_total": 1.25, "validation_ua": 0.5}


class Clock:
    now = 0.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(follow.time, "monotonic", lambda: made.now)
    return made


def test_a_run_that_waits_for_a_node_reports_it_once(tmp_path: Path, clock: Clock) -> None:
    screen = io.StringIO()
    watched = follow_in(tmp_path, screen=screen)

    def pass_by(seconds: int) -> str:
        before = len(screen.getvalue())
        for _ in range(0, seconds, 6):
            clock.now += 6
            watched.on_step_begin(0, [])
        return screen.getvalue()[before:]

    assert pass_by(54) == ""
    assert pass_by(120).count("2 free CPUs, and GPUs, for a worker") == 1
    watched.on_trial_start(0, [], trial(0))
    assert pass_by(120) == ""
    watched.on_trial_recover(0, [], trial(0))
    assert pass_by(120).count("no trial has been running") == 1


def test_a_user_error_is_not_retried(tmp_path: Path) -> None:
    screen = io.StringIO()
    watched = follow_in(tmp_path, screen=screen)
    good, bad = trial(0), trial(0)
    watched.on_trial_result(0, [], good, EPOCH | {"note": "last.safetensors is damaged"})
    watched.on_trial_result(0, [], bad, {"error": "the loss is not finite", "its_own": True})
    assert (good.max_failures, bad.max_failures) == (MAX_FAILURES, 0)
    assert screen.getvalue() == "note      fold 1: last.safetensors is damaged\n"


def test_a_trial_that_makes_progress_may_lose_any_number_of_machines(tmp_path: Path) -> None:
    watched = follow_in(tmp_path)
    # Tune's own trial class: it decides by these two counts whether to restart.
    lost = TuneTrial("trial", config={"trial": 0}, max_failures=MAX_FAILURES, stub=True)
    for _ in range(5 * MAX_FAILURES):
        lost.run_metadata.num_failures += 1
        assert lost.should_recover()
        watched.on_trial_result(0, [], lost, EPOCH)
    for _ in range(MAX_FAILURES):
        lost.run_metadata.num_failures += 1
        assert lost.should_recover()
        watched.on_trial_result(0, [], lost, {})
    lost.run_metadata.num_failures += 1
    assert not lost.should_recover(), "it would fail forever"


def _step(watched: Follow) -> None:
    """As Tune does, for a while."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        watched.on_step_begin(0, [])
        time.sleep(0.02)


def test_sigterm_asks_all_to_stop_and_waits_for_those_that_can(tmp_path: Path) -> None:
    watched = follow_in(tmp_path, own_trial(tmp_path, 0), own_trial(tmp_path, 1), own_trial(tmp_path, 2, workers=2))
    for number in range(3):
        watched.on_trial_start(0, [], trial(number))
    watched.on_trial_complete(0, [], trial(1))

    def keep() -> None:
        while not to_stop(Folder.at(str(tmp_path))):
            time.sleep(0.01)
        time.sleep(0.3)
        # It has saved its state, and ends as one the user must restart.
        watched.on_trial_error(0, [], trial(0))

    tell(Folder.at(str(tmp_path)), stop=False)
    thread = threading.Thread(target=keep)
    thread.start()
    began = time.monotonic()
    before = signal.getsignal(signal.SIGTERM)
    try:
        with handling(watched.stop):
            watched.on_step_begin(0, [])
            os.kill(os.getpid(), signal.SIGTERM)
            with pytest.raises(Terminated):
                _step(watched)
    finally:
        signal.signal(signal.SIGTERM, before)
        thread.join()
    assert time.monotonic() - began > 0.3


@pytest.mark.parametrize("disk", ["whole", "full"])
def test_sigterm_ends_a_run_though_a_trial_does_not_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: str
) -> None:
    def full(*_: object) -> None:
        raise StorageError("cannot be written")

    monkeypatch.setattr(follow, "_GRACE_S", 0.3)
    if disk == "full":
        monkeypatch.setattr(Folder, "write_json", full)
    watched = follow_in(tmp_path)
    watched.on_trial_start(0, [], trial(0))
    before = signal.getsignal(signal.SIGTERM)
    try:
        watched.stop(signal.SIGTERM)
        with pytest.raises(Terminated):
            _step(watched)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_trial_that_saves_its_state_at_sigterm_has_not_failed(tmp_path: Path) -> None:
    screen = io.StringIO()
    watched = follow_in(tmp_path, screen=screen)
    watched.on_trial_start(0, [], trial(0))
    before = signal.getsignal(signal.SIGTERM)
    try:
        watched.stop(signal.SIGTERM)
        watched.on_trial_result(0, [], trial(0), {"error": "stopped in epoch 1, at step 7", "its_own": False})
        watched.on_trial_error(0, [], trial(0))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "failed" not in screen.getvalue()


def test_ctrl_c_asks_trials_to_stop_only_once(tmp_path: Path) -> None:
    watched = follow_in(tmp_path)
    watched.on_trial_start(0, [], trial(0))
    # pytest itself may have been started in the background of a script.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with handling(watched.stop):
        # It raises nothing in the code it interrupts.
        signal.raise_signal(signal.SIGINT)
        watched.on_step_begin(0, [])
        assert to_stop(Folder.at(str(tmp_path)))
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        watched.on_trial_error(0, [], trial(0))
        with pytest.raises(KeyboardInterrupt) as raised:
            watched.on_step_begin(0, [])
    assert not isinstance(raised.value, Terminated) and not came(), "it would end with SIGTERM's code"
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler


def test_ctrl_c_stays_ignored_if_it_was() -> None:
    """As in the background of a script, whose terminal belongs to another program."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with handling(raise_terminated):
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_second_signal_does_not_interrupt_the_shutdown() -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        with handling(raise_terminated), pytest.raises(Terminated):
            signal.raise_signal(signal.SIGTERM)
        assert came()
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_line_tells_the_score_that_selects(tmp_path: Path) -> None:
    own = own_trial(tmp_path, 0)
    for by, said in (("macro_f1", "validation macro-F1   7.5"), ("loss", "validation loss 1.125")):
        chosen = dataclasses.replace(own, config=dataclasses.replace(own.config, train=TrainConfig(select=by)))
        epoch = EPOCH | {"validation_macro_f1": 0.075, "validation_loss": 1.125}
        assert EpochLines([chosen], {0: "S1"}).epoch(chosen, epoch).endswith(said)


def test_folds_are_named_and_aligned_in_columns(tmp_path: Path) -> None:
    own = [own_trial(tmp_path, fold) for fold in (0, 1)]
    lines = EpochLines(own, {0: "Session1", 1: "All"})
    epochs = own[0].config.train.epochs
    first, second = (lines.epoch(t, EPOCH | {"epoch": 2}).split("] ", 1)[1] for t in own)
    assert first == f"fold Session1  epoch   3/{epochs}  loss  1.250  validation UA  50.0"
    assert second.startswith(f"fold All       epoch   3/{epochs}  loss  1.250  validation UA  50.0  about ")
