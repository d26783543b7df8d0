"""CBCA on the cluster: the new texts of every fold's training part, made once and kept for all trials."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from raysys.config import ExperimentConfig
from raysys.data.execution import run_tasks
from raysys.data.folds import Fold
from raysys.data.manifest import Manifest
from raysys.data.precompute import trial_environment
from raysys.orchestrate.session import Cluster
from raysys.sources import digest_of
from raysys.storage import Folder

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTask:
    """Training transcripts of one fold, and nothing of its validation or test part.

    Attributes:
        utterance_ids, texts, labels: of the training utterances with a transcript, by id.
        n_classes: C.
        model: 'light', a Hub name or a folder.
        conditional: with labels, after fine-tuning.
        k: new texts of each transcript.
        seed: of weights, masks and words.
        threads: of torch; the last bit of a sum depends on it, and with it, rarely, a word.
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
        """A hash of all that the new texts depend on."""
        values = [digest_of("raysys.orchestrate.texts:new_texts"), *(getattr(self, name) for name in self.__slots__)]
        return f"texts-{hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]}.parquet"


def text_task(config: ExperimentConfig, manifest: Manifest, fold: Fold) -> TextTask:
    """What CBCA may see of a fold."""
    labels = manifest.labels()
    by_id = {u.utterance_id: u for u in manifest.utterances}
    spoken = sorted((name, text) for name in fold.train if (text := by_id[name].transcript))
    return TextTask(
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
    config: ExperimentConfig, manifest: Manifest, folds: Sequence[Fold], cluster: Cluster
) -> list[str | None]:
    """New texts of every fold, those that are not in the cache already, folds side by side.

    Returns: the file of each fold; None where the augmented view keeps its text.

    Raises:
        EncoderError: the masked language model cannot be used.
    """
    if not config.rewrites_text:
        return [None] * len(folds)
    cache = Folder.at(str(config.run.cache))
    tasks = [text_task(config, manifest, fold) for fold in folds]
    missing = {task.file_name: task for task in tasks if not _is_whole(cache, task.file_name)}
    cpus = config.cluster.cpus_per_worker
    made = run_tasks(
        partial(_make, cache=cache.location),
        list(missing.values()),
        at_once=cluster.idle_cpus // cpus,
        num_cpus=cpus,
        num_gpus=cluster.gpus_per_worker,
        environment=trial_environment(),
    )
    for _ in made:
        pass
    return [f"{cache.location}/{task.file_name}" for task in tasks]


def _is_whole(cache: Folder, name: str) -> bool:
    if not cache.exists(name):
        return False
    try:
        read_texts(f"{cache.location}/{name}")
    except (pa.ArrowException, OSError, KeyError):
        print(f"cache     {cache.location}/{name} is damaged and is rebuilt", flush=True)
        return False
    return True


def read_texts(file: str) -> dict[str, tuple[str, ...]]:
    """New texts by utterance id."""
    location, name = file.rsplit("/", 1)
    columns = Folder.at(location).read_table(name).to_pydict()
    return {key: tuple(texts) for key, texts in zip(columns["utterance_id"], columns["texts"], strict=True)}


def _make(task: TextTask, cache: str) -> None:
    import torch

    torch.set_num_threads(task.threads)
    rows = new_texts(task, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    table = pa.table(
        {
            "utterance_id": list(task.utterance_ids),
            "texts": pa.array([list(row) for row in rows], pa.list_(pa.string())),
        }
    )
    Folder.at(cache).write_table(task.file_name, table)


def new_texts(task: TextTask, device: torch.device) -> list[tuple[str, ...]]:
    """Fit the masked language model on a fold's training transcripts and let it rewrite them."""
    # Here alone: the driver does without torch and transformers, which take seconds to import.
    from raysys.augment import cbca
    from raysys.augment.masked_lm import light_masked_lm, load_masked_lm
    from raysys.data.text import load_tokenizer, train_wordpiece

    if task.model == "light":
        tokenizer = train_wordpiece(list(task.texts))
        model = light_masked_lm(tokenizer, seed=task.seed)
        epochs, lr = cbca.LIGHT_EPOCHS, cbca.LIGHT_LR
    else:
        tokenizer = load_tokenizer(task.model, flag="--augment.cbca-model")
        model = load_masked_lm(task.model)
        epochs, lr = (cbca.PRETRAINED_EPOCHS if task.conditional else 0), cbca.PRETRAINED_LR
    fitted = cbca.fit(
        model,
        tokenizer,
        task.texts,
        task.labels,
        n_classes=task.n_classes,
        conditional=task.conditional,
        epochs=epochs,
        batch_size=cbca.BATCH_SIZE,
        lr=lr,
        seed=task.seed,
        device=device,
    )
    return cbca.alternatives(fitted, tokenizer, task.texts, task.labels, k=task.k, seed=task.seed)
