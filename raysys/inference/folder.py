"""A trained model as a folder: safetensors, JSON and the tokenizer.

Nothing in it is unpickled, and nothing outside it is read but the frozen weights that the models of a run share.
"""

from __future__ import annotations

import contextlib
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
from raysys.inference.frozen import check_frozen, frozen_files, write_frozen
from raysys.inference.predict import EmotionModel
from raysys.model.adapt import as_loaded, merged_state
from raysys.model.audio import WaveformEncoder
from raysys.model.encoders import PretrainedAudio, fit_tokenizer
from raysys.model.network import Network
from raysys.model.text import TokenEncoder
from raysys.results import MODEL_CONFIG as CONFIG
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

WEIGHTS = "model.safetensors"
FORMAT = 3
_READS = (2, FORMAT)
"""Format 2 is the same without frozen weights elsewhere."""
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
    temperature: float = 1.0,
    frozen: Folder | None = None,
) -> None:
    """Write a trained network for `load_model`; `config.json` is written last.

    Adapters are merged into the weights, so the model needs neither them nor their package.

    Args:
        temperature: what the network's logits are divided by in use.
        frozen: the run's folder for weights of encoders that nothing has trained, which its models share; None: the
            model contains them.
    """
    model = model.as_trained()
    audio, text = network.audio_encoder, network.text_encoder
    wanted = _empty(model, len(classes), modalities, 0 if tokenizer is None else len(tokenizer))
    state = merged_state(network)
    weights = {name: state[name].detach().cpu().contiguous() for name in wanted.state_dict()}
    folder.delete(CONFIG)
    values: dict[str, Any] = {
        "format": FORMAT,
        "frozen": {} if frozen is None else write_frozen(frozen, weights, as_loaded(network)),
        "classes": list(classes),
        "modalities": modalities,
        "sample_rate_hz": SAMPLE_RATE_HZ,
        "trim_db": trim_db,
        "temperature": temperature,
        "model": dataclasses.asdict(model),
        "padded": audio.padded if isinstance(audio, WaveformEncoder) else True,
    }
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


def load_folder(location: str, device: str = "cpu") -> EmotionModel:
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
            f"{location}: contains no {CONFIG}: incomplete model. Run its job again, or copy the whole folder again."
        )
    try:
        if folder.is_local:
            refuse_links(Path(folder.path), location)
        values = folder.read_json(CONFIG)
        if not isinstance(values, dict):
            raise ModelFolderError(
                f"{location}/{CONFIG}: contains {str(values)[:40]}, expected an object. Copy the whole folder again."
            )
        _refuse_other_format(values.get("format"), location)
        files = frozen_files(values, folder)
        if folder.is_local:
            frozen = [Path(where.path) / name for where, name in files]
            return _load(Path(folder.path), values, frozen, torch.device(device), location)
        with tempfile.TemporaryDirectory() as local:
            model = Path(local) / "model"
            download(folder, model)
            for where, name in files:
                with contextlib.suppress(FileNotFoundError):
                    where.ask(name, "read", partial(_copy, where, f"{where.path}/{name}", Path(local) / name))
            frozen = [Path(local) / name for _, name in files]
            return _load(model, values, frozen, torch.device(device), location)
    except ModelFolderError:
        raise
    # A hand-written configuration may lack keys, or describe a model that fails in a way of its own.
    except Exception as error:
        raise ModelFolderError(f"{location}: a part cannot be read ({error}). Copy the whole folder again.") from error


def _refuse_other_format(found: object, location: str) -> None:
    """Raises: ModelFolderError: saying which version of raysys reads it."""
    if found in _READS and type(found) is int:
        return
    reads = " and ".join(map(str, _READS))
    said = f"{location}/{CONFIG}: has format {str(found)[:40]}, but this version of raysys reads {reads}."
    if type(found) is int and found > FORMAT:
        raise ModelFolderError(f"{said} A newer version wrote it: update raysys, or train the model with this version.")
    raise ModelFolderError(
        f"{said} An earlier version wrote it: load it with that version, or run its job again with this one."
    )


def download(folder: Folder, local: Path) -> None:
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


def _load(
    folder: Path, written: dict[str, Any], frozen: Sequence[Path], device: torch.device, location: str
) -> EmotionModel:
    """Load a folder on this machine.

    Args:
        written: its `config.json`.
        frozen: files with the rest of its weights.
        location: where the user has the folder, for messages.
    """
    for path, (where, name) in zip(frozen, frozen_files(written, Folder.at(location)), strict=True):
        check_frozen(path, location, f"{where.location}/{name}")
    files = [folder / WEIGHTS, *frozen]
    values, sizes = checked_values(written), dict(item for file in files for item in tensor_sizes(file).items())
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
    state = dict(item for file in files for item in safetensors.torch.load_file(file).items())
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
        temperature=values.temperature,
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
