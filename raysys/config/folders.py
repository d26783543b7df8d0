"""Names of models that are folders here, as paths that mean the same wherever a trial runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from raysys.config.experiment import ExperimentConfig
from raysys.config.model import BUILT_IN


def with_absolute_folders(config: ExperimentConfig) -> ExperimentConfig:
    """The same models, those in folders by absolute paths: trials do not run in the folder of the command.

    A built-in encoder is meant by its name, even beside a folder of that name.
    """
    model = dataclasses.replace(config.model, audio=_absolute(config.model.audio), text=_absolute(config.model.text))
    if (masked_lm := config.augment.cbca_model) is None:
        return dataclasses.replace(config, model=model)
    augment = dataclasses.replace(config.augment, cbca_model=_absolute(masked_lm))
    return dataclasses.replace(config, model=model, augment=augment)


def _absolute(name: str) -> str:
    path = Path(name).expanduser()
    return str(path.absolute()) if name not in BUILT_IN and path.is_dir() else name
