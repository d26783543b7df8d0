"""Taking over what another run trained: the same trial's result alone, whole, and never twice."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from raysys.results import RESULT
from raysys.runs.adopt import adopt
from raysys.runs.trial import HISTORY, LEFT, TEST_CURVE, Trial
from raysys.storage import Folder
from tests.runs.results import result_of, trial_in


def finished(run: Path, **values: float) -> Trial:
    trial = dataclasses.replace(trial_in(run), point="alpha=1", test_curve=True)
    trial.folder.write_bytes(HISTORY, b'{"epoch": 0}\n')
    trial.folder.write_json(TEST_CURVE, [[[1, 0], [0, 1]]])
    trial.folder.write_bytes("best.safetensors", b"weights")
    result_of(trial, **values).write(trial.folder, LEFT)
    return trial


def test_the_same_trial_is_taken_over_with_all_but_its_weights(tmp_path: Path) -> None:
    grid = finished(tmp_path / "grid", ua=0.75)
    # Under another name, in another run: the id is the same.
    own = dataclasses.replace(grid, run=str(tmp_path / "ablation"), point="full, alpha=1")
    assert own.trial_id == grid.trial_id
    assert adopt([own], Folder.at(grid.run)) == 1
    found = own.result()
    assert found is not None and found.ua == 0.75
    assert own.tested_epochs() == [[[1, 0], [0, 1]]]
    assert own.folder.names() == sorted([HISTORY, TEST_CURVE, RESULT])


def test_another_trial_is_not_taken_over(tmp_path: Path) -> None:
    grid = finished(tmp_path / "grid")
    other = dataclasses.replace(grid, run=str(tmp_path / "ablation"), fold=2)
    without_curve = dataclasses.replace(grid, run=str(tmp_path / "ablation"), test_curve=False)
    assert adopt([other, without_curve], Folder.at(grid.run)) == 0
    assert other.result() is None and without_curve.result() is None


def test_an_own_result_stays_and_a_damaged_one_is_not_taken(tmp_path: Path) -> None:
    grid = finished(tmp_path / "grid", ua=0.75)
    own = finished(tmp_path / "ablation", ua=0.5)
    assert adopt([own], Folder.at(grid.run)) == 1
    found = own.result()
    assert found is not None and found.ua == 0.5
    grid.folder.write_json(TEST_CURVE, [])
    new = dataclasses.replace(grid, run=str(tmp_path / "new"))
    assert adopt([new], Folder.at(grid.run)) == 0 and new.result() is None


def test_a_copy_that_was_interrupted_is_not_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = finished(tmp_path / "grid")
    own = dataclasses.replace(grid, run=str(tmp_path / "ablation"))
    write = Folder.write_bytes

    def killed(self: Folder, name: str, data: bytes) -> None:
        if name == TEST_CURVE:
            raise KeyboardInterrupt
        write(self, name, data)

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "write_bytes", killed)
        with pytest.raises(KeyboardInterrupt):
            adopt([own], Folder.at(grid.run))
    assert own.folder.exists(HISTORY) and own.result() is None
    assert adopt([own], Folder.at(grid.run)) == 1 and own.result() is not None
