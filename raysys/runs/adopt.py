"""Take over what another run of the same code, corpus and configuration has trained already."""

from __future__ import annotations

from collections.abc import Sequence

from raysys.errors import DamagedError
from raysys.results import RESULT, FoldResult
from raysys.runs.trial import LEFT, Trial
from raysys.storage import Folder


def adopt(trials: Sequence[Trial], run: Folder) -> int:
    """Copy the results of those trials that another run has finished; weights stay there.

    A trial's id is a hash of everything that its result depends on, so an equal id is the same trial.

    Args:
        run: the other run's folder, with its trials where this run has them.

    Returns: how many of the trials the other run has finished.
    """
    adopted = 0
    for trial in trials:
        theirs = run / trial.place
        try:
            found = FoldResult.read(theirs, trial.trial_id)
        except DamagedError:
            # Trained here, since that run is finished and would not notice.
            continue
        if found is None:
            continue
        adopted += 1
        if trial.result() is None:
            for name in LEFT:
                if theirs.exists(name):
                    trial.folder.write_bytes(name, theirs.read_bytes(name))
            # Last: it says that the trial is finished.
            trial.folder.write_bytes(RESULT, theirs.read_bytes(RESULT))
    return adopted
