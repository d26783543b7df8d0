"""How time and memory scale with corpus size, number of trials and data tasks; savings from cached features."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import ray
import soundfile
import torch
from transformers import DistilBertConfig, DistilBertModel, Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from raysys.bench.commands import Ran, run_job
from raysys.bench.measure import Row, row_of
from raysys.config import AugmentConfig, CorpusConfig, TrainConfig
from raysys.corpora.read import read_corpus
from raysys.data.manifest import Manifest, Utterance
from raysys.data.plan import training_epoch
from raysys.data.precompute import decode_corpus
from raysys.data.stream import stream
from raysys.data.text import train_wordpiece
from raysys.data.views import Source

CORPUS_TIMES = (1, 3, 10)
TRIALS = (10, 100, 1000)
_GIB = 2**30
_TINY = (
    "--model.audio", "tiny", "--model.text", "tiny", "--model.width", "32", "--model.heads", "4",
    "--model.feed-forward", "64", "--train.epochs", "1", "--train.max-steps", "1", "--augment.cbca", "none",
)  # fmt: skip
_UNCACHED = """
from raysys.config import ExperimentConfig
for name in ("keeps_audio_features", "keeps_text_features"):
    setattr(ExperimentConfig, name, property(lambda _: False))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """Measurements for one size, for the figure.

    Attributes:
        size: multiple of the corpus, or number of trials.
        driver_gib, trial_gib: peak memory of the driver and of the largest training process.
        waited: fraction of an epoch spent waiting for batches, median over folds.
    """

    size: int
    seconds: float
    driver_gib: float
    trial_gib: float
    waited: float = 0.0


def _growth(size: int, ran: Ran) -> Growth:
    return Growth(
        size=size,
        seconds=ran.seconds,
        driver_gib=ran.driver_bytes / _GIB,
        trial_gib=ran.trial_bytes / _GIB,
        waited=statistics.median(h["waited_s"] / h["seconds"] for h in ran.histories()),
    )


def read_demo_or(ravdess: str | None, scratch: Path) -> Manifest:
    """The base corpus that sizes are multiples of."""
    if ravdess is not None:
        return read_corpus(CorpusConfig(name="ravdess", root=ravdess), cache=scratch)
    return read_corpus(CorpusConfig(), cache=scratch)


def corpus_growth(manifest: Manifest, scratch: Path) -> list[Growth]:
    """One epoch of preset `light`, with every view augmented during training, on multiples of the corpus."""
    found: list[Growth] = []
    for times in CORPUS_TIMES:
        table = scratch / f"times{times}.csv"
        _write_table(table, [u for u in manifest.utterances for _ in range(times)])
        flags = ["--preset", "light", "--corpus.name", "table", "--corpus.root", str(table), "--corpus.folds", "groups"]
        flags += ["--corpus.modalities", "audio", "--augment.variants", "0", "--train.epochs", "1"]
        found.append(_growth(times, run_job("crossval", scratch, f"times{times}", *flags)))
    return found


def trial_growth(scratch: Path, counts: Sequence[int] = TRIALS) -> list[Growth]:
    """Trials of one step on thirty short tones, to measure the overhead of a trial."""
    table = _write_tones(scratch)
    found: list[Growth] = []
    # The first run decodes the tones and warms the disk cache.
    for number, count in enumerate((counts[0], *counts)):
        values = ",".join(f"{1e-4 * (1 + i / 1000):.7g}" for i in range(count // 5))
        flags = ["--grid", f"optim.lr={values}", "--corpus.name", "table", "--corpus.root", str(table)]
        grown = _growth(count, run_job("gridsearch", scratch, f"trials{number}-{count}", *flags, *_TINY))
        found += [grown] if number else []
    return found


def torch_trainer_row(scratch: Path) -> Row:
    """Extra cost per fold of two TorchTrainer workers compared with one in the trial's own process."""
    table = _write_tones(scratch)
    flags = ["--corpus.name", "table", "--corpus.root", str(table), *_TINY, "--cluster.max-concurrent-trials", "1"]
    one = run_job("crossval", scratch, "one-worker", *flags)
    two = run_job("crossval", scratch, "two-workers", *flags, "--cluster.workers-per-trial", "2")
    folds = len(one.results())
    note = "per fold, compared with one worker in the trial's own process"
    return row_of("torch_trainer_overhead_s", [(two.seconds - one.seconds) / folds], "s", note)


def cached_grid_rows(scratch: Path, manifest: Manifest) -> list[Row]:
    """A grid of 16 points and 5 folds with frozen base-size encoders, against the same without cached features.

    The second would take hours, so only one point is trained; the other fifteen are assumed to cost the same.

    Raises:
        AssertionError: the predictions for an utterance differ by more than rounding.
    """
    table = scratch / "some.csv"
    _write_table(table, manifest.utterances[:: max(1, len(manifest.utterances) // 100)])
    audio, text = _write_encoders(scratch, [u.transcript or "" for u in manifest.utterances])
    flags = ["--corpus.name", "table", "--corpus.root", str(table), "--corpus.folds", "groups", "--train.epochs", "2"]
    flags += ["--model.audio", str(audio), "--model.text", str(text), "--model.freeze-audio", "all"]
    flags += ["--model.freeze-text", "all", "--augment.variants", "2", "--augment.cbca-model", "light"]
    cached = run_job("gridsearch", scratch, "cached", *flags)
    point = ("--grid", "loss.alpha=1", "--grid", "loss.beta=1")
    uncached = run_job("gridsearch", scratch, "uncached", *flags, *point, before=_UNCACHED)
    paths = sorted((uncached.folder / "trials").glob("*/predictions.parquet"))
    for path in paths:
        ours, theirs = (pq.read_table(p) for p in (cached.folder / path.relative_to(uncached.folder), path))
        for column in (name for name in ours.column_names if name.startswith("p_")):
            np.testing.assert_allclose(ours[column], theirs[column], atol=1e-3)
    trials = len(list((cached.folder / "trials").iterdir()))
    per_trial_s = statistics.fmean(r["ended"] - r["started"] for r in uncached.results() if r["n"])
    at_once = len({r["process"] for r in uncached.results()})
    whole_s = uncached.seconds + (trials - len(paths)) * per_trial_s / at_once
    ours_s = statistics.fmean(r["ended"] - r["started"] for r in cached.results() if r["n"])
    note = f"{cached.seconds:.0f} s, including feature extraction, against {whole_s:.0f} s, from {len(paths)} trials"
    return [
        row_of("cached_grid_vs_uncached", [cached.seconds / whole_s], "of 1", note),
        row_of(
            "cached_trial_vs_uncached", [ours_s / per_trial_s], "of 1", f"{ours_s:.1f} s against {per_trial_s:.0f} s"
        ),
    ]


def feeding_row(manifest: Manifest, scratch: Path) -> Row:
    """Two data tasks against one, without training."""
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        store = decode_corpus(manifest, str(scratch / ".cache"), trim_db=None, cpus=2).location
        source = Source(store=store, augment=AugmentConfig(), crop_s=13.0, seed=0)
        durations_s = {u.utterance_id: u.duration_s or 0.0 for u in manifest.utterances}
        plan = training_epoch(list(durations_s), durations_s, manifest.labels(), TrainConfig(batch_size=16), 0)
        taken: dict[int, list[float]] = {1: [], 2: []}
        for tasks in (2, 1, 2, 1, 2, 1, 2):
            started = time.monotonic()
            for _ in stream(plan, source, rank=0, workers=1, data_cpus=tasks):
                pass
            taken[tasks].append(time.monotonic() - started)
    finally:
        ray.shutdown()
    # The first run waited for its processes to start.
    gains = [one / two for one, two in zip(taken[1], taken[2][1:], strict=True)]
    note = f"{statistics.median(taken[1]):.1f} s per epoch with one task; no training"
    return row_of("two_data_tasks_vs_one", gains, "x", note)


def growth_rows(corpus: Sequence[Growth], trials: Sequence[Growth]) -> list[Row]:
    """The largest corpus against the smallest, and the marginal cost of trials."""
    small, large = corpus[0], corpus[-1]
    rows = [
        row_of(
            "corpus_memory_growth",
            [large.trial_gib / small.trial_gib],
            "x",
            f"training process, corpus {large.size // small.size} times as large; {small.trial_gib:.2f} GiB before",
        ),
        row_of("data_wait_share_large", [large.waited], "of 1", "the same; every view augmented during training"),
        row_of("corpus_time_growth", [large.seconds / small.seconds], "x", f"the same; {small.seconds:.0f} s before"),
    ]
    for one, more in itertools.pairwise(trials):
        rows.append(
            row_of(
                f"trial_seconds_{one.size}_to_{more.size}",
                [(more.seconds - one.seconds) / (more.size - one.size)],
                "s per trial",
                f"driver {one.driver_gib:.2f} to {more.driver_gib:.2f} GiB",
            )
        )
    return rows


def _write_table(path: Path, utterances: Sequence[Utterance]) -> None:
    columns = ["utterance_id", "audio_path", "speaker", "emotion", "transcript"]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for number, u in enumerate(utterances):
            writer.writerow([f"{u.utterance_id}-{number}", u.audio_path, u.speaker, u.emotion, u.transcript or ""])


def _write_tones(scratch: Path) -> Path:
    path = scratch / "tones.csv"
    utterances: list[Utterance] = []
    for number in range(30):
        audio = scratch / f"tone{number}.wav"
        time_s = np.arange(8000) / 16_000
        soundfile.write(audio, 0.3 * np.sin(2 * np.pi * (200 + 300 * (number % 2)) * time_s), 16_000)
        utterances.append(
            Utterance(
                utterance_id=f"t{number}",
                audio_path=str(audio),
                speaker=f"s{number // 6}",
                emotion=("low", "high")[number % 2],
                transcript="a tone",
            )
        )
    _write_table(path, utterances)
    return path


def _write_encoders(scratch: Path, texts: Sequence[str]) -> tuple[Path, Path]:
    """Save randomly initialised base-size wav2vec 2.0 and DistilBERT models to folders."""
    audio, text = scratch / "audio", scratch / "text"
    torch.manual_seed(0)
    Wav2Vec2Model(Wav2Vec2Config()).save_pretrained(audio)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(audio)
    tokenizer = train_wordpiece(texts)
    tokenizer.save_pretrained(text)
    DistilBertModel(DistilBertConfig(vocab_size=len(tokenizer))).save_pretrained(text)
    return audio, text


def scaling_rows(
    ravdess: str | None, scratch: Path, picture: Path, show: Callable[[list[Row]], list[Row]]
) -> tuple[list[Row], dict[str, list[dict[str, float]]]]:
    """All scaling rows, and the figure. Returns: the rows, and the data of the figure."""
    from raysys.report.scaling import scaling_picture

    manifest = read_demo_or(ravdess, scratch)
    rows = show([feeding_row(manifest, scratch)])
    rows += show(cached_grid_rows(scratch, read_demo_or(None, scratch)))
    corpus, trials = corpus_growth(manifest, scratch), trial_growth(scratch)
    rows += show(growth_rows(corpus, trials))
    rows += show([torch_trainer_row(scratch)])
    values = {"corpus": [dataclasses.asdict(g) for g in corpus], "trials": [dataclasses.asdict(g) for g in trials]}
    picture.write_bytes(scaling_picture(values, corpus=manifest.corpus))
    return rows, values
