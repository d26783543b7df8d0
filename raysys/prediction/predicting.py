"""Predict a block of pieces: a row for each."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from raysys.inference import EmotionModel, Ensemble

Model = EmotionModel | Ensemble


def output_schema(classes: Sequence[str]) -> pa.Schema:
    """Columns of the output: where the utterance is, and the probability of each class."""
    return pa.schema(
        [
            ("path", pa.string()),
            ("start_s", pa.float64()),
            ("end_s", pa.float64()),
            ("prediction", pa.string()),
            *((f"p_{name}", pa.float32()) for name in classes),
            ("confidence", pa.float32()),
            ("note", pa.string()),
        ]
    )


def predict_pieces(model: Model, pieces: pa.Table) -> pa.Table:
    """Rows of the output, in the order of the pieces; those with a note have no prediction."""
    notes, transcripts = pieces["note"].to_pylist(), pieces["transcript"].to_pylist()
    usable = [i for i, note in enumerate(notes) if note is None]
    probabilities_NC = np.zeros((len(notes), len(model.classes)), np.float32)
    if usable:
        waveforms = pieces["waveform"].combine_chunks()
        heard = [np.asarray(waveforms[i].values) for i in usable] if model.modalities != "text" else None
        probabilities_NC[usable] = model.probabilities(heard, [transcripts[i] for i in usable])
    absent = np.array([note is not None for note in notes], bool)
    best_N = probabilities_NC.argmax(axis=1)
    columns = [pieces[name] for name in ("path", "start_s", "end_s")]
    columns.append(pa.array([None if gone else model.classes[k] for k, gone in zip(best_N, absent, strict=True)]))
    columns += [pa.array(p_N, mask=absent) for p_N in probabilities_NC.T]
    columns.append(pa.array(probabilities_NC.max(axis=1, initial=0.0), mask=absent))
    return pa.table([*columns, pieces["note"]], names=output_schema(model.classes).names).cast(
        output_schema(model.classes)
    )


def digest_of_model(model: Model) -> str:
    """A hash of everything that its predictions depend on, wherever it is stored."""
    digest = hashlib.blake2b(digest_size=16)
    for member in model.models if isinstance(model, Ensemble) else (model,):
        digest.update(repr((member.classes, member.modalities, member.trim_db)).encode())
        if member.tokenizer is not None:
            digest.update(member.tokenizer.backend_tokenizer.to_str().encode())
        for name, weight in sorted(member.network.state_dict().items()):
            digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
            digest.update(weight.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()
