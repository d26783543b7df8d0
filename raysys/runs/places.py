"""Locations that flags name, as every process of a run understands them; and the recordings that are there."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from raysys.config import BUILT_IN, RECORDINGS, ExperimentConfig
from raysys.data.recordings import Recordings, read_recordings
from raysys.errors import StorageError
from raysys.runs.cluster import in_submitted_job
from raysys.storage import absolute, check_location, is_address


def check_place(flag: str, location: str | None) -> None:
    """Validate a flag's location.

    Raises:
        StorageError: it is relative in a submitted job, whose working directory is a copy that is deleted with the job;
            or `check_location` refuses it.
    """
    if location is None:
        return
    if in_submitted_job() and not is_address(location) and not os.path.isabs(location):
        raise StorageError(
            f"{flag} {location}: a relative path inside a submitted job is lost with the job's copy of the "
            f"working directory. Give an absolute path on storage that every node sees, or an address such "
            f"as s3://bucket/runs."
        )
    check_location(location)


def with_absolute_folders(config: ExperimentConfig) -> ExperimentConfig:
    """The configuration with absolute paths to its recordings, and to models that are in folders here.

    Trials do not run in the folder of the command: Tune gives each process its own. A built-in encoder is meant by its
    name, even beside a folder of that name.

    Raises:
        StorageError: see `check_place`.
    """
    for flag, folder in config.augment.folders.items():
        check_place(flag, folder)
    given = {name: getattr(config.augment, name) for name in RECORDINGS}
    folders: dict[str, Any] = {name: absolute(folder) for name, folder in given.items() if folder is not None}
    if (masked_lm := config.augment.cbca_model) is not None:
        folders["cbca_model"] = _model(masked_lm)
    model = dataclasses.replace(config.model, audio=_model(config.model.audio), text=_model(config.model.text))
    return dataclasses.replace(config, model=model, augment=dataclasses.replace(config.augment, **folders))


def _model(name: str) -> str:
    return absolute(name) if name not in BUILT_IN and Path(name).expanduser().is_dir() else name


def recordings_of(configs: Sequence[ExperimentConfig]) -> tuple[Recordings, ...]:
    """What is in the folders that the augmented views of these configurations read.

    Raises:
        ConfigError: a folder has no audio, or a file that cannot be used.
    """
    found = [read_recordings(c.augment, str(c.run.cache)) for c in configs if c.augments_audio]
    return tuple(dict.fromkeys(recordings for folders in found for recordings in folders.values()))
