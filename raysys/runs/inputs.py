"""What trials read, prepared once before the first: the decoded corpus, views, new texts, features, and the folds."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from raysys.config import ExperimentConfig
from raysys.corpora.read import read_corpus
from raysys.data.cache import WaveformStore
from raysys.data.duplicates import equal_once_decoded
from raysys.data.folds import Fold, make_folds, published_partition
from raysys.data.manifest import Manifest, Skipped
from raysys.data.partition import partition_notes
from raysys.data.precompute import DecodedCorpus, decode_corpus, make_views
from raysys.data.recordings import read_recordings
from raysys.data.remarks import remark_notes
from raysys.data.scarce import scarce_notes
from raysys.data.statistics import CorpusStatistics, corpus_statistics, statistics_lines
from raysys.data.texts import make_texts
from raysys.data.views import Source
from raysys.errors import ManifestError
from raysys.report.tables import SYNTHETIC, corpus_lines
from raysys.runs.cluster import Cluster, check_nodes, running
from raysys.runs.encoders import trained_line
from raysys.runs.points import Point, refuse_long_queues, refuse_missing_votes
from raysys.runs.run import Run, local_cache, note_duplicates, with_places
from raysys.runs.trial import Trial, code_version, write_folds
from raysys.storage import Folder

if TYPE_CHECKING:
    from raysys.data.batch import TextFeatures


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What all trials of a run share; all of it is on storage.

    Attributes:
        run: with notes on utterances that are equal once decoded, on a published partition, and on scarce classes.
        manifest: of the utterances that decode.
        store: location of the decoded corpus.
        second_view: how much it differs from the first, for people; None where it is not measured.
    """

    run: Run
    manifest: Manifest
    folds: tuple[Fold, ...]
    store: str
    cluster: Cluster
    second_view: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What points with the same data and encoders train on: waveforms or features, and a file of texts per fold."""

    source: Source
    texts: list[str | None]
    text_features: TextFeatures | None


def prepare_run(run: Run, cluster: Cluster, *, whole: bool = False) -> Ground:
    """Check the nodes, decode the corpus, make the folds, and write what the trials read into the run's folder.

    Args:
        whole: also write `whole_fold`, as the last one.

    Raises:
        UserError: a node that does not see the data, audio that does not decode, too few speakers for nested folds,
            the same audio in a fold's test part and in what it learns from.
    """
    config = run.config
    check_nodes(run.folder, [run.manifest.utterances[0].audio_path, *(found.first() for found in run.recordings)])
    manifest, decoded, odd = _decoded(config, run.manifest, cluster)
    folds = make_folds(manifest, config.corpus)
    # Again: what does not decode may have been left out.
    refuse_long_queues(run.points, folds)
    refuse_missing_votes(run.points, manifest, folds)
    same = equal_once_decoded(manifest, decoded.digests)
    notes = note_duplicates(config, manifest, folds, same, "to the sample once decoded")
    notes += (*_partition_notes(config, manifest, folds), *scarce_notes(manifest, folds))
    run = dataclasses.replace(run, notes=(*run.notes, *odd, *notes))
    write_folds(run.folder, manifest, (*folds, whole_fold(manifest, folds)) if whole else folds)
    return Ground(run=run, manifest=manifest, folds=folds, store=decoded.location, cluster=cluster)


def counted_folds(folds: Sequence[Any]) -> str:
    """Such as '5 folds', or '1 fold' of a given partition."""
    return f"{len(folds)} fold{'s' * (len(folds) > 1)}"


def _partition_notes(config: ExperimentConfig, manifest: Manifest, folds: Sequence[Fold]) -> tuple[str, ...]:
    partition = published_partition(manifest, config.corpus, folds)
    return () if partition is None else partition_notes(partition, manifest)


def print_header(ground: Ground, trials: str) -> None:
    """Print what is about to run, on what, and where its results will be."""
    config, cluster = ground.run.config, ground.cluster
    print(corpus_lines(ground.manifest))
    if config.corpus.name == "demo":
        print(SYNTHETIC)
    print(f"model     {config.model.audio} + {config.model.text}, modalities: {config.corpus.resolved_modalities}")
    if trained := trained_line([p.config for p in ground.run.points], len(ground.manifest.classes)):
        print(f"trained   {trained}")
    if ground.second_view:
        print(f"audio     {ground.second_view}")
    print(
        f"trials    {trials}; at once: {cluster.trials_at_once}, workers of each: {config.cluster.workers_per_trial}\n"
        f"cluster   nodes: {cluster.nodes}, CPUs: {cluster.cpus}, GPUs: {cluster.gpus}\n"
        f"run       {ground.run.folder.location}",
        flush=True,
    )
    for note in ground.run.notes:
        print(f"note      {note}")
    if not cluster.trials_at_once:
        settings = config.cluster
        print(
            f"note      no node has {settings.reserved_cpus} CPUs and {cluster.gpus_per_worker:g} GPUs for a worker; "
            f"trials wait until one joins the cluster",
            flush=True,
        )


def whole_fold(manifest: Manifest, folds: Sequence[Fold]) -> Fold:
    """The fold that trains on all that some fold learns from and tests nothing, for a final model.

    That is the whole corpus, but of a given partition its training and validation parts: nobody expects a model to have
    learned from a published test part.
    """
    learned = {name for fold in folds for name in (*fold.train, *fold.validation)}
    train = tuple(u.utterance_id for u in manifest.utterances if u.utterance_id in learned)
    return Fold(index=len(folds), name="all", train=train, validation=(), test=())


def make_trials(ground: Ground, points: Sequence[Point], folds: Sequence[Fold] | None = None) -> list[Trial]:
    """A trial for each point and fold, point by point, with their inputs made unless an earlier point or run did.

    Args:
        folds: those of the ground unless given.
    """
    chosen = ground.folds if folds is None else tuple(folds)
    fingerprint, code = ground.manifest.fingerprint(), code_version()
    inputs: dict[Any, Inputs] = {}
    trials: list[Trial] = []
    for point in points:
        config, model = point.config, point.config.model
        # Everything that inputs depend on; the many points of a sweep share few of these.
        data = (config.corpus.resolved_modalities, config.needs_augmented_view, config.masked_lm)
        encoders = (model.audio, model.text, model.weights, model.freeze_audio, model.freeze_text)
        output = (model.layer, model.pool_frames, config.keeps_audio_latents)
        key = (config.augment, config.train.crop_s, config.train.seed, data, encoders, output)
        if key not in inputs:
            inputs[key] = _make_inputs(config, ground, chosen)
        for fold, texts in zip(chosen, inputs[key].texts, strict=True):
            trials.append(
                Trial(
                    config=config,
                    run=ground.run.folder.location,
                    source=inputs[key].source,
                    fold=fold.index,
                    fingerprint=fingerprint,
                    code=code,
                    texts=texts,
                    text_features=inputs[key].text_features,
                    point=point.name,
                )
            )
    return trials


def _make_inputs(config: ExperimentConfig, ground: Ground, folds: Sequence[Fold]) -> Inputs:
    manifest, cluster = ground.manifest, ground.cluster
    source = _source(config, manifest, ground.store, cluster)
    texts = make_texts(config, manifest, folds, cpus=cluster.idle_cpus, gpus_per_task=cluster.gpus_per_worker)
    # `features` imports torch and Ray Data, which most runs start seconds sooner without.
    if config.keeps_audio_features or config.keeps_audio_latents:
        from raysys.runs.features import make_audio_features

        source = dataclasses.replace(source, features=make_audio_features(config, manifest, source, cluster))
    text_features = None
    if config.keeps_text_features:
        from raysys.runs.features import make_text_features

        text_features = make_text_features(config, manifest, texts, cluster)
    return Inputs(source=source, texts=texts, text_features=text_features)


def _source(config: ExperimentConfig, manifest: Manifest, store: str, cluster: Cluster) -> Source:
    """Where the trials' waveforms come from; variants of the augmented view are made here, once for all."""
    cache = str(config.run.cache)
    recordings = read_recordings(config.augment, cache) if config.augments_audio else {}
    source = Source(
        store=store,
        augment=config.augment if config.needs_augmented_view else None,
        crop_s=config.train.crop_s,
        seed=config.train.seed,
        noises=recordings.get("--augment.noise-folder"),
        rooms=recordings.get("--augment.room-folder"),
    )
    if not (config.augments_audio and source.variants):
        return source
    views = make_views(manifest, source, cache, cpus=cluster.idle_cpus)
    return dataclasses.replace(source, views=views)


def _decoded(
    config: ExperimentConfig, manifest: Manifest, cluster: Cluster
) -> tuple[Manifest, DecodedCorpus, list[str]]:
    """Decode the corpus into the cache.

    Returns: the manifest of what decodes, the cache entry, and notes on odd recordings.
    """
    cache, trim_db = str(config.run.cache), config.corpus.trim_db
    decoded = decode_corpus(manifest, cache, trim_db=trim_db, cpus=cluster.idle_cpus)
    return without_undecodable(manifest, decoded.errors, config), decoded, remark_notes(decoded.remarks)


def without_undecodable(manifest: Manifest, errors: dict[str, str], config: ExperimentConfig) -> Manifest:
    """The manifest without what does not decode, if that is little and the user asked for it.

    Raises:
        ManifestError: naming the files.
    """
    if not errors:
        return manifest
    broken = [u for u in manifest.utterances if u.utterance_id in errors]
    if config.corpus.on_error == "fail" or len(broken) > len(manifest.utterances) / 10:
        shown = "\n".join(f"  {u.audio_path} {errors[u.utterance_id]}" for u in broken[:5])
        raise ManifestError(
            f"{len(broken)} of {len(manifest.utterances)} utterances cannot be used:\n{shown}\n"
            f"Fix or remove these files; to leave a few of many out, use --corpus.on-error skip."
        )
    skipped = tuple(
        Skipped(utterance_id=u.utterance_id, audio_path=u.audio_path, reason=errors[u.utterance_id]) for u in broken
    )
    kept = tuple(u for u in manifest.utterances if u.utterance_id not in errors)
    return dataclasses.replace(manifest, utterances=kept, skipped=manifest.skipped + skipped)


def prepare(config: ExperimentConfig) -> CorpusStatistics:
    """Read and check the corpus, make its folds, decode it into the cache, and make the augmented views that are kept.

    Prints what the corpus holds and where the cache is. Trains nothing and leaves no run.

    Raises:
        UserError: anything that the user must fix, before the cluster starts where it can be known then.
    """
    started = time.monotonic()
    config = with_places(config)
    manifest = read_corpus(config.corpus, cache=local_cache(config))
    make_folds(manifest, config.corpus)
    cache = str(config.run.cache)
    recordings = read_recordings(config.augment, cache) if config.augments_audio else {}
    with running(config) as cluster:
        check_nodes(Folder.at(cache), [manifest.utterances[0].audio_path, *(f.first() for f in recordings.values())])
        print(f"preparing   {len(manifest.utterances)} utterances on {cluster.nodes} node(s), into {cache}", flush=True)
        manifest, decoded, notes = _decoded(config, manifest, cluster)
        folds = make_folds(manifest, config.corpus)
        source = _source(config, manifest, decoded.location, cluster)
    statistics = corpus_statistics(manifest, decoded.digests)
    print(statistics_lines(statistics, folds))
    told = (*_partition_notes(config, manifest, folds), *scarce_notes(manifest, folds))
    for note in (*manifest.notes, *notes, *told):
        print(f"note        {note}")
    print(f"decoded     {decoded.location}, {_megabytes(decoded.location):.1f} MB")
    for variant, views in enumerate(source.views):
        print(f"views       {views}, {_megabytes(views):.1f} MB (variant {variant}, seed {source.seed})")
    if config.corpus.name == "demo":
        print(SYNTHETIC)
    print(
        f"{time.monotonic() - started:.0f} s; a run with the same corpus flags and --run.cache {cache} reads all this"
    )
    return statistics


def _megabytes(location: str) -> float:
    return WaveformStore(location).n_bytes / 1e6
