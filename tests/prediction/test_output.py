"""What is predicted is what the model says of each recording alone, and reads back from all formats."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from raysys.errors import DamagedError, StorageError
from raysys.inference import Ensemble
from raysys.prediction.decoding import Piece, _block
from raysys.prediction.output import merge
from raysys.prediction.predicting import digest_of_model, output_schema, predict_pieces
from raysys.prediction.shards import block_name
from raysys.storage import Folder
from tests.test_inference import CLASSES, make, waveforms

torch.set_num_threads(1)
COLUMNS = ["path", "start_s", "end_s", "prediction", "p_anger", "p_joy", "p_fear", "confidence", "note"]


def table_of(*pieces: Piece) -> pa.Table:
    return _block(0, list(pieces), 0.0, last=True).pieces


def rows(path: str, prediction: str | None, note: str | None = None) -> pa.Table:
    p = None if prediction is None else 1 / 3
    row = [path, 0.0, 1.23456789, prediction, p, p, p, p, note]
    return pa.Table.from_pylist([dict(zip(COLUMNS, row, strict=True))], schema=output_schema(CLASSES))


def test_rows_are_what_the_model_says_of_each_alone() -> None:
    model, _ = make()
    long_S, short_S = waveforms((9_000, 160))
    pieces = [
        Piece(path="a", start_s=0.0, end_s=1.0, waveform_S=long_S, transcript="kids are talking"),
        Piece(path="b", start_s=None, end_s=None, note="is empty"),
        Piece(path="c", start_s=2.0, end_s=3.0, waveform_S=short_S),
    ]
    found = predict_pieces(model, table_of(*pieces))
    assert found.schema.names == COLUMNS and found["path"].to_pylist() == ["a", "b", "c"]
    for row, waveform_S, text in ((0, long_S, "kids are talking"), (2, short_S, None)):
        (alone_C,) = model.probabilities([waveform_S], [text])
        found_C = [found[f"p_{name}"][row].as_py() for name in CLASSES]
        np.testing.assert_allclose(found_C, alone_C, rtol=0, atol=1e-6)
        assert found["prediction"][row].as_py() == CLASSES[alone_C.argmax()]
        assert found["confidence"][row].as_py() == max(found_C)
    assert [found[name][1].as_py() for name in COLUMNS] == ["b", *[None] * 7, "is empty"]


def test_only_failures_and_text_alone() -> None:
    found = predict_pieces(make()[0], table_of(Piece(path="b", start_s=None, end_s=None, note="is empty")))
    assert found["prediction"].to_pylist() == [None] and found.schema == output_schema(CLASSES)
    model, _ = make(modalities="text")
    found = predict_pieces(model, table_of(Piece(path="a", start_s=None, end_s=None, transcript="by the door")))
    (said_C,) = model.probabilities(transcripts=["by the door"])
    assert [found[f"p_{name}"][0].as_py() for name in CLASSES] == said_C.tolist()


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl", "CSV"])
@pytest.mark.parametrize("prefix", ["", "file://"])
def test_formats_read_back_in_the_order_of_shards_and_blocks(tmp_path: Path, ending: str, prefix: str) -> None:
    parts, out = Folder.at(str(tmp_path / "parts")), tmp_path / f"out.{ending}"
    names = [block_name(0, 0, last=False), block_name(0, 1, last=True), block_name(1, 0, last=True)]
    paths = ['a, "b"\n.wav', "é.wav", "=c.wav"]
    for name, path, note in reversed(list(zip(names, paths, (None, "is bad, at 3 s", None), strict=True))):
        parts.write_table(name, rows(path, None if note else "joy", note))
    summary = merge(parts, {1: names[2:], 0: names[:2]}, f"{prefix}{out}", output_schema(CLASSES))
    assert (summary.rows, summary.failed) == (3, 1)
    if ending == "parquet":
        found = pq.read_table(out)
        assert found.schema == output_schema(CLASSES)
        read = found.to_pylist()
        third, none = float(np.float32(1 / 3)), None
    elif ending == "jsonl":
        read = [json.loads(line) for line in out.read_text().splitlines()]
        third, none = 0.333333, None
    else:
        with out.open(newline="", encoding="utf-8") as file:
            read = list(csv.DictReader(file))
        third, none = "0.333333", ""  # type: ignore[assignment]
    assert [list(row) for row in read] == [COLUMNS] * 3
    assert [row["path"] for row in read] == paths
    assert [row["prediction"] for row in read] == ["joy", none, "joy"]
    assert [row["p_joy"] for row in read] == [third, none, third]
    assert [row["note"] for row in read] == [none, "is bad, at 3 s", none]
    assert {path.name for path in tmp_path.iterdir()} == {"parts", out.name}


def test_failures_are_counted_by_kind_whatever_their_numbers(tmp_path: Path) -> None:
    parts = Folder.at(str(tmp_path))
    for k, note in enumerate(["lasts 61.5 s", "lasts 3600 s", "is empty"]):
        parts.write_table(block_name(k, 0, last=True), rows(f"{k}.wav", None, note))
    blocks = {k: [block_name(k, 0, last=True)] for k in range(3)}
    summary = merge(parts, blocks, str(tmp_path / "out.csv"), output_schema(CLASSES))
    assert list(summary.failures.values()) == [(2, "0.wav: lasts 61.5 s"), (1, "2.wav: is empty")]


def test_an_output_that_fails_leaves_the_earlier_one(tmp_path: Path) -> None:
    parts, out = Folder.at(str(tmp_path / "parts")), tmp_path / "out.csv"
    out.write_text("earlier")
    parts.write_bytes(block_name(0, 0, last=True), b"damaged")
    with pytest.raises(DamagedError, match="shard-000000-00000-end"):
        merge(parts, {0: [block_name(0, 0, last=True)]}, str(out), output_schema(CLASSES))
    assert out.read_text() == "earlier" and {path.name for path in tmp_path.iterdir()} == {"parts", "out.csv"}
    with pytest.raises(StorageError, match="cannot be written"):
        merge(parts, {}, str(tmp_path / "gone" / "out.csv"), output_schema(CLASSES))


def test_a_models_digest_tells_apart_what_predicts_otherwise() -> None:
    model, same, other = make()[0], make()[0], make(seed=1)[0]
    assert digest_of_model(model) == digest_of_model(same)
    assert digest_of_model(model) == digest_of_model(Ensemble(models=(same,)))
    found = {digest_of_model(m) for m in (model, other, Ensemble(models=(model, other)), make(modalities="audio")[0])}
    assert len(found) == 4
