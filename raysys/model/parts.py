"""Count parameters by part, without allocating memory for them."""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch

from raysys.config import LossConfig, ModelConfig
from raysys.model.adapt import ADAPTER, as_loaded
from raysys.model.audio import WaveformEncoder
from raysys.model.encoders import PretrainedAudio, build_audio_encoder, vocab_size_for_count
from raysys.model.network import Network

_PARTS = (
    ("audio encoder", "audio_encoder."),
    ("text encoder", "text_encoder."),
    ("temporal CPC", "predict_ahead."),
    ("projections", "audio_projection."),
    ("projections", "text_projection."),
    ("CCB1, audio attends to text", "fusion.ccb1."),
    ("CCB2, text attends to audio", "fusion.ccb2."),
    ("BiGRU", "fusion.bigru"),
    ("weights of layers", "weigh_states."),
    ("pooling", "pool_"),
    ("head", "head."),
    ("contrastive projection", "project."),
    ("contrastive projection of ACL", "project_acl."),
    ("CPC scores", "predict_"),
    ("stand-in for a missing modality", "no_"),
)


def count_parameters(network: Network) -> dict[str, int]:
    """Parameters by part, ordered from input to output."""
    counts: dict[str, int] = {}
    for name, parameter in network.named_parameters():
        part = next(title for title, prefix in _PARTS if name.startswith(prefix))
        counts[part] = counts.get(part, 0) + parameter.numel()
    return {title: counts[title] for title, _ in _PARTS if title in counts}


def count_trained(network: Network) -> int:
    """Parameters that are trained."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def count_saved(network: Network) -> tuple[int, int]:
    """Parameters in a saved model at most, and those of frozen encoders, which the models of a run share.

    Heads of the auxiliary tasks, which are not saved, are counted; adapters, which are merged, are not.
    """
    counts = {name: parameter.numel() for name, parameter in network.named_parameters() if ADAPTER not in name}
    shared = sum(counts[name] for name in as_loaded(network))
    return sum(counts.values()) - shared, shared


def empty_network(
    config: ModelConfig,
    n_classes: int,
    modalities: Literal["both", "audio", "text"],
    loss: LossConfig,
    vocab_size: int | None = None,
) -> Network:
    """A configuration's network on the meta device, to be counted: no weights are loaded or downloaded.

    Args:
        vocab_size: size of the tokenizer; None: the encoder's published size, or 1000 if trained from scratch.
    """
    drawn = dataclasses.replace(config, weights="random")
    # An encoder that is not used is not looked for.
    size = vocab_size
    if size is None:
        size = 0 if modalities == "audio" else vocab_size_for_count(config)
    with torch.device("meta"):
        return Network(drawn, n_classes=n_classes, vocab_size=size, loss=loss, modalities=modalities)


def audio_encoder_of(config: ModelConfig) -> PretrainedAudio:
    """A pretrained audio encoder on the meta device: its sizes, without its weights."""
    with torch.device("meta"):
        encoder = build_audio_encoder(dataclasses.replace(config, weights="random"))
    assert isinstance(encoder, PretrainedAudio)
    return encoder


def feature_gb_per_hour(encoder: PretrainedAudio, config: ModelConfig) -> float:
    """Disk for the features of an hour of speech: the last layer in float32, or all of them in float16."""
    size = 2 if config.layer == "weighted_sum" else 4
    return _gb_per_hour(encoder.width * encoder.states * size * encoder.frames_per_s / config.pool_frames)


def latent_gb_per_hour(encoder: PretrainedAudio) -> float:
    """Disk for the latents of an hour of speech, in float16; 0 for an encoder that reads no waveforms."""
    reads = isinstance(encoder, WaveformEncoder)
    return _gb_per_hour(encoder.latent_width * 2 * encoder.frames_per_s) if reads else 0.0


def _gb_per_hour(bytes_per_s: float) -> float:
    return bytes_per_s * 3600 / 1e9
