"""Upload a model to the Hugging Face Hub, as a folder that needs no other."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

import safetensors.torch
import yaml

from raysys.errors import HubError, ModelFolderError
from raysys.inference.ensemble import Ensemble
from raysys.inference.folder import WEIGHTS, download
from raysys.inference.frozen import frozen_files
from raysys.inference.hub import SCHEME, belongs, hub_errors
from raysys.inference.load import load_model
from raysys.inference.predict import EmotionModel
from raysys.results import MODEL_CONFIG, RunResult
from raysys.storage import Folder

CARD = "README.md"
_THIS_FOLDER = re.compile(r'load_model\("model"\)\s*# this folder')


def push_model(location: str, repo: str, *, private: bool) -> str:
    """Upload a model, once it is known to load; the repository is created if there is none.

    Args:
        location: a model's folder, or that of a run with a final model, or its address in an object store.
        repo: user/name.
        private: of a repository that is created.

    Returns: the address of the commit, hf://user/name@commit.

    Raises:
        ModelFolderError: there is no single model that can be loaded.
        HubError: there is no token, or the Hub refuses or does not answer.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token

    if get_token() is None:
        raise HubError(f"{SCHEME}{repo}: uploading needs a token. Set HF_TOKEN to one that may write.")
    model = load_model(location)
    if isinstance(model, Ensemble):
        first = model.models[0].origin.removeprefix("model ")
        raise ModelFolderError(
            f"{location}: an ensemble is several models, a repository holds one. Give one of them, such as {first}, or "
            f"train one on all data: crossval --final-model."
        )
    with tempfile.TemporaryDirectory() as local:
        whole = Path(local) / "model"
        write_whole(_source(location), whole)
        (whole / CARD).write_text(_card(whole / CARD, model, repo), encoding="utf-8")
        with hub_errors(repo):
            api = HfApi()
            api.create_repo(repo, private=private, exist_ok=True)
            new = {str(path.relative_to(whole)): path for path in sorted(whole.rglob("*")) if path.is_file()}
            # An earlier model's files would be read along with the new ones.
            old = [name for name in api.list_repo_files(repo) if belongs(name) and name not in new]
            commit = api.create_commit(
                repo,
                [
                    *(CommitOperationAdd(name, path) for name, path in new.items()),
                    *(CommitOperationDelete(name) for name in old),
                ],
                commit_message="Upload a speech emotion model",
            )
    return f"{SCHEME}{repo}@{commit.oid}"


def _source(location: str) -> Folder:
    """The folder of the one model that `load_model` has loaded from there."""
    folder = Folder.at(location)
    if folder.exists(MODEL_CONFIG):
        return folder
    final = RunResult.read(folder).final_model
    assert final is not None
    return folder / final.folder


def write_whole(source: Folder, local: Path) -> None:
    """Copy a model's own files and card, with the frozen weights that it shares with others among its own."""
    if source.is_local:
        for path in Path(source.path).rglob("*"):
            name = str(path.relative_to(source.path))
            if path.is_file() and (belongs(name) or name == CARD):
                (local / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, local / name)
    else:
        download(source, local)
    values = source.read_json(MODEL_CONFIG)
    if not values.get("frozen"):
        return
    weights = safetensors.torch.load_file(local / WEIGHTS)
    for folder, name in frozen_files(values, source):
        weights |= safetensors.torch.load(folder.read_bytes(name))
    safetensors.torch.save_file(weights, local / WEIGHTS)
    Folder.at(str(local)).write_json(MODEL_CONFIG, values | {"frozen": {}})


def _card(written: Path, model: EmotionModel, repo: str) -> str:
    """The model's card, which says how to load it from the Hub; a short one where it has none, as those of folds."""
    load = f'load_model("{SCHEME}{repo}")'
    if written.exists():
        return _THIS_FOLDER.sub(load, written.read_text(encoding="utf-8"))
    task = "text-classification" if model.modalities == "text" else "audio-classification"
    head = {"library_name": "raysys", "pipeline_tag": task, "tags": ["speech-emotion-recognition"]}
    reads = {"both": "speech and its transcript", "audio": "speech", "text": "transcripts"}[model.modalities]
    return (
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n\n# Speech emotion model\n\nClassifies {reads} as "
        f"{', '.join(model.classes)}.\n\n```python\nfrom raysys.inference import load_model\n\nmodel = {load}\n```\n"
    )
