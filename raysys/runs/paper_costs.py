"""What the paper's parts take, before anything is spent: trials, GPU hours, disk. Needs the corpora, no cluster."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from raysys.config import ExperimentConfig
from raysys.corpora.read import read_corpus
from raysys.cost import BYTES_SAVED, Rate, Work, gpu_hours
from raysys.data.folds import Fold, make_folds
from raysys.data.manifest import Manifest
from raysys.model.network import Network
from raysys.model.parts import (
    audio_encoder_of,
    count_parameters,
    count_saved,
    count_trained,
    empty_network,
    feature_gb_per_hour,
    latent_gb_per_hour,
)
from raysys.presets import PRESETS
from raysys.runs.paper_parts import Part
from raysys.runs.run import local_cache, with_places

DECODED_GB_PER_HOUR = 16_000 * 4 * 3600 / 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """One corpus's share.

    Attributes:
        grid, final, ablation: what is trained; of the ablation by variant, without the trials of the grid search.
        disk_gb: what stays; running_gb: more for each trial at a time.
    """

    grid: Work
    final: Work
    ablation: dict[str, Work]
    disk_gb: float
    running_gb: float

    @property
    def works(self) -> tuple[Work, ...]:
        return (self.grid, self.final, *self.ablation.values())


def costs_of(part: Part, manifest: Manifest, folds: Sequence[Fold]) -> Costs:
    """What a part takes. All trials are counted as if they trained to their last epoch, the final model too."""
    n_classes = len(manifest.classes)
    # One of each size: building a network to count it takes a second, and a grid of weights has one size.
    sizes = {_size(point.config): point.config for point in part.points}
    largest = max((_work(c, n_classes, folds) for c in sizes.values()), key=lambda work: (work.views, work.parameters))
    grid = dataclasses.replace(largest, **_times(largest, len(part.points)))
    first = part.points[0]
    ablation = {
        variant.name: _work(part.variant_points[variant.name, first.name].config, n_classes, folds)
        for variant in part.own_variants()
    }
    network = _network(first.config, n_classes)
    # Each trial keeps the head's input of its test utterances; the model of each fold, and a whole one, stay.
    features = 4 * sum(len(fold.test) for fold in folds) * network.get_parameter("head.1.weight").shape[1]
    own, shared = count_saved(network)
    weights = 4 * (len(folds) * own + shared + sum(count_parameters(network).values()))
    parameters = max(work.parameters for work in (grid, *ablation.values()))
    return Costs(
        grid=grid,
        final=dataclasses.replace(grid, trials=1, trained_on=len(manifest.utterances), evaluated=0),
        ablation=ablation,
        disk_gb=(features * (len(part.points) + len(ablation)) + weights) / 1e9 + _shared_gb(part, manifest),
        # Checkpoints of two epochs, and two best ones.
        running_gb=(2 * BYTES_SAVED + 8) * parameters / 1e9,
    )


def _size(config: ExperimentConfig) -> tuple[object, ...]:
    """What decides how large the network is, and how many views a step has."""
    loss = config.loss
    return (
        config.model,
        config.corpus.resolved_modalities,
        loss.contrasts,
        loss.active_cpc,
        config.needs_augmented_view,
    )


def _network(config: ExperimentConfig, n_classes: int) -> Network:
    return empty_network(config.model, n_classes, config.corpus.resolved_modalities, config.loss)


def _work(config: ExperimentConfig, n_classes: int, folds: Sequence[Fold]) -> Work:
    """One configuration on every fold. The test part is scored after every epoch too, for the paper's protocol."""
    return Work(
        trials=len(folds),
        epochs=config.train.epochs,
        trained_on=sum(len(fold.train) for fold in folds),
        evaluated=sum(len(fold.validation) + len(fold.test) for fold in folds),
        views=2 if config.needs_augmented_view else 1,
        parameters=count_trained(_network(config, n_classes)),
    )


def _times(work: Work, n: int) -> dict[str, int]:
    return {name: n * getattr(work, name) for name in ("trials", "trained_on", "evaluated")}


def _shared_gb(part: Part, manifest: Manifest) -> float:
    """The cache that all trials of a corpus share: decoded audio, its augmented views, features of frozen encoders."""
    hours, config = sum(u.duration_s or 0.0 for u in manifest.utterances) / 3600, part.points[0].config
    views = config.augment.variants if config.needs_augmented_view and config.augment.changes_audio else 0
    each = DECODED_GB_PER_HOUR
    if config.keeps_audio_features:
        each += feature_gb_per_hour(audio_encoder_of(config.model), config.model)
    elif config.keeps_audio_latents:
        each += latent_gb_per_hour(audio_encoder_of(config.model))
    return hours * each * (1 + views)


def paper_dry_run(parts: Sequence[Part], gpu: str, rate: Rate, dollars_per_hour: float | None) -> None:
    """Read and check the corpora, and print what would be trained and what that takes.

    Raises:
        CorpusError: as a run would.
    """
    every: list[Costs] = []
    for part in parts:
        config = with_places(part.config)
        manifest = read_corpus(config.corpus, cache=local_cache(config))
        folds = make_folds(manifest, config.corpus)
        every.append(costs_of(part, manifest, folds))
        rated = None if not _measured(part.config, rate) else rate
        print("\n".join(part_lines(part, manifest, folds, every[-1], rated)))
    rated = rate if all(_measured(part.config, rate) for part in parts) else None
    print("\n".join(total_lines(every, gpu, rated, dollars_per_hour)))


def _measured(config: ExperimentConfig, rate: Rate) -> bool:
    """Whether a rate is of this model: those of the table are of the paper's, those of a user of what is trained."""
    return rate.source.startswith("--") or config.model == PRESETS["paper"]().model


def part_lines(part: Part, manifest: Manifest, folds: Sequence[Fold], costs: Costs, rate: Rate | None) -> list[str]:
    hours = sum(u.duration_s or 0.0 for u in manifest.utterances) / 3600
    config, n_folds = part.config, len(folds)
    total = sum(count_parameters(_network(part.points[0].config, len(manifest.classes))).values())

    def line(name: str, what: str, works: Sequence[Work], gives: str) -> str:
        trials = sum(work.trials for work in works)
        spent = "" if rate is None else f"{gpu_hours(works, rate.utterances_per_s):8.1f} GPU hours"
        return f"  {name:<9} {what:<54}{trials:>4} trial{'s' if trials > 1 else ' '}{spent}  {gives}"

    epochs = config.train.epochs
    table, figure = ("table 1", "figure 3") if part.corpus == "iemocap" else ("table 2", "figure 4")
    lines = [
        f"corpus    {manifest.title}: {len(manifest.utterances)} utterances, {hours:.2f} h, "
        f"{len(manifest.speakers)} speakers; {n_folds} folds: {', '.join(fold.name for fold in folds)}",
        f"model     {config.model.audio} + {config.model.text}, modalities: {config.corpus.resolved_modalities}; "
        f"{total:,} parameters, {costs.grid.parameters:,} of them trained",
        line(
            "grid",
            f"{len(part.points)} points x {n_folds} folds x {epochs} epochs",
            [costs.grid],
            f"{table} by both protocols, the heat map, {figure}",
        ),
        line("final", f"the chosen point on all data, at most {epochs} epochs", [costs.final], "the final model"),
    ]
    if part.variants:
        what = f"{len(part.variants)} variants x {n_folds} folds, of which {n_folds} are the grid's"
        lines.append(line("ablation", what, [*costs.ablation.values()], "figures 5, 6 and 7"))
    return lines


def total_lines(every: Sequence[Costs], gpu: str, rate: Rate | None, dollars_per_hour: float | None) -> list[str]:
    works = [work for costs in every for work in costs.works]
    trials = sum(work.trials for work in works)
    disk, running = sum(costs.disk_gb for costs in every), max(costs.running_gb for costs in every)
    stays = (
        f"disk      {disk:.2f} GB stay (decoded audio, views, features, weights), and at most {running:.2f} GB for "
        f"each trial at a time"
    )
    if rate is None:
        return [
            f"total     {trials} trials",
            "hours     not estimated: what was measured is of preset paper's model. Give --utterances-per-second, such "
            "as `raysys bench` finds",
            stays,
        ]
    hours = gpu_hours(works, rate.utterances_per_s)
    lines = [
        f"total     {trials} trials, {hours:,.1f} GPU hours on {gpu}: {hours:,.1f} h on one GPU, {hours / 8:,.1f} h on "
        f"eight if all are always busy",
        f"rate      {rate.utterances_per_s:g} utterances/s in training: {rate.source}",
        "          Smaller batches, such as the paper's of 4, are slower: --utterances-per-second",
        "          Not counted: decoding, CBCA's language models, features of frozen encoders, waiting for machines",
    ]
    if dollars_per_hour is not None:
        lines.append(f"price     ${hours * dollars_per_hour:,.2f} at ${dollars_per_hour:,.2f} a GPU hour")
    return [*lines, stays]
