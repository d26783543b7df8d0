"""What a run's second view changes, measured before its first trial and told with what else is known by then."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial

from raysys.data.change import Change, change_line, change_notes, mean_change
from raysys.data.tasks import run_tasks
from raysys.data.views import Source
from raysys.runs.inputs import Ground
from raysys.runs.trial import Trial


def with_change(ground: Ground, trials: Sequence[Trial]) -> Ground:
    """The ground with how much the second view changes the audio, and a note if that is next to nothing.

    Of a sweep it is measured for the first trial that has a second audio view, on its fold's training part.
    """
    trial = next((trial for trial in trials if trial.config.augments_audio), None)
    if trial is None:
        return ground
    augment = trial.config.augment
    change = _measured(trial.source, ground.folds[trial.fold].train)
    notes = change_notes(change, augment, contrasts=trial.config.loss.contrasts)
    run = dataclasses.replace(ground.run, notes=(*ground.run.notes, *notes))
    return dataclasses.replace(ground, run=run, second_view=change_line(change, augment))


def _measured(source: Source, names: Sequence[str]) -> Change | None:
    if dataclasses.replace(source, features=None).is_made:
        return mean_change(source, names)
    # Views are computed: in a task, since this process would import torch for it.
    (change,) = run_tasks(partial(mean_change, names=names), [source], at_once=1)
    return change
