"""Describe a run without network, corpus or cluster."""

from __future__ import annotations

from raysys.config import ExperimentConfig
from raysys.corpora import iemocap, ravdess
from raysys.model.encoders import audio_config
from raysys.model.parts import parts_of


def dry_run(config: ExperimentConfig, points: str = "") -> None:
    """Print the model's parts with their parameters, the trials, and finally the line `total_parameters N`.

    Args:
        points: of a sweep, such as '16 points x '.
    """
    corpus, settings = config.corpus, config.cluster
    n_classes, assumed = _classes(config)
    parts = parts_of(config.model, n_classes, corpus.resolved_modalities, config.loss)
    total = sum(parts.values())
    print(f"model     {config.model.audio} + {config.model.text}, modalities: {corpus.resolved_modalities}")
    for name, count in parts.items():
        print(f"  {name:<34}{count:>13,}")
    print(f"classes   {n_classes}{assumed}")
    folds = _folds(config)
    per_worker = "1 where the cluster has any"
    if settings.gpus_per_worker is not None:
        per_worker = f"{settings.gpus_per_worker:g}"
    print(
        f"trials    {points}{folds} folds x {config.train.epochs} epochs; workers a trial: {settings.workers_per_trial}"
    )
    cpus = f"{settings.cpus_per_worker}, and {settings.data_cpus_per_worker} for its data"
    print(f"worker    CPUs: {cpus}; GPUs: {per_worker}")
    variants = config.augment.variants if config.needs_augmented_view and config.augment.changes_audio else 0
    kept = f", and as much for each of {variants} augmented views" if variants else ""
    encoder = audio_config(config.model) if config.keeps_audio_features else None
    if encoder is not None:
        # Float32, 50 frames a second.
        gb = 4 * 50 * 3600 * encoder.hidden_size / 1e9
        kept += f"; features of the frozen {encoder.model_type} {gb:.2f} GB an hour of each of them"
    # Weights of the best epoch; while a trial runs, weights and two Adam moments of two epochs, and two best ones more.
    best, last = 4 * total / 1e9, 32 * total / 1e9
    print(
        f"disk      at most {best:.2f} GB a fold for the best weights, {last:.2f} GB more a running fold; "
        f"decoded audio 0.23 GB an hour of speech{kept}"
    )
    print(f"total_parameters {total}")


def _classes(config: ExperimentConfig) -> tuple[int, str]:
    match config.corpus.name:
        case "demo" | "iemocap":
            return len(iemocap.CLASSES), ""
        case "ravdess":
            return len(ravdess.CLASSES), ""
        case "table":
            named = len(config.corpus.classes)
            return (named, "") if named else (4, " (assumed: a table's classes are known when it is read)")


def _folds(config: ExperimentConfig) -> str:
    corpus = config.corpus
    match corpus.folds, corpus.name:
        case "groups", _:
            return str(corpus.n_folds)
        case (("auto" | "paper" | "session"), ("demo" | "iemocap")):
            return "5"
        case "speaker", ("demo" | "iemocap"):
            return "10"
        case ("paper", "ravdess"):
            return str(corpus.n_folds)
        case (("auto" | "emobox"), "ravdess"):
            return str(len(ravdess.EMOBOX_FOLDS))
        case "speaker", "ravdess":
            return "24"
        case _:
            return "(one a session, speaker or column value)"
