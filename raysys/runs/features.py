"""What frozen encoders say of every view and every text, made once on the cluster and kept for all trials.

A trial then trains what is not frozen alone. The features are those of a forward pass in a trial, up to rounding.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray.data
import torch
from torch import nn

from raysys.config import SAMPLE_RATE_HZ, ExperimentConfig, ModelConfig
from raysys.data.batch import TextFeatures, pad_waveforms
from raysys.data.execution import blocks
from raysys.data.manifest import Manifest
from raysys.data.plan import evaluation_steps
from raysys.data.precompute import trial_environment
from raysys.data.text import load_tokenizer, tokenize
from raysys.data.texts import read_texts
from raysys.data.views import AudioFeatures, Source, crop
from raysys.data.waveforms import INDEX, INDEX_SCHEMA, WaveformStore, is_whole, write_part
from raysys.model.encoders import build_audio_encoder, build_text_encoder
from raysys.runs.cluster import Cluster
from raysys.sources import digest_of
from raysys.storage import Folder
from raysys.training.evaluation import autocast

_LISTENER, _READER = "raysys.runs.features:_Listener", "raysys.runs.features:_Reader"
"""What makes the features of audio and of texts: their code is part of the names of kept features."""
_PER_TASK = 128
_TEXTS_AT_ONCE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """A store of features that is to be made.

    Attributes:
        location: where.
        names: its utterance ids, or texts.
        waveforms: the store that is heard; empty for texts.
        variant: whose crops are heard; None: all of each waveform.
    """

    location: str
    names: tuple[str, ...]
    waveforms: str = ""
    variant: int | None = None

    def rows(self) -> list[dict[str, Any]]:
        row = {"location": self.location, "waveforms": self.waveforms, "variant": self.variant}
        starts = range(0, len(self.names), _PER_TASK)
        return [
            row | {"number": number, "names": list(self.names[start : start + _PER_TASK])}
            for number, start in enumerate(starts)
        ]


def make_audio_features(
    config: ExperimentConfig, manifest: Manifest, source: Source, cluster: Cluster
) -> AudioFeatures | None:
    """Features of the whole utterances, of their crops and of their augmented views; what is kept is not made again.

    Args:
        source: the decoded corpus and the augmented views that were made of it.

    Returns: where they are stored; None if every epoch takes new crops, of which there is no end.
    """
    names = tuple(u.utterance_id for u in manifest.utterances)
    samples = WaveformStore.opened(source.store).samples
    longer = tuple(name for name in names if source.is_cropped(samples[name]))
    if longer and not source.variants:
        return None
    encoder = build_audio_encoder(config.model)
    weights = _digest(encoder)

    def place(waveforms: str, *how: object) -> str:
        values = [
            digest_of(_LISTENER),
            weights,
            _precision(cluster),
            config.model.layer,
            waveforms.rsplit("/", 1)[-1],
            *how,
        ]
        return _location(config, values)

    whole = _Entry(location=place(source.store), names=names, waveforms=source.store)
    crops = [
        _Entry(
            location=place(source.store, source.crop_s, source.seed, variant),
            names=longer,
            waveforms=source.store,
            variant=variant,
        )
        for variant in range(source.variants if longer else 0)
    ]
    augmented = [_Entry(location=place(views), names=names, waveforms=views) for views in source.views]
    _fill([whole, *crops, *augmented], _Listener, {"model": config.model, "source": source}, config, cluster)
    return AudioFeatures(
        width=int(encoder.width),  # type: ignore[arg-type]
        whole=whole.location,
        crops=tuple(entry.location for entry in crops),
        augmented=tuple(entry.location for entry in augmented),
    )


def make_text_features(
    config: ExperimentConfig, manifest: Manifest, new_texts: Iterable[str | None], cluster: Cluster
) -> TextFeatures:
    """Features of all transcripts, of all new texts and of the empty text.

    Args:
        new_texts: CBCA's files.
    """
    texts = {""} | {u.transcript for u in manifest.utterances if u.transcript}
    for file in new_texts:
        if file is not None:
            texts.update(text for choices in read_texts(file).values() for text in choices)
    names = tuple(sorted(texts))
    tokenizer = load_tokenizer(config.model.text)
    encoder = build_text_encoder(config.model, len(tokenizer))
    values = [
        digest_of(_READER),
        _digest(encoder),
        _precision(cluster),
        tokenizer.backend_tokenizer.to_str(),
        names,
    ]
    entry = _Entry(location=_location(config, values), names=names)
    _fill([entry], _Reader, {"model": config.model}, config, cluster)
    return TextFeatures(location=entry.location, width=encoder.width)


def _location(config: ExperimentConfig, values: Sequence[object]) -> str:
    name = hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]
    return (Folder.at(str(config.run.cache)) / f"features-{name}").location


def _precision(cluster: Cluster) -> str:
    return "bfloat16" if cluster.gpus_per_worker else "float32"


def _digest(encoder: nn.Module) -> str:
    """A hash of an encoder's weights and of how it is called."""
    digest = hashlib.blake2b(digest_size=16)
    model: Any = encoder.model
    digest.update(json.dumps(model.config.to_diff_dict(), sort_keys=True, default=str).encode())
    digest.update(f"{getattr(encoder, 'normalise', None)} {getattr(encoder, 'padded', None)}".encode())
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().contiguous().numpy().data)
    return digest.hexdigest()


def _fill(
    entries: Sequence[_Entry],
    encode: Callable[..., Any],
    arguments: Mapping[str, Any],
    config: ExperimentConfig,
    cluster: Cluster,
) -> None:
    """Make the entries of the cache that are not there; the index comes last."""
    missing = [entry for entry in entries if not is_whole(Folder.at(entry.location))]
    rows = [row for entry in missing for row in entry.rows()]
    if not rows:
        return
    n = sum(len(row["names"]) for row in rows)
    print(f"features  {n} waveforms or texts go through a frozen encoder, once for all trials", flush=True)
    index = pa.concat_tables(_run(rows, encode, arguments, config, cluster))
    for entry in missing:
        mine = index.filter(pc.equal(index["location"], entry.location)).drop_columns(["location"])
        Folder.at(entry.location).write_table(INDEX, mine.sort_by("utterance_id"))


def _run(
    rows: Sequence[dict[str, Any]],
    encode: Callable[..., Any],
    arguments: Mapping[str, Any],
    config: ExperimentConfig,
    cluster: Cluster,
) -> Iterator[pa.Table]:
    """Encoders stay loaded from one task to the next, as many side by side as trials would be."""
    threads = config.cluster.cpus_per_worker
    dataset = ray.data.from_items(list(rows), override_num_blocks=len(rows)).map_batches(
        encode,
        fn_constructor_kwargs={**arguments, "threads": threads},
        batch_size=1,
        batch_format="pyarrow",
        concurrency=min(len(rows), max(1, cluster.idle_cpus // threads), cluster.trials_at_once),
        num_cpus=threads,
        num_gpus=cluster.gpus_per_worker or None,
        runtime_env={"env_vars": trial_environment()},
    )
    return blocks(dataset)


class _Encode:
    """One process's encoder and what it does with a row."""

    def __init__(self, encoder: nn.Module, threads: int) -> None:
        torch.set_num_threads(threads)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.encoder = encoder.to(self.device).eval()

    def write(self, row: Mapping[str, Any], features: Mapping[str, np.ndarray]) -> pa.Table:
        part = f"part-{row['number']:05d}.arrow"
        places = write_part(Folder.at(row["location"]), part, list(features.values()))
        rows = [{"utterance_id": name, **place} for name, place in zip(features, places, strict=True)]
        table = pa.Table.from_pylist(rows, schema=INDEX_SCHEMA)
        return table.append_column("location", pa.array([row["location"]] * len(rows)))


class _Listener(_Encode):
    def __init__(self, model: ModelConfig, source: Source, threads: int) -> None:
        super().__init__(build_audio_encoder(model), threads)
        self.source = dataclasses.replace(source, features=None)

    def __call__(self, batch: pa.Table) -> pa.Table:
        row = batch.to_pylist()[0]
        heard = {name: self._waveform(row, name) for name in row["names"]}
        durations_s = {name: len(waveform_S) / SAMPLE_RATE_HZ for name, waveform_S in heard.items()}
        features: dict[str, np.ndarray] = {}
        for step in evaluation_steps(row["names"], durations_s, "validation", 0):
            waveforms_BS, lengths_B = pad_waveforms([heard[name] for name in step.utterance_ids])
            with torch.inference_mode(), autocast(self.device):
                said = self.encoder(waveforms_BS.to(self.device), lengths_B.to(self.device))
            frames = said.frames_BJD.float().cpu().numpy()
            valid_BJ = said.valid_BJ.cpu().numpy()
            for name, frames_JE, valid_J in zip(step.utterance_ids, frames, valid_BJ, strict=True):
                features[name] = frames_JE[valid_J].reshape(-1)
        return self.write(row, features)

    def _waveform(self, row: Mapping[str, Any], name: str) -> np.ndarray:
        waveform_S = WaveformStore.opened(row["waveforms"]).get(name)
        return waveform_S if row["variant"] is None else crop(waveform_S, self.source, row["variant"], name)


class _Reader(_Encode):
    def __init__(self, model: ModelConfig, threads: int) -> None:
        self.tokenizer = load_tokenizer(model.text)
        super().__init__(build_text_encoder(model, len(self.tokenizer)), threads)

    def __call__(self, batch: pa.Table) -> pa.Table:
        row = batch.to_pylist()[0]
        texts = sorted(row["names"], key=len)
        features: dict[str, np.ndarray] = {}
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            some = texts[start : start + _TEXTS_AT_ONCE]
            tokens_BM, valid_BM, _ = tokenize(self.tokenizer, some)
            with torch.inference_mode(), autocast(self.device):
                said_BME = self.encoder(tokens_BM.to(self.device), valid_BM.to(self.device))
            for text, tokens_ME, valid_M in zip(some, said_BME.float().cpu().numpy(), valid_BM.numpy(), strict=True):
                features[text] = tokens_ME[valid_M].reshape(-1)
        return self.write(row, features)
