"""Describe a run without network, cluster or audio; of corpora, only a table is read."""

from __future__ import annotations

from pathlib import Path

from raysys.config import CorpusConfig, ExperimentConfig
from raysys.corpora import ravdess
from raysys.corpora.read import read_manifest
from raysys.data.folds import make_folds
from raysys.model.parts import (
    audio_encoder_of,
    count_parameters,
    count_saved,
    count_trained,
    empty_network,
    feature_gb_per_hour,
    latent_gb_per_hour,
)


def dry_run(config: ExperimentConfig, points: str = "", seeds: int = 1, *, final_model: bool = False) -> None:
    """Print the model's parts with their parameters, the trials, and finally the line `total_parameters N`.

    Args:
        points: of a sweep, such as '16 points x '.
        seeds: of a cross-validation.
        final_model: of a cross-validation: whether one is trained on all data.

    Raises:
        CorpusError: there is no such table, or it is not one that can be cross-validated.
    """
    corpus, settings = config.corpus, config.cluster
    n_classes, folds = _classes_and_folds(corpus)
    network = empty_network(config.model, n_classes, corpus.resolved_modalities, config.loss)
    parts, trained = count_parameters(network), count_trained(network)
    total = sum(parts.values())
    print(f"model     {config.model.audio} + {config.model.text}, modalities: {corpus.resolved_modalities}")
    for name, count in parts.items():
        print(f"  {name:<34}{count:>13,}")
    print(f"trained   {trained:,} of {total:,} parameters")
    print(f"classes   {n_classes}")
    per_worker = "1 where the cluster has any"
    if settings.gpus_per_worker is not None:
        per_worker = f"{settings.gpus_per_worker:g}"
    if seeds > 1:
        points = f"{seeds * folds}: {seeds} seeds x "
    trials = f"{points}{folds} fold{'s' * (folds > 1)} x {config.train.epochs} epochs"
    print(f"trials    {trials}; workers a trial: {settings.workers_per_trial}")
    if final_model:
        data = "the training and validation parts" if corpus.resolved_folds == "given" else "all data"
        print(f"final     one more trial on {data}, at most {config.train.epochs} epochs; {4 * total / 1e9:.2f} GB")
    cpus = f"{settings.cpus_per_worker}, and {settings.data_cpus_per_worker} for its data"
    print(f"worker    CPUs: {cpus}; GPUs: {per_worker}")
    variants = config.augment.variants if config.needs_augmented_view and config.augment.changes_audio else 0
    # Each seed has its own.
    kept = f", and 0.23 GB for each of {variants * seeds} augmented views" if variants else ""
    kept += _features(config)
    own, shared = (4 * n / 1e9 for n in count_saved(network))
    # While a trial runs: weights and two Adam moments of two epochs, and two best ones more.
    last = 32 * trained / 1e9
    once = f", {shared:.2f} GB once for what is frozen in them" if shared else ""
    each = "fold" if seeds == 1 else "fold and seed"
    print(
        f"disk      at most {own:.2f} GB a {each} for its model{once}, {last:.2f} GB more a running fold; "
        f"decoded audio 0.12 GB an hour of speech from 16-bit files at 16 kHz, of others 0.23 GB{kept}"
    )
    print(f"total_parameters {total}")


def _features(config: ExperimentConfig) -> str:
    """What the features of a frozen encoder take, or the latents of its frozen convolutions."""
    if not (config.keeps_audio_features or config.keeps_audio_latents):
        return ""
    encoder = audio_encoder_of(config.model)
    what, gb = "features of the frozen", feature_gb_per_hour(encoder, config.model)
    if config.keeps_audio_latents:
        what, gb = "what the frozen convolutions make for", latent_gb_per_hour(encoder)
    return f"; {what} {encoder.model.config.model_type} {gb:.2f} GB an hour of each of them" if gb else ""


def _classes_and_folds(corpus: CorpusConfig) -> tuple[int, int]:
    """How many a run will have; of published corpora, where they are always the same, without reading any."""
    known = corpus.known
    of_kind = {
        "given": 1,
        "groups": corpus.n_folds,
        "emobox": len(ravdess.EMOBOX_FOLDS),
        "session": known.n_sessions,
        "speaker": known.n_speakers,
    }
    n_folds = of_kind.get(corpus.resolved_folds or "", 0)
    if not (known.classes and n_folds):
        manifest = read_manifest(corpus, cache=Path())
        return len(manifest.classes), len(make_folds(manifest, corpus))
    return len(corpus.classes or known.classes), n_folds
