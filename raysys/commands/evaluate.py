"""Score a trained model on a corpus that it has not learned from, and under noise, telephone, rooms and the like.

Example: evaluate runs/mine --corpus.name ravdess --corpus.root RAVDESS --corpus.emotion-map angry=ang sad=sad calm=
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from raysys.cli import exit_codes
from raysys.config import CorpusConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluate:
    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    """Folder or address of a model, or of a finished run: its final model, otherwise the ensemble of its folds."""
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    robustness: bool = False
    """Also under white noise at four levels, telephone band, low gain, clipping, reverberation and MP3."""
    out: str | None = None
    """Folder or address for evaluation.json, evaluation.html and predictions.parquet. Default: nothing is written."""
    cache: str = "runs/.cache"
    """Where what is known of audio files is kept, and the demo corpus is generated."""


def main() -> None:
    with exit_codes():
        command = tyro.cli(Evaluate, description=__doc__)
        # Imported once the flags are known to be right: torch takes seconds.
        from raysys.evaluation.job import evaluate

        evaluate(
            command.model, command.corpus, cache=Path(command.cache), out=command.out, robustness=command.robustness
        )
