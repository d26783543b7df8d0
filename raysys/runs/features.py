"""Features of frozen encoders: of every view and every text, computed once on the cluster and kept for all trials.

Trials then train only what is not frozen. The features are those of a forward pass in a trial, up to rounding. Of an
encoder of which only the convolutions are frozen, these are their output, the latents.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raysys.config import SAMPLE_RATE_HZ, ExperimentConfig, ModelConfig
from raysys.data.batch import TextFeatures
from raysys.data.cache import WaveformStore
from raysys.data.manifest import Manifest
from raysys.data.plan import evaluation_steps
from raysys.data.tasks import UTTERANCES_PER_PART, Entry, Member, fill
from raysys.data.text import tokenize
from raysys.data.texts import read_texts
from raysys.data.view import pad_waveforms
from raysys.data.views import AudioFeatures, Source, crop
from raysys.model.audio import WaveformEncoder
from raysys.model.encoders import build_audio_encoder, build_text_encoder, make_tokenizer
from raysys.model.states import pooled_in_time
from raysys.runs.cluster import Cluster
from raysys.sources import digest_of
from raysys.storage import Folder
from raysys.training.evaluation import autocast

_TEXTS_AT_ONCE = 32


def make_audio_features(
    config: ExperimentConfig, manifest: Manifest, source: Source, cluster: Cluster
) -> AudioFeatures | None:
    """Features of the whole utterances, of their crops and of their augmented views, unless they are in the cache.

    Args:
        source: the decoded corpus and the augmented views made of it.

    Returns: where they are stored; None if every epoch takes new crops, since these never end, or if convolutions alone
        are frozen, of an encoder that reads no waveforms.
    """
    names = [u.utterance_id for u in manifest.utterances]
    lengths = WaveformStore.opened(source.store).lengths(names).tolist()
    longer = [name for name, samples in zip(names, lengths, strict=True) if source.is_cropped(samples)]
    if longer and not source.variants:
        return None
    # Adapters would be drawn, and change no latent.
    model = config.model.as_trained()
    encoder = build_audio_encoder(model)
    if config.keeps_audio_latents and not isinstance(encoder, WaveformEncoder):
        return None
    how: list[object] = [digest_of("raysys.runs.features:encode_audio"), _digest(encoder), _precision(cluster)]
    how += ["latents"] if config.keeps_audio_latents else [model.layer, model.pool_frames]
    encode = partial(
        encode_audio,
        model=model,
        source=dataclasses.replace(source, features=None),
        latents=config.keeps_audio_latents,
        threads=config.cluster.cpus_per_worker,
    )

    def entry(waveforms: str, ids: Sequence[str], variant: int | None = None) -> Entry:
        stretch = [] if variant is None else [source.crop_s, source.seed, variant]
        location = _location(config, [*how, waveforms.rsplit("/", 1)[-1], *stretch])
        make = partial(encode, waveforms=waveforms, variant=variant)
        return Entry(location=location, members=_members(ids), make=make)

    whole = entry(source.store, names)
    crops = [entry(source.store, longer, variant) for variant in range(source.variants if longer else 0)]
    augmented = [entry(views, names) for views in source.views]
    _fill([whole, *crops, *augmented], config, cluster)
    return AudioFeatures(
        width=int(encoder.latent_width if config.keeps_audio_latents else encoder.width * encoder.states),  # type: ignore[arg-type,operator]
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
    names = sorted(texts)
    tokenizer = make_tokenizer(config.model, [])
    encoder = build_text_encoder(config.model, len(tokenizer))
    how = [digest_of("raysys.runs.features:encode_texts"), _digest(encoder), _precision(cluster)]
    location = _location(config, [*how, tokenizer.backend_tokenizer.to_str(), names])
    encode = partial(encode_texts, model=config.model, threads=config.cluster.cpus_per_worker)
    _fill([Entry(location=location, members=_members(names), make=encode)], config, cluster)
    return TextFeatures(location=location, width=encoder.width)


def _members(names: Sequence[str]) -> list[Member]:
    return [{"id": name, "seconds": None} for name in names]


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
    if (extractor := getattr(encoder, "extractor", None)) is not None:
        digest.update(extractor.to_json_string().encode())
    digest.update(f"{getattr(encoder, 'padded', None)}".encode())
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().contiguous().numpy().data)
    return digest.hexdigest()


def _fill(entries: Sequence[Entry], config: ExperimentConfig, cluster: Cluster) -> None:
    """Make what is missing, with as many encoders side by side as trials would be."""
    threads = config.cluster.cpus_per_worker
    at_once = max(1, min(cluster.idle_cpus // threads, cluster.trials_at_once))

    def cut(members: Sequence[Member]) -> list[Sequence[Member]]:
        """Two tasks per slot: each loads an encoder. A whole number of chunks, so that batches do not depend on it."""
        chunks = -(-len(members) // UTTERANCES_PER_PART)
        size = UTTERANCES_PER_PART * max(1, -(-chunks // (2 * at_once)))
        return [members[start : start + size] for start in range(0, len(members), size)]

    fill(
        entries,
        at_once=at_once,
        num_cpus=threads,
        num_gpus=cluster.gpus_per_worker,
        cut=cut,
        title="features",
        what="{n} waveforms or texts go through a frozen encoder, once for all trials",
    )


def encode_audio(
    members: Sequence[Member],
    model: ModelConfig,
    source: Source,
    waveforms: str,
    variant: int | None,
    latents: bool,
    threads: int,
) -> Iterator[np.ndarray]:
    """Frames of a frozen audio encoder, or latents of its convolutions, flattened.

    Args:
        waveforms: location of the store to read.
        variant: whose crops to take; None: the whole of each waveform.
    """
    encoder, device = _ready(build_audio_encoder(model), threads)
    store = WaveformStore.opened(waveforms)
    for names in _chunks(members):
        read = {name: store.get(name) for name in names}
        if variant is not None:
            read = {name: crop(waveform_S, source, variant, name) for name, waveform_S in read.items()}
        durations_s = {name: len(waveform_S) / SAMPLE_RATE_HZ for name, waveform_S in read.items()}
        features: dict[str, np.ndarray] = {}
        for step in evaluation_steps(names, durations_s, "validation", 0):
            waveforms_BS, lengths_B = pad_waveforms([read[name] for name in step.utterance_ids])
            with torch.inference_mode(), autocast(device):
                speech = waveforms_BS.to(device), lengths_B.to(device)
                frames_BJE, valid_BJ = _latents(encoder, *speech) if latents else _frames(encoder, *speech, model)
            # All states are many, and normalised, and latents are of their order: half precision holds three digits.
            half = latents or model.layer == "weighted_sum"
            frames, valid = frames_BJE.cpu().numpy(), valid_BJ.cpu().numpy()
            for name, frames_JE, valid_J in zip(step.utterance_ids, frames, valid, strict=True):
                flat = frames_JE[valid_J].reshape(-1)
                features[name] = flat.astype(np.float16) if half else flat
        yield from (features[name] for name in names)


def _frames(encoder: nn.Module, waveforms_BS: Tensor, lengths_B: Tensor, model: ModelConfig) -> tuple[Tensor, Tensor]:
    encoded = encoder(waveforms_BS, lengths_B)
    return pooled_in_time(encoded.frames_BJD.float(), encoded.valid_BJ, model.pool_frames)


def _latents(encoder: nn.Module, waveforms_BS: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
    assert isinstance(encoder, WaveformEncoder)
    latents_BJL, frames_B = encoder.latents(waveforms_BS, lengths_B)
    ahead_J = torch.arange(latents_BJL.shape[1], device=frames_B.device)
    return latents_BJL.float(), ahead_J < frames_B[:, None]


def encode_texts(members: Sequence[Member], model: ModelConfig, threads: int) -> Iterator[np.ndarray]:
    """Token vectors of a frozen text encoder, flattened."""
    tokenizer = make_tokenizer(model, [])
    encoder, device = _ready(build_text_encoder(model, len(tokenizer)), threads)
    for names in _chunks(members):
        by_length = sorted(names, key=len)
        features: dict[str, np.ndarray] = {}
        for start in range(0, len(by_length), _TEXTS_AT_ONCE):
            texts = by_length[start : start + _TEXTS_AT_ONCE]
            tokens_BM, valid_BM, _ = tokenize(tokenizer, texts)
            with torch.inference_mode(), autocast(device):
                encoded_BME = encoder(tokens_BM.to(device), valid_BM.to(device))
            vectors = encoded_BME.float().cpu().numpy()
            for text, vectors_ME, valid_M in zip(texts, vectors, valid_BM.numpy(), strict=True):
                features[text] = vectors_ME[valid_M].reshape(-1)
        yield from (features[name] for name in names)


def _ready(encoder: nn.Module, threads: int) -> tuple[nn.Module, torch.device]:
    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return encoder.to(device).eval(), device


def _chunks(members: Sequence[Member]) -> Iterator[list[str]]:
    """Ids, 128 at a time: what is in memory at once."""
    for start in range(0, len(members), UTTERANCES_PER_PART):
        yield [member["id"] for member in members[start : start + UTTERANCES_PER_PART]]
