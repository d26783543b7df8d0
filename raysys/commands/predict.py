"""Apply a trained model to recordings: files, folders, patterns, tables, on disks or in object stores.

Example: predict runs/mine calls/ --out emotions.parquet
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro

from raysys.cli import exit_codes


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFlags:
    address: str | None = None
    """Address of a running Ray cluster. Default: the cluster that a submitted job runs in; otherwise start one here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Predict:
    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    """Folder or address of a model, or of a finished run: its final model, otherwise the ensemble of its folds."""
    inputs: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="INPUT")]
    """Recordings: files, folders (with all below them), quoted patterns, addresses such as s3://bucket/calls, or tables
    (.csv, .parquet) with a column audio_path and, if you like, transcript, start_s and end_s."""
    out: str
    """File or address to write: .parquet, .csv or .jsonl. Results are kept beside it, in OUT.parts, until all are
    there; the same command continues from them."""
    segments: Literal["none", "fixed", "speech"] = "none"
    """none: a row for each recording. fixed: for each window of --segment-s. speech: for each stretch of speech, which
    needs raysys[vad]."""
    segment_s: float = 5.0
    """Length of the windows, or of the longest stretch of speech, in seconds. A rest of less than half a second belongs
    to the window before it."""
    max_duration_s: float = 60.0
    """Without --segments, a longer recording gets a row without a prediction, because its emotion may change."""
    cluster: ClusterFlags = field(default_factory=ClusterFlags)


def main() -> None:
    with exit_codes():
        command = tyro.cli(Predict, description=__doc__)
        from raysys.prediction.inputs import look
        from raysys.prediction.request import Cutting, Request

        request = Request(
            model=command.model,
            inputs=command.inputs,
            out=command.out,
            cutting=Cutting(
                segments=command.segments, segment_s=command.segment_s, max_duration_s=command.max_duration_s
            ),
        )
        texts = look(request.inputs)
        # Imported once the flags are known to be right: torch and Ray take seconds.
        from raysys.config import ClusterConfig
        from raysys.prediction.job import predict

        predict(request, ClusterConfig(address=command.cluster.address), texts=texts)
