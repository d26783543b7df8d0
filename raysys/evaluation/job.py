"""Score a trained model on a corpus: read, predict under each condition, add up, write."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from raysys.config import CorpusConfig
from raysys.corpora.read import read_corpus
from raysys.data.audio import decode
from raysys.data.manifest import Manifest, Utterance
from raysys.data.plan import derive_seed
from raysys.errors import AudioError, ConfigError, StorageError
from raysys.evaluation.distortions import DISTORTIONS, Distortion
from raysys.evaluation.page import page
from raysys.evaluation.scores import Evaluation, condition_of, evaluation_table, parts_of, predictions_of
from raysys.inference import EmotionModel, Ensemble, load_model
from raysys.report.results import made_now
from raysys.report.tables import SYNTHETIC, corpus_lines
from raysys.results import PREDICTIONS, CorpusFacts, RunResult
from raysys.storage import Folder, absolute

EVALUATION = "evaluation.json"
_AT_ONCE = 128
"""Utterances in memory at a time."""
_EVERY_S = 5.0


def evaluate(location: str, corpus: CorpusConfig, *, cache: Path, out: str | None, robustness: bool) -> Evaluation:
    """Score a model on a corpus that it has not learned from.

    Args:
        location: folder or address of a model or of a finished run.
        corpus: its emotions after --corpus.emotion-map must be among the model's classes.
        cache: where what is known of audio files is kept, and the demo corpus is generated.
        out: folder or address for evaluation.json, evaluation.html and predictions.parquet; None: nothing is written.
        robustness: also under each of `DISTORTIONS`.

    Raises:
        UserError: anything that the user must fix.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_model(location, device)
    print(f"model     {model.origin}", flush=True)
    manifest = read_corpus(corpus, cache=cache)
    print(corpus_lines(manifest), flush=True)
    _refuse_other_classes(model, manifest)
    _refuse_missing_texts(model, manifest, with_text=corpus.resolved_modalities != "audio")
    seen = _has_learned(location, manifest)
    if seen:
        print("note      the model has learned from this corpus: these scores are none of unseen speech")
    wanted: tuple[Distortion | None, ...] = (None, *(DISTORTIONS if robustness and model.modalities != "text" else ()))
    with_text = corpus.resolved_modalities != "audio"
    found = (_probabilities(model, manifest, distortion, with_text=with_text) for distortion in wanted)
    tables = [predictions_of(manifest, model.classes, probabilities_NC) for probabilities_NC in found]
    by_class, by_speaker, by_sex = parts_of(manifest, tables[0], model.classes)
    folder = None if out is None else Folder.at(absolute(out))
    evaluation = Evaluation(
        model=model.origin,
        classes=model.classes,
        corpus=CorpusFacts.of(manifest),
        modalities=model.modalities,
        seen=seen,
        conditions=tuple(
            condition_of(*_named(distortion), table, tables[0], model.classes)
            for distortion, table in zip(wanted, tables, strict=True)
        ),
        by_class=by_class,
        by_speaker=by_speaker,
        by_sex=by_sex,
        made=made_now([torch.cuda.get_device_name() if device == "cuda" else None]),
        notes=manifest.notes,
    )
    print(f"\n{evaluation_table(evaluation)}\n")
    if manifest.corpus == "demo":
        print(f"{SYNTHETIC}\n")
    if folder is not None:
        folder.write_table(PREDICTIONS, tables[0])
        folder.write_bytes("evaluation.html", page(evaluation).encode())
        folder.write_json(EVALUATION, dataclasses.asdict(evaluation))
        print(f"results in {folder.location}, to look at: evaluation.html", flush=True)
    return evaluation


def _named(distortion: Distortion | None) -> tuple[str, str]:
    return ("as-recorded", "as recorded") if distortion is None else (distortion.name, distortion.title)


def _probabilities(
    model: EmotionModel | Ensemble, manifest: Manifest, distortion: Distortion | None, *, with_text: bool
) -> np.ndarray:
    """N x C, in the manifest's order, with a line of progress now and then."""
    found: list[np.ndarray] = []
    said = time.monotonic()
    utterances, title = manifest.utterances, _named(distortion)[1]
    for start in range(0, len(utterances), _AT_ONCE):
        some = utterances[start : start + _AT_ONCE]
        waveforms = None
        if model.modalities != "text":
            waveforms = [_heard(utterance) for utterance in some]
            if distortion is not None:
                names = [utterance.utterance_id for utterance in some]
                waveforms = [
                    distortion.apply(waveform_S, derive_seed(0, distortion.name, name))
                    for waveform_S, name in zip(waveforms, names, strict=True)
                ]
        transcripts = [utterance.transcript if with_text else None for utterance in some]
        found.append(model.probabilities(waveforms, transcripts))
        if time.monotonic() - said > _EVERY_S:
            said = time.monotonic()
            print(f"predict   {title}: {start + len(some)} of {len(utterances)}", flush=True)
    return np.concatenate(found)


def _heard(utterance: Utterance) -> np.ndarray:
    try:
        return decode(utterance)
    except AudioError as error:
        raise AudioError(f"{utterance.audio_path}: {error}. Fix the file, or leave the utterance out.") from error


def _refuse_other_classes(model: EmotionModel | Ensemble, manifest: Manifest) -> None:
    """Raises: ConfigError: the corpus has emotions that the model does not know."""
    unknown = [name for name in manifest.classes if name not in model.classes]
    if unknown:
        pairs = " ".join(f"{name}=..." for name in unknown)
        raise ConfigError(
            f"the corpus has {', '.join(unknown)}, which the model does not know: its classes are "
            f"{', '.join(model.classes)}. Map them to these with --corpus.emotion-map {pairs}, or leave them out with "
            f"nothing after the =."
        )


def _refuse_missing_texts(model: EmotionModel | Ensemble, manifest: Manifest, *, with_text: bool) -> None:
    """Raises: ConfigError: a model of text alone, and utterances without any."""
    missing = [u.utterance_id for u in manifest.utterances if u.transcript is None or not with_text]
    if model.modalities == "text" and missing:
        raise ConfigError(
            f"the model was trained on text alone, but {len(missing)} utterances have no transcript, such as "
            f"{missing[0]}. Add transcripts, or leave these utterances out."
        )


def _has_learned(location: str, manifest: Manifest) -> bool | None:
    """Whether the run that a model is of, or is in, trained on this corpus; None: nothing says."""
    folders: Sequence[str] = (absolute(location), absolute(location).rstrip("/").rpartition("/")[0])
    for folder in folders:
        try:
            return RunResult.read(Folder.at(folder)).corpus.fingerprint == manifest.fingerprint()
        except StorageError:
            continue
    return None
