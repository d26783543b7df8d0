"""Everything that can be made ahead of a cross-validation or a sweep, which then finds it in the cache."""

from __future__ import annotations

import time

from raysys.config import ExperimentConfig
from raysys.corpora.read import read_corpus
from raysys.data.duplicates import waveform_digests
from raysys.data.folds import make_folds
from raysys.data.precompute import decode_corpus
from raysys.data.statistics import CorpusStatistics, corpus_statistics, statistics_lines
from raysys.data.waveforms import WaveformStore
from raysys.orchestrate import session
from raysys.orchestrate.groundwork import local_cache, source_of, without_undecodable
from raysys.orchestrate.places import with_places
from raysys.report.tables import SYNTHETIC
from raysys.storage import Folder

_BYTES_PER_SAMPLE = 4


def prepare(config: ExperimentConfig) -> CorpusStatistics:
    """Read and check the corpus, cut its folds, decode it into the cache, make the augmented views that are kept.

    Prints what the corpus holds and where the cache is. Trains nothing and leaves no run.

    Raises:
        UserError: anything that the user must fix, before the cluster starts where it can be known then.
    """
    started = time.monotonic()
    config = with_places(config)
    manifest = read_corpus(config.corpus, cache=local_cache(config))
    make_folds(manifest, config.corpus)
    cache = str(config.run.cache)
    with session.running(config) as cluster:
        session.check_nodes(Folder.at(cache), manifest.utterances[0].audio_path)
        print(f"preparing   {len(manifest.utterances)} utterances on {cluster.nodes} node(s), into {cache}", flush=True)
        store, errors = decode_corpus(manifest, cache, trim_db=config.corpus.trim_db, cpus=cluster.idle_cpus)
        manifest = without_undecodable(manifest, errors, config)
        folds = make_folds(manifest, config.corpus)
        source = source_of(config, manifest, store, cluster)
    decoded = WaveformStore(store)
    statistics = corpus_statistics(manifest, waveform_digests(decoded))
    print(statistics_lines(statistics, folds))
    print(f"decoded     {store}, {_megabytes(decoded):.1f} MB")
    for variant, views in enumerate(source.views):
        print(f"views       {views}, {_megabytes(WaveformStore(views)):.1f} MB (variant {variant}, seed {source.seed})")
    if config.corpus.name == "demo":
        print(SYNTHETIC)
    print(
        f"{time.monotonic() - started:.0f} s; a run with the same corpus flags and --run.cache {cache} reads all this"
    )
    return statistics


def _megabytes(store: WaveformStore) -> float:
    return _BYTES_PER_SAMPLE * sum(samples or 0 for samples in store.samples.values()) / 1e6
