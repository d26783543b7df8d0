"""The training loss: each term by its weight, and w workers with the gradient of one."""

from __future__ import annotations

import dataclasses
import multiprocessing
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from raysys.config import ExperimentConfig, LossConfig
from raysys.data.batch import Batch
from raysys.data.plan import Step
from raysys.losses.contrastive import info_nce_pairs, n_pair
from raysys.model.network import Network, Outputs
from raysys.training.criterion import LossParts, criterion
from raysys.training.loop import FoldOutcome, Trainer, Workers
from tests.training.little_fold import (
    LittleFold,
    descend_plainly,
    little_config,
    little_fold,
    make_network,
    make_trainer,
)

torch.set_num_threads(1)

OFF = LossConfig(alpha=0.0, beta=0.0, gamma=0.0)


def outputs_and_batch(n: int = 7) -> tuple[Outputs, Batch]:
    little = little_fold(n_train=n, text_dropout=0.0)
    step = Step(part="train", epoch=0, index=0, utterance_ids=little.fold.train)
    batch = little.batch(step)
    network = make_network(little_config(), little).eval()
    assert batch.augmented is not None
    return network((batch.clean, batch.augmented)), batch


def parts_of(outputs: Outputs, batch: Batch, loss: LossConfig, *, classify_augmented: bool = False) -> LossParts:
    return criterion(
        outputs,
        batch,
        loss,
        classify_augmented=classify_augmented,
        workers=1,
        step_size=len(batch.utterance_ids),
    )


@pytest.mark.parametrize(("weight", "term"), [("alpha", "scl"), ("beta", "acl"), ("gamma", "cpc")])
def test_each_term_is_switched_by_its_weight(weight: str, term: str) -> None:
    outputs, batch = outputs_and_batch()
    off = parts_of(outputs, batch, OFF)
    on = parts_of(outputs, batch, dataclasses.replace(OFF, **{weight: 0.5}))
    assert torch.equal(off.total, off.ce)
    assert torch.equal(on.ce, off.ce)
    for name in ("scl", "acl", "cpc"):
        assert getattr(off, name).item() == 0.0
        assert (getattr(on, name).item() > 0.0) == (name == term)
    torch.testing.assert_close(on.total, on.ce + 0.5 * getattr(on, term))


def test_terms_are_of_the_clean_and_the_augmented_view() -> None:
    outputs, batch = outputs_and_batch()
    n = len(batch.labels_B)
    loss = LossConfig(alpha=1.0, beta=1.0, gamma=0.0, l2=0.1, temperature=0.2)
    found = parts_of(outputs, batch, loss)
    clean, augmented = outputs.rows(0, n), outputs.rows(n, 2 * n)
    torch.testing.assert_close(found.ce, torch.nn.functional.cross_entropy(clean.logits_NC, batch.labels_B))
    torch.testing.assert_close(
        found.scl,
        n_pair(outputs.embeddings_NE, batch.labels_B.repeat(2), torch.arange(n).repeat(2), l2=0.1),
    )
    torch.testing.assert_close(found.acl, info_nce_pairs(clean.embeddings_NE, augmented.embeddings_NE, temperature=0.2))
    both = parts_of(outputs, batch, loss, classify_augmented=True)
    torch.testing.assert_close(both.ce, torch.nn.functional.cross_entropy(outputs.logits_NC, batch.labels_B.repeat(2)))


def test_without_a_second_view_the_contrastive_terms_are_zero() -> None:
    outputs, batch = outputs_and_batch()
    n = len(batch.labels_B)
    found = parts_of(outputs.rows(0, n), dataclasses.replace(batch, augmented=None), LossConfig(alpha=1, beta=1))
    assert found.scl.item() == found.acl.item() == 0.0
    assert found.cpc.item() > 0.0


def test_rows_without_text_are_out_of_cpcs_text_term() -> None:
    outputs, batch = outputs_and_batch()
    assert batch.clean.has_text_B is not None
    missing_N = (~batch.clean.has_text_B).repeat(2)
    assert 0 < int(missing_N.sum()) < len(missing_N)
    loss = dataclasses.replace(OFF, gamma=1.0)
    other_ND = torch.where(missing_N[:, None], 9.0, outputs.text_predicted_ND)
    other = dataclasses.replace(outputs, text_predicted_ND=other_ND)
    assert torch.equal(parts_of(other, batch, loss).cpc, parts_of(outputs, batch, loss).cpc)


def test_equal_transcripts_are_no_negatives() -> None:
    """Only the text term knows: with one transcript for all it has nothing to tell apart."""
    outputs, batch = outputs_and_batch()
    loss = dataclasses.replace(OFF, gamma=1.0)
    same = dataclasses.replace(batch, transcript_B=torch.zeros_like(batch.transcript_B))
    audio_alone = dataclasses.replace(outputs, has_text_N=torch.zeros_like(outputs.has_text_N))
    found = parts_of(outputs, same, loss).cpc
    torch.testing.assert_close(found, parts_of(audio_alone, batch, loss).cpc)
    assert found.item() < parts_of(outputs, batch, loss).cpc.item()


@pytest.mark.parametrize("modality", ["audio", "text"])
def test_one_modality_has_no_cpc(modality: str) -> None:
    outputs, batch = outputs_and_batch()
    absent = (
        {"tokens_BM": None, "token_valid_BM": None, "has_text_B": None}
        if modality == "audio"
        else {"waveforms_BS": None, "lengths_B": None}
    )
    alone = dataclasses.replace(batch, clean=dataclasses.replace(batch.clean, **absent))
    assert parts_of(outputs, alone, LossConfig()).cpc.item() == 0.0


# Several workers against one: encoders, sizes of the accumulated steps of one update (1 and 2
# leave workers without any row), whether both views are classified.

CASES: dict[str, tuple[str, tuple[int, ...], bool]] = {
    "tiny, one step": ("tiny", (7,), False),
    "tiny, accumulated": ("tiny", (5, 2), False),
    "light, accumulated, both views classified": ("light", (3, 4, 1), True),
    "light, one utterance": ("light", (1,), False),
}


def with_classified(config: ExperimentConfig, both: bool) -> ExperimentConfig:
    return dataclasses.replace(config, augment=dataclasses.replace(config.augment, classify_augmented=both))


def wrapped(network: Network, workers: int) -> torch.nn.Module:
    """Small buckets: many reductions beside those of the gathered rows, as at full size."""
    if workers == 1:
        return network
    return DistributedDataParallel(network, find_unused_parameters=True, bucket_cap_mb=0.005)


def make_one_of(config: ExperimentConfig, little: LittleFold, rank: int, workers: int) -> Trainer:
    network = make_network(config, little)
    return make_trainer(
        config,
        little,
        network=network,
        forward=wrapped(network, workers),
        workers=Workers(rank=rank, size=workers),
    )


def gradients(case: str, rank: int, workers: int) -> dict[str, Tensor]:
    """Of one update, which the trainer's own steps accumulate."""
    size, sizes, classify_augmented = CASES[case]
    little = little_fold(n_train=sum(sizes))
    config = with_classified(little_config(size=size, dropout=0.0), classify_augmented)
    trainer = make_one_of(config, little, rank, workers)
    names = iter(little.fold.train)
    for index, n in enumerate(sizes):
        step = Step(
            part="train",
            epoch=0,
            index=index,
            utterance_ids=tuple(next(names) for _ in range(n)),
            update_size=sum(sizes),
            ends_update=index == len(sizes) - 1,
        )
        batch = little.batch(step, rank, workers)
        trainer._step_loss(step, batch, sync=step.ends_update)
    return {n: p.grad for n, p in trainer.network.named_parameters() if p.grad is not None}


def fit(rank: int, workers: int) -> FoldOutcome:
    """Two epochs, the last step of each and the test part of a single utterance."""
    little = little_fold(n_train=9, n_test=1)
    config = little_config(dropout=0.0, epochs=2)
    trainer = make_one_of(config, little, rank, workers)
    descend_plainly(trainer, rate=0.1)
    return trainer.fit(little.batches(config, rank=rank, workers=workers), lambda _: None)


def worker(rank: int, workers: int, folder: str) -> None:
    """One process of several; it runs all cases, since it takes far longer to start than they."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=workers)
    found = {case: gradients(case, rank, workers) for case in CASES}
    outcome = fit(rank, workers)
    torch.save((found, outcome), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module", params=[2, 3], ids=["two workers", "three workers"])
def results(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[dict[str, dict[str, Tensor]], FoldOutcome]]:
    """What each worker found. They are forked from a server that has imported transformers once."""
    folder, workers = tmp_path_factory.mktemp("workers"), request.param
    multiprocessing.set_forkserver_preload(["raysys.training.loop", "transformers.models"])
    mp.start_processes(worker, args=(workers, str(folder)), nprocs=workers, start_method="forkserver")
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(workers)]


@pytest.mark.parametrize("case", CASES)
def test_workers_have_the_gradient_of_one(
    case: str, results: list[tuple[dict[str, dict[str, Tensor]], FoldOutcome]]
) -> None:
    expected = gradients(case, 0, 1)
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    for found, _ in results:
        assert found[case].keys() == expected.keys()
        for name, gradient in expected.items():
            difference = float((found[case][name] - gradient).abs().max())
            assert difference <= 1e-5 * largest, name


def test_workers_train_and_score_as_one(
    results: list[tuple[dict[str, dict[str, Tensor]], FoldOutcome]],
) -> None:
    expected = fit(0, 1)
    for _, found in results:
        assert found.epoch == expected.epoch
        for mine, other in zip(found.history, expected.history, strict=True):
            assert mine.losses == pytest.approx(other.losses, rel=1e-4)
            assert mine.step_losses == pytest.approx(other.step_losses, rel=1e-4)
            assert mine.validation_loss == pytest.approx(other.validation_loss, rel=1e-4)
            assert mine.validation_ua == other.validation_ua
        assert found.test.utterance_ids == expected.test.utterance_ids
        assert found.test.probabilities_NC == pytest.approx(expected.test.probabilities_NC, abs=1e-4)
