"""A finished run of the whole paper, with made-up predictions."""

from __future__ import annotations

from pathlib import Path

from raysys.report.paper import MISSING, PaperRun
from raysys.storage import Folder
from tests.report.run_folder import write_run

EIGHT = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")


def write_paper(root: Path, *, ravdess: bool = True) -> Folder:
    """Of IEMOCAP and, unless it was not given, RAVDESS."""
    grids, ablations = {"iemocap": "gridsearch-iemocap"}, {"iemocap": "ablation-iemocap"}
    write_run(root, "gridsearch", corpus="iemocap")
    write_run(root, "ablation", corpus="iemocap")
    if ravdess:
        grids["ravdess"] = "gridsearch-ravdess"
        write_run(root, "gridsearch", corpus="ravdess", classes=EIGHT)
    folder = Folder.at(str(root))
    PaperRun(grids=grids, ablations=ablations, notes=() if ravdess else (MISSING["ravdess"],)).write(folder)
    return folder
