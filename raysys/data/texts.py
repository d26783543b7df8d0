"""CBCA on the cluster: new texts for every fold's training part, generated once for all trials."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from raysys.config import ExperimentConfig
from raysys.data.folds import Fold
from raysys.data.manifest import Manifest
from raysys.data.plan import derive_seed
from raysys.data.tasks import run_tasks
from raysys.errors import DamagedError
from raysys.sources import digest_of
from raysys.storage import Folder

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldTexts:
    """CBCA's input: the training transcripts of one fold, and nothing of its validation or test part.

    Attributes:
        utterance_ids, texts, labels: of the training utterances with a transcript, by id.
        n_classes: C.
        model: 'light', a Hub name or a folder.
        conditional: with labels, after fine-tuning.
        k: new texts per transcript.
        seed: of weights, masks and words.
        threads: torch threads; the last bit of a sum, and so rarely a word, depends on their number.
    """

    utterance_ids: tuple[str, ...]
    texts: tuple[str, ...]
    labels: tuple[int, ...]
    n_classes: int
    model: str
    conditional: bool
    k: int
    seed: int
    threads: int

    @property
    def file_name(self) -> str:
        """A hash of everything the new texts depend on."""
        values = [digest_of("raysys.data.texts:new_texts"), *(getattr(self, name) for name in self.__slots__)]
        return f"texts-{hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]}.parquet"


def fold_texts(config: ExperimentConfig, manifest: Manifest, fold: Fold) -> FoldTexts:
    """The part of a fold that CBCA is allowed to see."""
    labels = manifest.labels()
    by_id = {u.utterance_id: u for u in manifest.utterances}
    spoken = sorted((name, text) for name in fold.train if (text := by_id[name].transcript))
    return FoldTexts(
        utterance_ids=tuple(name for name, _ in spoken),
        texts=tuple(text for _, text in spoken),
        labels=tuple(labels[name] for name, _ in spoken),
        n_classes=len(manifest.classes),
        model=config.masked_lm,
        conditional=config.augment.cbca == "conditional",
        k=config.augment.cbca_texts,
        seed=config.train.seed,
        threads=config.cluster.cpus_per_worker,
    )


def make_texts(
    config: ExperimentConfig, manifest: Manifest, folds: Sequence[Fold], *, cpus: int, gpus_per_task: float
) -> list[str | None]:
    """Generate the new texts of every fold that are not in the cache, folds in parallel.

    Args:
        cpus: in total; each task uses `cluster.cpus_per_worker`.

    Returns: the file of each fold; None if the augmented view keeps its text.

    Raises:
        EncoderError: the masked language model cannot be used.
    """
    if not config.rewrites_text:
        return [None] * len(folds)
    cache = Folder.at(str(config.run.cache))
    texts = [fold_texts(config, manifest, fold) for fold in folds]
    missing = {fold.file_name: fold for fold in texts if not _is_whole(cache, fold.file_name)}
    if (largest := max((len(fold.texts) for fold in missing.values()), default=0)) > MOST_LEARNED:
        print(
            f"texts     the language model of a fold learns from {MOST_LEARNED} of up to {largest} transcripts, drawn "
            f"by the seed",
            flush=True,
        )
    per_task = config.cluster.cpus_per_worker
    made = run_tasks(
        partial(_make, cache=cache.location),
        list(missing.values()),
        at_once=cpus // per_task,
        num_cpus=per_task,
        num_gpus=gpus_per_task,
    )
    for _ in made:
        pass
    return [f"{cache.location}/{fold.file_name}" for fold in texts]


def _is_whole(cache: Folder, name: str) -> bool:
    if not cache.exists(name):
        return False
    try:
        read_texts(f"{cache.location}/{name}")
    except (DamagedError, OSError, KeyError):
        print(f"cache     {cache.location}/{name} is damaged and is rebuilt", flush=True)
        return False
    return True


def read_texts(file: str) -> dict[str, tuple[str, ...]]:
    """New texts by utterance id."""
    location, name = file.rsplit("/", 1)
    columns = Folder.at(location).read_table(name).to_pydict()
    return {key: tuple(texts) for key, texts in zip(columns["utterance_id"], columns["texts"], strict=True)}


def _make(fold: FoldTexts, cache: str) -> None:
    import torch

    torch.set_num_threads(fold.threads)
    rows = new_texts(fold, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    table = pa.table(
        {
            "utterance_id": list(fold.utterance_ids),
            "texts": pa.array([list(row) for row in rows], pa.list_(pa.string())),
        }
    )
    Folder.at(cache).write_table(fold.file_name, table)


def new_texts(fold: FoldTexts, device: torch.device) -> list[tuple[str, ...]]:
    """Train the masked language model on a fold's training transcripts and rewrite them with it."""
    # Imported here: the driver does not need torch and transformers, which take seconds to import.
    from raysys.augment import cbca
    from raysys.augment.masked_lm import light_masked_lm, load_masked_lm
    from raysys.data.text import load_tokenizer, train_wordpiece

    if fold.model == "light":
        tokenizer = train_wordpiece(list(fold.texts))
        model = light_masked_lm(tokenizer, seed=fold.seed)
        epochs, lr = cbca.LIGHT_EPOCHS, cbca.LIGHT_LR
    else:
        tokenizer = load_tokenizer(fold.model, flag="--augment.cbca-model")
        model = load_masked_lm(fold.model)
        epochs, lr = (cbca.PRETRAINED_EPOCHS if fold.conditional else 0), cbca.PRETRAINED_LR
    learned = _learned(len(fold.texts), fold.seed)
    fitted = cbca.fit(
        model,
        tokenizer,
        [fold.texts[i] for i in learned],
        [fold.labels[i] for i in learned],
        n_classes=fold.n_classes,
        conditional=fold.conditional,
        epochs=epochs,
        batch_size=cbca.BATCH_SIZE,
        lr=lr,
        seed=fold.seed,
        device=device,
        counted=fold.model == "light",
    )
    return cbca.alternatives(fitted, tokenizer, fold.texts, fold.labels, k=fold.k, seed=fold.seed)


MOST_LEARNED = 20_000
"""Transcripts that the language model is trained on, in 12,500 steps: more took 25 minutes a fold on one thread. They
are six times IEMOCAP's."""


def _learned(n_texts: int, seed: int) -> Sequence[int]:
    """Numbers of the transcripts to learn from: all if they are few."""
    if n_texts <= MOST_LEARNED:
        return range(n_texts)
    return sorted(random.Random(derive_seed(seed, "cbca")).sample(range(n_texts), MOST_LEARNED))
