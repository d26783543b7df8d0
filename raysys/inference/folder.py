"""A trained model as a folder: safetensors, JSON and the tokenizer.

Nothing in it is unpickled, and nothing outside it is read.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.fs as pafs
import safetensors.torch
import torch

from raysys.config import SAMPLE_RATE_HZ, LossConfig, ModelConfig
from raysys.data.text import load_tokenizer, tokenize
from raysys.errors import ModelFolderError
from raysys.inference.predict import EmotionModel
from raysys.model.adapt import merged_state
from raysys.model.audio import WaveformEncoder
from raysys.model.encoders import PretrainedAudio, fit_tokenizer
from raysys.model.network import Network
from raysys.model.text import TokenEncoder
from raysys.saved import (
    check_sizes,
    checked_values,
    refuse_if_it_cannot_predict,
    refuse_links,
    refuse_many_modules,
    refuse_not_finite,
    tensor_sizes,
)
from raysys.storage import Folder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
_FORMAT = 2
_AUDIO, _TEXT, _TOKENIZER = "audio", "text", "tokenizer"
# The auxiliary tasks' heads are only used in training.
_NO_TASKS = LossConfig(alpha=0.0, beta=0.0, gamma=0.0)


def save_model(
    folder: Folder,
    network: Network,
    tokenizer: PreTrainedTokenizerBase | None,
    *,
    model: ModelConfig,
    classes: Sequence[str],
    modalities: str,
    trim_db: float | None,
) -> None:
    """Write a trained network, including frozen parts, for `load_model`; `config.json` is written last.

    Adapters are merged into the weights, so the model needs neither them nor their package.
    """
    model = model.as_trained()
    audio, text = network.audio_encoder, network.text_encoder
    wanted = _empty(model, len(classes), modalities, 0 if tokenizer is None else len(tokenizer))
    state = merged_state(network)
    weights = {name: state[name].detach().cpu().contiguous() for name in wanted.state_dict()}
    values: dict[str, Any] = {
        "format": _FORMAT,
        "classes": list(classes),
        "modalities": modalities,
        "sample_rate_hz": SAMPLE_RATE_HZ,
        "trim_db": trim_db,
        "model": dataclasses.asdict(model),
        "padded": audio.padded if isinstance(audio, WaveformEncoder) else True,
    }
    folder.delete(CONFIG)
    for part in (_AUDIO, _TEXT, _TOKENIZER):
        # Otherwise an older model's files would be read along with the new ones.
        folder.filesystem.delete_dir_contents(f"{folder.path}/{part}", missing_dir_ok=True)
    folder.write_bytes(WEIGHTS, safetensors.torch.save(weights))
    if isinstance(audio, PretrainedAudio):
        _write_part(folder / _AUDIO, audio.model.config, audio.extractor)
    if text is not None:
        assert tokenizer is not None
        _write_part(folder / _TEXT, text.config)
        _write_part(folder / _TOKENIZER, tokenizer)
    folder.write_json(CONFIG, values)


def _write_part(folder: Folder, *parts: Any) -> None:
    """Write the output of each part's `save_pretrained`, with atomic writes."""
    with tempfile.TemporaryDirectory() as local:
        for part in parts:
            part.save_pretrained(local)
        for path in sorted(path for path in Path(local).rglob("*") if path.is_file()):
            # A tokenizer may have a subfolder of templates.
            *within, name = path.relative_to(local).parts
            (folder / "/".join(within) if within else folder).write_bytes(name, path.read_bytes())


def load_model(location: str, device: str = "cpu") -> EmotionModel:
    """Load a model written by `save_model`.

    Args:
        location: the folder, or its address in an object store.
        device: where to put the network.

    Raises:
        ModelFolderError: the model is missing or incomplete, cannot predict, or was written by another version.
    """
    folder = Folder.at(location)
    if not folder.exists(CONFIG):
        raise ModelFolderError(
            f"{location}: contains no {CONFIG}: incomplete model. Give the folder 'model' of a finished grid search."
        )
    try:
        if folder.is_local:
            refuse_links(Path(folder.path), location)
        values = folder.read_json(CONFIG)
        if not isinstance(values, dict):
            raise ModelFolderError(
                f"{location}/{CONFIG}: contains {str(values)[:40]}, expected an object. Copy the whole folder again."
            )
        if values.get("format") != _FORMAT:
            raise ModelFolderError(
                f"{location}/{CONFIG}: has format {values.get('format')}, but this version of raysys reads {_FORMAT}. "
                f"Give the folder 'model' of a finished grid search, and load it with the version that wrote it."
            )
        if folder.is_local:
            return _load(Path(folder.path), values, torch.device(device))
        with tempfile.TemporaryDirectory() as local:
            _download(folder, Path(local))
            return _load(Path(local), values, torch.device(device))
    except ModelFolderError:
        raise
    # A hand-written configuration may lack keys, or describe a model that fails in a way of its own.
    except Exception as error:
        raise ModelFolderError(f"{location}: a part cannot be read ({error}). Copy the whole folder again.") from error


def _download(folder: Folder, local: Path) -> None:
    """Copy a model from an object store. Keys are checked first: one with '..' in it would be written elsewhere.

    Raises:
        ModelFolderError: naming the key; in that case nothing has been written.
    """
    every = pafs.FileSelector(folder.path, recursive=True)
    found = folder.ask("", "read", lambda: folder.filesystem.get_file_info(every))
    names: dict[str, str] = {}
    for info in found:
        if info.type != pafs.FileType.File:
            continue
        name = info.path.removeprefix(f"{folder.path}/")
        parts = name.split("/")
        if name == info.path or not set(parts).isdisjoint({"", ".", ".."}) or "\\" in name:
            raise ModelFolderError(
                f"{folder.location}: {info.path!r} is not a file inside the folder and was not copied. Remove this key."
            )
        names[name] = info.path
    for name, path in names.items():
        target = local / name
        target.parent.mkdir(parents=True, exist_ok=True)
        folder.ask(name, "read", partial(_copy, folder, path, target))


def _copy(folder: Folder, path: str, target: Path) -> None:
    with folder.filesystem.open_input_stream(path) as source, target.open("wb") as sink:
        shutil.copyfileobj(source, sink)


def _load(folder: Path, written: dict[str, Any], device: torch.device) -> EmotionModel:
    values, sizes = checked_values(written), tensor_sizes(folder / WEIGHTS)
    # Earlier versions stored a pooling of the text that only a loss reads.
    unread = sizes.pop("pool_text.score.weight", None)
    # Fixed names: a path in the file is never followed.
    audio = "light" if values.model.audio == "light" else str(folder / _AUDIO)
    config = dataclasses.replace(values.model, audio=audio, text=str(folder / _TEXT), weights="random")
    tokenizer = None
    if values.modalities != "audio":
        tokenizer = load_tokenizer(str(folder / _TOKENIZER), flag="its tokenizer")
    for encoder in (folder / _AUDIO / CONFIG, folder / _TEXT / CONFIG):
        if encoder.exists():
            refuse_many_modules(encoder, sizes)
    refuse_many_modules(config, sizes)
    vocab_size = 0 if tokenizer is None else len(tokenizer)
    # Sizes first, without memory: a small folder may ask for a huge network.
    check_sizes(_empty(config, len(values.classes), values.modalities, vocab_size), sizes)
    network = _empty(config, len(values.classes), values.modalities, vocab_size, device="cpu")
    state = safetensors.torch.load_file(folder / WEIGHTS)
    refuse_not_finite(state)
    if unread:
        del state["pool_text.score.weight"]
    network.load_state_dict(state)
    if isinstance(network.text_encoder, TokenEncoder) and tokenizer is not None:
        fit_tokenizer(tokenizer, network.text_encoder.model, "its tokenizer")
        # A damaged tokenizer fails here, with the folder's name, instead of at the first text.
        tokenize(tokenizer, ["a", None])
    if isinstance(network.audio_encoder, WaveformEncoder):
        network.audio_encoder.padded = values.padded
    model = EmotionModel(
        network=network.to(device).eval(),
        tokenizer=tokenizer,
        classes=values.classes,
        modalities=values.modalities,
        trim_db=values.trim_db,
    )
    refuse_if_it_cannot_predict(model.probabilities)
    return model


def _empty(model: ModelConfig, n_classes: int, modalities: Any, vocab_size: int, *, device: str = "meta") -> Network:
    """The network without the auxiliary tasks and with arbitrary weights; on the meta device without any memory."""
    with torch.device(device):
        return Network(
            dataclasses.replace(model, weights="random"),
            n_classes=n_classes,
            vocab_size=vocab_size,
            loss=_NO_TASKS,
            modalities=modalities,
        )
