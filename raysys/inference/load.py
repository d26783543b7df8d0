"""Load a model from its folder, or from a run's: its final model, otherwise the ensemble of its folds."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

from raysys.errors import ModelFolderError
from raysys.inference.ensemble import Ensemble
from raysys.inference.folder import load_folder
from raysys.inference.hub import fetch, is_hub_address
from raysys.inference.predict import EmotionModel
from raysys.results import MODEL, MODEL_CONFIG, RESULTS, FinalModel, RunResult
from raysys.storage import Folder, is_address

_BEGUN = "run.json"
"""What a run writes first."""
_SHOWN = 5


def load_model(location: str, device: str = "cpu") -> EmotionModel | Ensemble:
    """Load a trained model; its `origin` and repr say which it is.

    Args:
        location: a model's folder, or a finished run's, or its address in an object store; or a model's on the Hugging
            Face Hub, hf://user/name or hf://user/name@revision, whose commit `origin` names. Of a run it is the final
            model, trained on all data, if there is one, and otherwise the ensemble of the folds' models.
        device: where to put the networks.

    Raises:
        ModelFolderError: it is neither, a run is not finished or kept no models, or a model is incomplete, cannot
            predict or was written by another version.
        StorageError: the run's results cannot be read.
        HubError: the Hub does not give the model.
    """
    if is_hub_address(location):
        return _from_hub(location, device)
    folder = Folder.at(location)
    if folder.exists(MODEL_CONFIG):
        return _named(load_folder(location, device), f"model {location}")
    if not folder.exists(RESULTS):
        raise ModelFolderError(_neither(folder, location))
    results = RunResult.read(folder)
    if (final := results.final_model) is not None:
        return _named(load_folder(f"{location}/{final.folder}", device), _of_all_data(final, location))
    return _ensemble(folder, location, results, device)


def _from_hub(address: str, device: str) -> EmotionModel:
    with tempfile.TemporaryDirectory() as local:
        # As deep as in a run: what a model may name beside its folder is looked for within `local`.
        folder = Path(local) / "hub" / "models" / MODEL
        commit = fetch(address, folder)
        try:
            model = load_folder(str(folder), device)
        except ModelFolderError as error:
            raise ModelFolderError(str(error).replace(str(folder), address)) from error
    return _named(model, f"model {address.split('@')[0]}@{commit}")


def _of_all_data(final: FinalModel, location: str) -> str:
    return f"final model of {location}, {final.epochs} epochs on {final.data}"


def _named(model: EmotionModel, origin: str) -> EmotionModel:
    return dataclasses.replace(model, origin=origin)


def _ensemble(folder: Folder, location: str, results: RunResult, device: str) -> Ensemble:
    if results.kind == "ablation":
        raise ModelFolderError(
            f"{location}: an ablation keeps no models; expected a cross-validation or a grid search. Give such a run."
        )
    places = [f"{row.trial}/{MODEL}" for row in results.folds if row.trial]
    missing = [place for place in places if not (folder / place).exists(MODEL_CONFIG)]
    if missing == places:
        raise ModelFolderError(
            f"{location}: none of its {len(results.folds)} folds has a model; an earlier version made it, which kept "
            f"none. Run its command again with this version: it trains the folds again and keeps their models."
        )
    if missing:
        trial = missing[0].removesuffix(f"/{MODEL}")
        raise ModelFolderError(
            f"{location}: {missing[0]} contains no {MODEL_CONFIG}, but each of {len(places)} folds should have one. "
            f"Copy the whole run again; or remove its folder {trial} and run its command again."
        )
    models = tuple(_named(load_folder(f"{location}/{place}", device), f"{location}/{place}") for place in places)
    first = models[0]
    for model in models[1:]:
        for what in ("classes", "modalities"):
            if (found := getattr(model, what)) != getattr(first, what):
                raise ModelFolderError(
                    f"{model.origin}: its {what} are {_said(found)}, but those of {first.origin} are "
                    f"{_said(getattr(first, what))}; models of one run have the same. Copy the whole run again."
                )
    seed = f", seed {results.seed}" if results.seeds is not None else ""
    what = f"ensemble of {len(models)} folds" if len(models) > 1 else "the only fold's model"
    return Ensemble(models=models, origin=f"{what} of {location}{seed}")


def _said(value: str | tuple[str, ...]) -> str:
    return value if isinstance(value, str) else ", ".join(value)


def _neither(folder: Folder, location: str) -> str:
    """Why a folder can be loaded neither as a model nor as a run."""
    expected = f"expected a model's folder (with {MODEL_CONFIG}) or a finished run's (with {RESULTS})"
    if (folder / MODEL).exists(MODEL_CONFIG) and not folder.exists(_BEGUN):
        return f"{location}: is neither a model nor a run, but contains a model: give {location}/{MODEL}."
    if folder.exists(_BEGUN):
        return f"{location}: contains no {RESULTS}: this run is not finished. Run its command again: it continues."
    names = folder.names()
    if names:
        found = f"contains no {MODEL_CONFIG} but {', '.join(names[:_SHOWN])}{' ...' if len(names) > _SHOWN else ''}"
    elif is_address(location) or Path(folder.path).is_dir():
        found = f"contains no {MODEL_CONFIG}, nor anything else"
    else:
        found = f"contains no {MODEL_CONFIG}: there is no such folder"
    return f"{location}: {found}; {expected}. Give the folder of a finished run, runs/<name>, or one copied as a whole."
