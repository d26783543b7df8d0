"""A trial's stored result."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from raysys.results import RESULT, FoldResult
from raysys.storage import Folder
from tests.runs.results import fold_result


def test_a_result_is_read_back_only_for_its_own_trial(tmp_path: Path) -> None:
    folder = Folder.at(str(tmp_path))
    assert FoldResult.read(folder, "t") is None
    written = fold_result("t", notes=("a checkpoint was damaged",), wa=None, ua=None, confusion=None, gpu="H100")
    written.write(folder)
    assert FoldResult.read(folder, "t") == written
    assert FoldResult.read(folder, "another") is None


def test_a_result_of_another_version_with_other_fields_is_anothers(tmp_path: Path) -> None:
    (tmp_path / RESULT).write_text(json.dumps({"trial_id": "of an older version", "fold": 1}))
    assert FoldResult.read(Folder.at(str(tmp_path)), "t") is None


def test_the_row_of_results_json_names_the_trials_folder_and_no_machine() -> None:
    row = fold_result("t", fold=2).row("folds/2", {"test": {"joy": 0}})
    assert (row.fold, row.trial, row.ua) == (2, "folds/2", 0.5)
    assert not dataclasses.asdict(row).keys() & {"node", "process", "started", "confusion"}
