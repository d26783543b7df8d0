"""What comes before the first trial: checks, the decoded corpus, the folds, and what the trials share, made once."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raysys.cli import to_yaml
from raysys.config import BUILT_IN, ExperimentConfig
from raysys.corpora.read import read_corpus
from raysys.data.duplicates import Duplicate, check_duplicates, equal_bytes, equal_once_decoded
from raysys.data.folds import Fold, make_folds
from raysys.data.manifest import Manifest, Skipped
from raysys.data.precompute import decode_corpus, make_views
from raysys.data.views import Source
from raysys.data.waveforms import WaveformStore
from raysys.errors import ConfigError, ManifestError
from raysys.orchestrate import session
from raysys.orchestrate.lock import locked
from raysys.orchestrate.places import with_places
from raysys.orchestrate.task import FoldTask, code_version, write_plan
from raysys.orchestrate.texts import make_texts
from raysys.storage import Folder, is_address

if TYPE_CHECKING:
    from raysys.data.batch import TextFeatures

CONFIG = "config.yaml"
CLAIM = "run.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One configuration of a run: a grid point, a variant on a seed; a cross-validation has one without a name.

    Attributes:
        typed: a grid point's values, in the axes' order.
    """

    name: str
    config: ExperimentConfig
    typed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A run that may start: everything that can be known without a cluster is in order.

    Attributes:
        config: with absolute paths.
        points: what is trained, with absolute paths.
        learning_hash: of all that the points' results depend on, but for the corpus.
        notes: what the run must say.
    """

    config: ExperimentConfig
    run: Folder
    manifest: Manifest
    points: tuple[Point, ...]
    learning_hash: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What all trials share: the utterances that decode, their waveforms, the folds; all of it is on storage."""

    checked: Checked
    manifest: Manifest
    folds: tuple[Fold, ...]
    store: str
    cluster: session.Cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What points that see and read the same train on: waveforms or their features, and a file of texts a fold."""

    source: Source
    texts: list[str | None]
    text_features: TextFeatures | None


def check(config: ExperimentConfig, points: Sequence[Point], kind: str) -> Checked:
    """Read the corpus, cut the folds, read the encoders' configurations. Nothing is written to the run's folder.

    Args:
        config: what the points have in common: corpus, cluster, run.
        points: what is to be trained.
        kind: of the job; with the corpus and a hash of the points it names a run that the user did not name.

    Raises:
        UserError: anything that the user must fix.
    """
    config = with_places(config)
    points = tuple(dataclasses.replace(p, config=_at_the_places_of(config, p.config)) for p in points)
    every = json.dumps([[p.name, p.config.learning_hash()] for p in points])
    learning_hash = hashlib.sha256(every.encode()).hexdigest()[:16]
    run = Folder.at(str(config.run.root)) / (config.run.name or f"{kind}-{config.corpus.name}-{learning_hash[:8]}")
    notes = _check_models(points)
    manifest = read_corpus(config.corpus, cache=local_cache(config))
    folds = make_folds(manifest, config.corpus)
    notes += _check_duplicates(config, manifest, folds, equal_bytes(manifest.utterances), "to the byte")
    return Checked(
        config=config,
        run=run,
        manifest=manifest,
        points=points,
        learning_hash=learning_hash,
        notes=tuple(notes),
    )


def _check_models(points: Sequence[Point]) -> list[str]:
    """Read the encoders' configurations. Returns: what the run must say of them."""
    models = dict.fromkeys((p.config.model, _masked_lm(p.config)) for p in points)
    if {name for model, masked_lm in models for name in (model.audio, model.text, masked_lm)} <= set(BUILT_IN):
        return []
    # Imports torch: 3 s for which a start without pretrained encoders does not wait.
    from raysys.model.encoders import check_encoders, check_padding

    for model, masked_lm in models:
        check_encoders(model, masked_lm=masked_lm)
    heard = {(model.audio, model.weights): model for model, _ in models}.values()
    return [note for model in heard if (note := check_padding(model)) is not None]


@contextlib.contextmanager
def claimed(checked: Checked) -> Iterator[None]:
    """Hold the run's folder, with config.yaml in it.

    Raises:
        StorageError: another run is at work there.
        ConfigError: it holds a run of another configuration or corpus.
    """
    run = checked.run
    with locked(run):
        mine = {"learning_hash": checked.learning_hash, "fingerprint": checked.manifest.fingerprint()}
        if run.exists(CLAIM) and run.read_json(CLAIM) != mine:
            raise ConfigError(
                f"{run.location}: this folder holds a run of another configuration or corpus (see its {CONFIG}). "
                f"Choose another --run.name, or remove the folder."
            )
        run.write_json(CLAIM, mine)
        run.write_bytes(CONFIG, to_yaml(checked.config).encode())
        yield


def _masked_lm(config: ExperimentConfig) -> str:
    return config.masked_lm if config.rewrites_text else "light"


def lay(checked: Checked, cluster: session.Cluster, *, whole: bool = False) -> Ground:
    """Check the nodes, decode the corpus, cut the folds, and put what the trials read into the run's folder.

    The ground's `checked` has a note more where utterances turn out to be the same once decoded.

    Args:
        whole: also `whole_fold`, as the last one.

    Raises:
        UserError: a node that does not see the data, audio that does not decode, too few speakers for nested folds,
            the same audio in a fold's test part and in what it learns from.
    """
    config, manifest = checked.config, checked.manifest
    session.check_nodes(checked.run, manifest.utterances[0].audio_path)
    store, errors = decode_corpus(
        manifest, str(config.run.cache), trim_db=config.corpus.trim_db, cpus=cluster.idle_cpus
    )
    manifest = without_undecodable(manifest, errors, config)
    folds = make_folds(manifest, config.corpus)
    same = equal_once_decoded(manifest, WaveformStore(store))
    notes = _check_duplicates(config, manifest, folds, same, "to the sample once decoded")
    checked = dataclasses.replace(checked, notes=(*checked.notes, *notes))
    write_plan(checked.run, manifest, (*folds, whole_fold(manifest, len(folds))) if whole else folds)
    return Ground(checked=checked, manifest=manifest, folds=folds, store=store, cluster=cluster)


def whole_fold(manifest: Manifest, index: int) -> Fold:
    """The fold that trains on everything and tests nothing, for a final model."""
    everything = tuple(u.utterance_id for u in manifest.utterances)
    return Fold(index=index, name="all", train=everything, validation=(), test=())


def _check_duplicates(
    config: ExperimentConfig, manifest: Manifest, folds: Sequence[Fold], duplicates: Sequence[Duplicate], how: str
) -> tuple[str, ...]:
    # A text-only model does not use the audio.
    allowed = config.corpus.allow_duplicates or config.corpus.resolved_modalities == "text"
    return check_duplicates(manifest, folds, duplicates, how, allowed=allowed)


def make_tasks(ground: Ground, points: Sequence[Point], folds: Sequence[Fold] | None = None) -> list[FoldTask]:
    """A task for each point and fold, point by point; what no earlier point had made is made: views, texts, features.

    Args:
        folds: those of the ground unless given.
    """
    chosen = ground.folds if folds is None else tuple(folds)
    fingerprint = ground.manifest.fingerprint()
    inputs: dict[Any, Inputs] = {}
    tasks: list[FoldTask] = []
    for point in points:
        config = point.config
        # All that inputs depend on; the many points of a sweep have few of these.
        seeing = (config.corpus.resolved_modalities, config.needs_augmented_view, config.masked_lm)
        model = config.model
        encoders = (model.audio, model.text, model.weights, model.freeze_audio, model.freeze_text, model.layer)
        key = (config.augment, config.train.crop_s, config.train.seed, seeing, encoders)
        if key not in inputs:
            inputs[key] = _make_inputs(config, ground, chosen)
        for fold, new_texts in zip(chosen, inputs[key].texts, strict=True):
            tasks.append(
                FoldTask(
                    config=config,
                    run=ground.checked.run.location,
                    source=inputs[key].source,
                    fold=fold.index,
                    fingerprint=fingerprint,
                    code=code_version(),
                    texts=new_texts,
                    text_features=inputs[key].text_features,
                    point=point.name,
                )
            )
    return tasks


def _make_inputs(config: ExperimentConfig, ground: Ground, folds: Sequence[Fold]) -> Inputs:
    manifest, cluster = ground.manifest, ground.cluster
    source = source_of(config, manifest, ground.store, cluster)
    texts = make_texts(config, manifest, folds, cluster)
    # `features` imports torch and Ray Data, without which most runs start seconds sooner.
    if config.keeps_audio_features:
        from raysys.orchestrate.features import make_audio_features

        source = dataclasses.replace(source, features=make_audio_features(config, manifest, source, cluster))
    text_features = None
    if config.keeps_text_features:
        from raysys.orchestrate.features import make_text_features

        text_features = make_text_features(config, manifest, texts, cluster)
    return Inputs(source=source, texts=texts, text_features=text_features)


def source_of(config: ExperimentConfig, manifest: Manifest, store: str, cluster: session.Cluster) -> Source:
    """Where the trials' waveforms come from; variants of the augmented view are made here, once for all."""
    source = Source(
        store=store,
        augment=config.augment if config.needs_augmented_view else None,
        crop_s=config.train.crop_s,
        seed=config.train.seed,
    )
    heard = config.corpus.resolved_modalities != "text"
    if not (heard and source.variants and config.augment.changes_audio):
        return source
    return dataclasses.replace(
        source, views=make_views(manifest, source, str(config.run.cache), cpus=cluster.idle_cpus)
    )


def _at_the_places_of(config: ExperimentConfig, point: ExperimentConfig) -> ExperimentConfig:
    corpus = dataclasses.replace(point.corpus, root=config.corpus.root)
    return dataclasses.replace(point, run=config.run, corpus=corpus)


def local_cache(config: ExperimentConfig) -> Path:
    """Where the demo corpus is made: it is read as files, so its place is a disk."""
    cache = str(config.run.cache)
    if is_address(cache) and config.corpus.name == "demo":
        raise ConfigError(f"--run.cache {cache}: the demo corpus is read as files; give --run.cache a folder.")
    return Path(cache)


def without_undecodable(manifest: Manifest, errors: dict[str, str], config: ExperimentConfig) -> Manifest:
    """The manifest without what does not decode, where few are and the user asked for it.

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
