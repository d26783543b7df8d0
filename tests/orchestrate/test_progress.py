"""The line that each epoch prints."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

from raysys.orchestrate.progress import Progress


def epoch(fold: int, number: int) -> dict[str, Any]:
    return {"fold": fold, "epoch": number, "loss_total": 1.25, "validation_ua": 0.5}


def test_folds_are_named_and_stand_in_columns() -> None:
    screen = io.StringIO()
    progress = Progress(2, 10, screen, {0: "Session1", 1: "All"})
    for fold in (0, 1):
        progress.on_trial_result(1, [], SimpleNamespace(), epoch(fold, 2))
    first, second = (line.split("] ", 1)[1] for line in screen.getvalue().splitlines())
    assert first == "fold Session1  epoch   3/10  loss  1.250  validation UA  50.0"
    assert second.startswith("fold All       epoch   3/10  loss  1.250  validation UA  50.0  about ")


def test_a_message_of_a_trial_that_trained_nothing_is_no_line() -> None:
    screen = io.StringIO()
    Progress(1, 10, screen, {}).on_trial_result(1, [], SimpleNamespace(), {"error": "the loss is not finite"})
    assert screen.getvalue() == ""
