"""Predict many recordings: check, list, do the shards that are missing, and join them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from raysys.config import ClusterConfig, ExperimentConfig
from raysys.errors import ConfigError, CorpusError
from raysys.inference import load_model
from raysys.inference.segments import refuse_missing_detector
from raysys.lock import locked
from raysys.prediction.inputs import list_inputs
from raysys.prediction.output import merge
from raysys.prediction.predicting import Model, digest_of_model, output_schema
from raysys.prediction.progress import Progress
from raysys.prediction.request import Request, claim, record_of
from raysys.prediction.shards import finished, make_plan, missing, read_plan, read_shard
from raysys.results import MODEL_CONFIG, RESULTS
from raysys.runs.cluster import Cluster, check_nodes, running
from raysys.runs.places import check_place
from raysys.storage import Folder, absolute, is_address

_REMEDY = (
    "Every node needs the model, the recordings and the folder of --out under the same path; use shared storage, or "
    "addresses such as s3://."
)


def predict(request: Request, cluster: ClusterConfig, *, texts: bool) -> None:
    """Write the predictions for all recordings, and print what became of them.

    What an earlier start of the same request has done is not done again.

    Args:
        texts: whether there are transcripts.

    Raises:
        UserError: anything that the user must fix; at the end too, if not one recording could be predicted.
    """
    for flag, location in (("MODEL", request.model), *(("INPUT", i) for i in request.inputs), ("--out", request.out)):
        check_place(flag, location)
    if request.cutting.segments == "speech":
        refuse_missing_detector()
    model = load_model(absolute(request.model))
    _refuse_text_alone(model, request, texts)
    schema, parts = output_schema(model.classes), request.parts
    print(f"model     {model.origin}\nclasses   {', '.join(model.classes)}", flush=True)
    with locked(parts, instead="--out"):
        claim(parts, record_of(request, digest_of_model(model)))
        hears = model.modalities != "text"
        del model
        sizes = read_plan(parts) or make_plan(
            parts, list_inputs(request.inputs, lambda said: print(f"note      {said}"))
        )
        progress = _do(request, parts, sizes, cluster, hears=hears)
        summary = merge(parts, finished(parts.names()), request.out, schema)
        parts.delete_all()
    progress.end(summary, request.out)
    if summary.failed == summary.rows:
        raise CorpusError(
            f"{request.out}: not one of {summary.rows} recordings could be predicted; column note says why of each. "
            f"Give other files, or correct these."
        )


def _refuse_text_alone(model: Model, request: Request, texts: bool) -> None:
    """Raises: ConfigError: the model reads transcripts, of which there are none, or that have no segments."""
    if model.modalities != "text":
        return
    if not texts:
        raise ConfigError(
            f"{request.model}: was trained on text alone, but no table with a column transcript is given. Give one, or "
            f"a model that was trained on audio."
        )
    if request.cutting.segments != "none":
        raise ConfigError(
            f"{request.model}: was trained on text alone, which --segments {request.cutting.segments} does not cut. "
            f"Leave it out."
        )


def _do(request: Request, parts: Folder, sizes: Sequence[int], settings: ClusterConfig, *, hears: bool) -> Progress:
    """Do the shards that are missing."""
    shards = missing(sizes, parts.names())
    done = sum(sizes) - sum(sizes[shard] for shard in shards)
    progress = Progress(sum(sizes), done)
    if not shards:
        return progress
    # Imported here: if all is done, Ray Data's imports are not waited for.
    from raysys.prediction.pipeline import Work, run_shards

    # Ray would print of each actor of Ray Data's that its arguments are in the object store.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    with running(ExperimentConfig(cluster=settings)) as cluster:
        check_nodes(parts, [*_files_of(request.model), *_readable(parts)], _REMEDY)
        _print_header(parts, sizes, done, cluster)
        work = Work(parts=parts.location, model=absolute(request.model), cutting=request.cutting, hears=hears)
        for block in run_shards(shards, work, cluster):
            progress.add(block.files, block.seconds)
    return progress


def _print_header(parts: Folder, sizes: Sequence[int], done: int, cluster: Cluster) -> None:
    begun = f", {done} of them done before" if done else ""
    print(
        f"files     {sum(sizes)} in {len(sizes)} shards{begun}\n"
        f"cluster   nodes: {cluster.nodes}, CPUs: {cluster.cpus}, GPUs: {cluster.gpus}\n"
        f"parts     {parts.location}",
        flush=True,
    )


def _files_of(model: str) -> list[str]:
    """A file of the model, by which nodes show that they see it."""
    folder = Path(absolute(model))
    return [] if is_address(model) else [str(folder / n) for n in (MODEL_CONFIG, RESULTS) if (folder / n).is_file()][:1]


def _readable(parts: Folder) -> list[str]:
    """One of the first recordings that this machine can read, by which nodes show that they see them."""
    paths = (item.location for item in read_shard(parts, 0) if not is_address(item.location))
    return list(islice((path for path in paths if os.path.isfile(path) and os.access(path, os.R_OK)), 1))
