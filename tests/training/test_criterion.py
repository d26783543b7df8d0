"""The training loss: each term with its weight, and w workers give the gradient of one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from raysys.config import AugmentConfig, ExperimentConfig, LossConfig
from raysys.data.batch import Batch
from raysys.data.mixing import Mix, Mixing
from raysys.data.plan import Step
from raysys.losses.contrastive import Past, info_nce_pairs, n_pair, supcon
from raysys.losses.objective import cross_entropy_sum
from raysys.losses.queue import Queue
from raysys.model.network import Network, Outputs
from raysys.training.criterion import LossParts, criterion
from raysys.training.evaluation import Workers
from raysys.training.loop import FoldOutcome, Trainer
from tests.training.little_fold import (
    N_CLASSES,
    LittleFold,
    descend_plainly,
    little_config,
    little_fold,
    make_network,
    make_trainer,
)
from tests.workers import run_workers

torch.set_num_threads(1)

OFF = LossConfig(alpha=0.0, beta=0.0, gamma=0.0)


VOTES = {"u00": (0.5, 0.25, 0.25), "u01": (0.0, 0.75, 0.25), "u04": (0.1, 0.2, 0.7)}
"""Of some utterances; the last one's label is not what most chose."""


def outputs_and_batch(
    n: int = 7,
    mixup: Literal["none", "alone", "beside"] = "none",
    soft: Mapping[str, tuple[float, ...]] | None = None,
) -> tuple[Outputs, Batch]:
    little = little_fold(n_train=n, text_dropout=0.0, mixup=mixup, soft=soft)
    step = Step(part="train", epoch=0, index=0, utterance_ids=little.fold.train)
    batch = little.batch(step)
    network = make_network(little_config(), little).eval()
    assert batch.augmented is not None
    return network(batch.views), batch


def parts_of(outputs: Outputs, batch: Batch, loss: LossConfig, *, classify_augmented: bool = False) -> LossParts:
    return criterion(
        outputs,
        batch,
        loss,
        classify_augmented=classify_augmented,
        shares=[batch.utterance_ids],
        step_weight=len(batch.utterance_ids),
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


def test_an_utterance_that_is_in_the_batch_twice_is_no_negative_of_itself() -> None:
    """As with balanced sampling: its copies' views would repel each other, which are the same."""
    outputs, batch = outputs_and_batch(6)
    twice = dataclasses.replace(batch, utterance_B=torch.arange(6) // 2)
    loss = dataclasses.replace(OFF, beta=1.0)
    expected = info_nce_pairs(
        outputs.rows(0, 6).embeddings_NE,
        outputs.rows(6, 12).embeddings_NE,
        temperature=0.07,
        group_N=torch.arange(6) // 2,
    )
    torch.testing.assert_close(parts_of(outputs, twice, loss).acl, expected)
    assert expected < parts_of(outputs, batch, loss).acl


def test_the_focus_and_the_shift_reach_the_cross_entropy() -> None:
    outputs, batch = outputs_and_batch()
    n = len(batch.labels_B)
    shift_C = torch.tensor([0.0, -1.0, -2.0])
    found = criterion(
        outputs,
        batch,
        dataclasses.replace(OFF, focal=2.0),
        classify_augmented=False,
        shares=[batch.utterance_ids],
        step_weight=n,
        shift_C=shift_C,
    )
    expected = cross_entropy_sum(
        outputs.rows(0, n).logits_NC, batch.labels_B, label_smoothing=0.0, shift_C=shift_C, focal=2.0
    )
    torch.testing.assert_close(found.total, expected / n)


def test_mixup_is_in_the_cross_entropy_of_both_labels_and_no_other_term_reads_it() -> None:
    outputs, batch = outputs_and_batch(mixup="beside")
    n = len(batch.labels_B)
    mixes = Mixing(alpha=0.5, seed=0).of(
        Step(part="train", epoch=0, index=0, utterance_ids=batch.utterance_ids), batch.utterance_ids
    )
    partner_B = torch.tensor([batch.utterance_ids.index(mix.partner) for mix in mixes])
    share_B = torch.tensor([mix.share for mix in mixes])
    log_share_BC = outputs.rows(2 * n, 3 * n).logits_NC.log_softmax(dim=1)
    own_B, other_B = (-log_share_BC[torch.arange(n), batch.labels_B[rows]] for rows in (torch.arange(n), partner_B))
    loss = LossConfig(alpha=1.0, beta=1.0, gamma=1.0)
    found = parts_of(outputs, batch, loss)
    torch.testing.assert_close(found.ce, (share_B * own_B + (1 - share_B) * other_B).mean())
    unmixed = parts_of(outputs.rows(0, 2 * n), dataclasses.replace(batch, mixed=None, targets={}), loss)
    for term in ("scl", "acl", "cpc"):
        torch.testing.assert_close(getattr(found, term), getattr(unmixed, term))
    assert not torch.isclose(found.ce, unmixed.ce)
    both = parts_of(outputs, batch, loss, classify_augmented=True)
    augmented = parts_of(
        outputs.rows(n, 2 * n), dataclasses.replace(batch, augmented=None, mixed=None, targets={}), OFF
    )
    torch.testing.assert_close(both.ce, (found.ce + augmented.ce) / 2)


def test_with_no_other_term_the_mixed_view_is_the_only_one_that_is_computed() -> None:
    config = ExperimentConfig(augment=AugmentConfig(mixup=0.2), loss=OFF)
    assert config.mixup == "alone" and not config.needs_augmented_view
    assert dataclasses.replace(config, loss=LossConfig()).mixup == "beside"
    assert dataclasses.replace(config, loss=dataclasses.replace(OFF, gamma=0.1)).mixup == "beside"
    assert dataclasses.replace(config, augment=AugmentConfig()).mixup == "none"
    outputs, batch = outputs_and_batch(mixup="alone")
    n = len(batch.labels_B)
    assert len(outputs.logits_NC) == 2 * n
    expected = cross_entropy_sum(
        outputs.rows(0, n).logits_NC, batch.labels_B, label_smoothing=0.0, targets_BC=batch.targets["clean"]
    )
    torch.testing.assert_close(parts_of(outputs, batch, OFF).total, expected / n)


@pytest.mark.parametrize("mixup", ["none", "alone"])
def test_votes_are_the_targets_smoothed_weighted_and_mixed_in_float64_loops(mixup: Literal["none", "alone"]) -> None:
    outputs, batch = outputs_and_batch(mixup=mixup, soft=VOTES)
    ids, smoothing, weights = batch.utterance_ids, 0.1, (0.5, 1.0, 3.0)
    step = Step(part="train", epoch=0, index=0, utterance_ids=ids)
    mixes = Mixing(alpha=0.5, seed=0).of(step, ids) if mixup == "alone" else [Mix(partner=n, share=1.0) for n in ids]

    def aimed(name: str) -> tuple[float, ...]:
        return VOTES.get(name, tuple(float(c == int(name[1:]) % N_CLASSES) for c in range(N_CLASSES)))

    total = 0.0
    for row, (name, mix) in enumerate(zip(ids, mixes, strict=True)):
        logits_C = outputs.logits_NC[row].double().tolist()
        normaliser = math.log(sum(math.exp(logit) for logit in logits_C))
        for c in range(N_CLASSES):
            mixed = mix.share * aimed(name)[c] + (1 - mix.share) * aimed(mix.partner)[c]
            total -= weights[c] * ((1 - smoothing) * mixed + smoothing / N_CLASSES) * (logits_C[c] - normaliser)
    found = criterion(
        outputs,
        batch,
        dataclasses.replace(OFF, labels="votes", label_smoothing=smoothing),
        classify_augmented=False,
        shares=[batch.utterance_ids],
        step_weight=10.0,
        class_weights_C=torch.tensor(weights),
    )
    assert found.ce.item() == pytest.approx(total / 10, rel=1e-5)


def test_contrastive_terms_read_labels_whatever_the_votes() -> None:
    loss = LossConfig(alpha=1.0, beta=1.0, gamma=1.0)
    outputs, batch = outputs_and_batch(soft=VOTES)
    found, hard = parts_of(outputs, batch, loss), parts_of(outputs, dataclasses.replace(batch, targets={}), loss)
    assert not torch.isclose(found.ce, hard.ce)
    for term in ("scl", "acl", "cpc"):
        assert torch.equal(getattr(found, term), getattr(hard, term))


def test_without_a_second_view_the_contrastive_terms_are_zero() -> None:
    outputs, batch = outputs_and_batch()
    n = len(batch.labels_B)
    found = parts_of(outputs.rows(0, n), dataclasses.replace(batch, augmented=None), LossConfig(alpha=1, beta=1))
    assert found.scl.item() == found.acl.item() == 0.0
    assert found.cpc.item() > 0.0


def test_cpc_predicts_each_modality_from_the_other_among_utterances_with_text() -> None:
    """In plain float64 loops: both directions leave out rows without text, and negatives of an equal transcript."""
    outputs, batch = outputs_and_batch()
    assert outputs.text_ND is not None and outputs.audio_predicted_ND is not None
    network = make_network(little_config(), little_fold(n_train=7, text_dropout=0.0)).eval()
    assert network.predict_audio is not None and network.predict_text is not None
    n = len(batch.labels_B)
    audio, text = outputs.audio_ND[:n].double(), outputs.text_ND[:n].double()
    predictions = (network.predict_audio.weight.double() @ text.T).T, (network.predict_text.weight.double() @ audio.T).T
    usable = [i for i in range(n) if outputs.has_text_N[i]]
    assert 1 < len(usable) < n
    words = batch.transcript_B.tolist()
    assert len({words[i] for i in usable}) < len(usable)
    expected = torch.zeros(())
    for predicted, target in zip(predictions, (audio, text), strict=True):
        for i in usable:
            among = [i] + [j for j in usable if words[j] != words[i]]
            cosines = torch.stack([torch.cosine_similarity(predicted[i], target[j], dim=0) for j in among])
            expected = expected - (cosines / 0.3).log_softmax(dim=0)[0].detach() / len(usable)
    found = parts_of(outputs, batch, dataclasses.replace(OFF, gamma=1.0, temperature=0.3))
    assert found.cpc.item() == pytest.approx(expected.item(), rel=1e-5)


def test_cpc_reads_nothing_of_the_fused_vector_unless_it_is_the_context() -> None:
    little = little_fold(text_dropout=0.0)
    batch = little.batch(Step(part="train", epoch=0, index=0, utterance_ids=little.fold.train))
    for cpc in ("cross_modal", "fused"):
        loss = dataclasses.replace(OFF, gamma=1.0, cpc=cpc)
        network = make_network(little_config(loss=loss), little)
        parts_of(network((batch.clean,)), batch, loss).cpc.backward()
        reached = [name for name, p in network.named_parameters() if p.grad is not None and p.grad.any()]
        assert any(name.startswith("fusion.") for name in reached) == (cpc == "fused")
        for part in ("audio_encoder.", "text_encoder.", "predict_audio.", "predict_text."):
            assert any(name.startswith(part) for name in reached)


@pytest.mark.parametrize("cpc", ["cross_modal", "fused"])
def test_rows_without_text_are_out_of_cpcs_text_term(cpc: Literal["cross_modal", "fused"]) -> None:
    """And out of the audio term, unless the fused vector, which has their audio, predicts it."""
    outputs, batch = outputs_and_batch()
    assert batch.clean.has_text_B is not None
    missing_N = (~batch.clean.has_text_B).repeat(2)
    assert 0 < int(missing_N.sum()) < len(missing_N)
    loss = dataclasses.replace(OFF, gamma=1.0, cpc=cpc)
    for name, counts in (("text_predicted_ND", False), ("audio_predicted_ND", cpc == "fused")):
        other_ND = torch.where(missing_N[:, None], torch.arange(16.0), getattr(outputs, name))
        other = dataclasses.replace(outputs, **{name: other_ND})
        assert torch.equal(parts_of(other, batch, loss).cpc, parts_of(outputs, batch, loss).cpc) != counts


def test_equal_transcripts_are_no_negatives() -> None:
    """If all are the same, only the audio term of the fused form has negatives: it does not compare transcripts."""
    outputs, batch = outputs_and_batch()
    same = dataclasses.replace(batch, transcript_B=torch.zeros_like(batch.transcript_B))
    loss = dataclasses.replace(OFF, gamma=1.0)
    assert parts_of(outputs, same, loss).cpc.item() == 0.0
    fused = dataclasses.replace(loss, cpc="fused")
    audio_alone = dataclasses.replace(outputs, has_text_N=torch.zeros_like(outputs.has_text_N))
    found = parts_of(outputs, same, fused).cpc
    torch.testing.assert_close(found, parts_of(audio_alone, batch, fused).cpc)
    assert 0 < found.item() < parts_of(outputs, batch, fused).cpc.item()


@pytest.mark.parametrize("modality", ["audio", "text"])
def test_one_modality_has_no_cross_modal_cpc(modality: Literal["audio", "text"]) -> None:
    little = little_fold(text_dropout=0.0)
    step = Step(part="train", epoch=0, index=0, utterance_ids=little.fold.train)
    batch = little.batch(step)
    network = Network(
        little_config().model,
        n_classes=N_CLASSES,
        vocab_size=len(little.collator.tokenizer or ()),
        loss=LossConfig(),
        modalities=modality,
    )
    assert not [name for name, _ in network.named_parameters() if name.startswith("predict_")]
    assert parts_of(network((batch.clean,)), batch, dataclasses.replace(OFF, gamma=1.0)).cpc.item() == 0.0


@pytest.mark.parametrize(("term", "weight"), [("project.", "alpha beta"), ("predict_", "gamma")])
def test_a_term_that_is_off_has_no_parameters(term: str, weight: str) -> None:
    little = little_fold()
    for value in (0.0, 0.1):
        loss = LossConfig(**dict.fromkeys(weight.split(), value))
        names = [name for name, _ in make_network(little_config(loss=loss), little).named_parameters()]
        assert any(name.startswith(term) for name in names) == (value > 0)


def test_options_of_the_terms_are_the_functions_that_they_name() -> None:
    outputs, batch = outputs_and_batch()
    n = len(batch.labels_B)
    loss = LossConfig(scl="supcon", acl_negatives="other_classes", temperature=0.3)
    found = parts_of(outputs, batch, loss)
    assert outputs.embeddings_NE is not None
    left_NE, right_NE = outputs.embeddings_NE[:n], outputs.embeddings_NE[n:]
    torch.testing.assert_close(found.scl, supcon(outputs.embeddings_NE, batch.labels_B.repeat(2), temperature=0.3))
    expected = info_nce_pairs(left_NE, right_NE, temperature=0.3, group_N=batch.labels_B)
    torch.testing.assert_close(found.acl, expected)


def test_a_head_for_each_term() -> None:
    """And everything else starts from the same weights as with one head for both."""
    little = little_fold(n_train=7, text_dropout=0.0)
    batch = little.batch(Step(part="train", epoch=0, index=0, utterance_ids=little.fold.train))
    assert batch.augmented is not None
    shared = make_network(little_config(), little)
    network = make_network(little_config(loss=LossConfig(heads="per_task")), little)
    own = network.state_dict()
    assert {name.split(".")[0] for name in own.keys() - shared.state_dict().keys()} == {"project_acl"}
    assert all(torch.equal(own[name], value) for name, value in shared.state_dict().items())
    outputs = network((batch.clean, batch.augmented))
    for weight, head in (("alpha", "project."), ("beta", "project_acl.")):
        network.zero_grad()
        loss = dataclasses.replace(OFF, **{weight: 1.0})
        parts_of(outputs, batch, loss).total.backward(retain_graph=True)
        reached = {name for name, p in network.named_parameters() if p.grad is not None and name.startswith("project")}
        assert reached == {name for name in own if name.startswith(head)}


@pytest.mark.parametrize("weight", ["alpha", "beta"])
def test_a_single_term_has_a_single_head(weight: str) -> None:
    little = little_fold()
    networks = [
        make_network(little_config(loss=dataclasses.replace(OFF, **{weight: 1.0}, heads=heads)), little).state_dict()
        for heads in ("shared", "per_task")
    ]
    assert networks[0].keys() == networks[1].keys()
    assert all(torch.equal(networks[0][name], networks[1][name]) for name in networks[0])


def test_n_pair_of_unit_vectors_does_not_grow_with_the_embeddings() -> None:
    outputs, batch = outputs_and_batch()
    assert outputs.embeddings_NE is not None
    longer = dataclasses.replace(outputs, embeddings_NE=5 * outputs.embeddings_NE)
    loss = LossConfig(scl_scale="unit")
    torch.testing.assert_close(parts_of(longer, batch, loss).scl, parts_of(outputs, batch, loss).scl)
    assert parts_of(longer, batch, LossConfig()).scl.item() != parts_of(outputs, batch, LossConfig()).scl.item()


@pytest.mark.parametrize("heads", ["shared", "per_task"])
def test_utterances_of_earlier_steps_are_negatives(heads: Literal["shared", "per_task"]) -> None:
    """Those of a second step of which one utterance was in the first: its own earlier embedding is left out."""
    little = little_fold(n_train=7, text_dropout=0.0)
    loss = LossConfig(queue=7, heads=heads, gamma=0.0)
    network = make_network(little_config(loss=loss), little).eval()
    queue = Queue(size=7, heads=loss.heads_used, width=16, device=torch.device("cpu"))
    steps, names = [], little.fold.train
    for chosen in (names[:4], names[3:]):
        batch = little.batch(Step(part="train", epoch=0, index=0, utterance_ids=chosen))
        assert batch.augmented is not None
        outputs = network((batch.clean, batch.augmented))
        found = criterion(
            outputs, batch, loss, classify_augmented=False, shares=[batch.utterance_ids], step_weight=4, queue=queue
        )
        steps.append((outputs, batch))
    (first, first_batch), (second, batch) = steps
    old = [0, 1, 2]
    labels_Q = first_batch.labels_B[old]
    clean, augmented = first.rows(0, 4), first.rows(4, 8)
    assert first.embeddings_NE is not None and second.embeddings_NE is not None
    past = Past(first.embeddings_NE[[*old, 4, 5, 6]], labels_Q.repeat(2))
    labels_N, utterance_N = batch.labels_B.repeat(2), batch.utterance_B.repeat(2)
    torch.testing.assert_close(found.scl, n_pair(second.embeddings_NE, labels_N, utterance_N, past=past))
    name = "embeddings_NE" if heads == "shared" else "acl_embeddings_NE"
    pasts = [Past(getattr(view, name)[old], labels_Q) for view in (clean, augmented)]
    left_NE, right_NE = getattr(second, name)[:4], getattr(second, name)[4:]
    torch.testing.assert_close(
        found.acl, info_nce_pairs(left_NE, right_NE, temperature=0.07, past=(pasts[0], pasts[1]))
    )
    assert queue.utterance_Q.tolist() == [*first_batch.utterance_B[old].tolist(), *batch.utterance_B.tolist()]


def test_temporal_cpc_is_of_the_clean_view_and_its_mean_over_frames() -> None:
    little = little_fold(text_dropout=0.0)
    loss = LossConfig(cpc="temporal", gamma=1.0)
    network = make_network(little_config(loss=loss, dropout=0.0), little).train()
    batch = little.batch(Step(part="train", epoch=0, index=0, utterance_ids=little.fold.train))
    assert batch.augmented is not None
    both = network((batch.clean, batch.augmented))
    assert both.temporal_N is not None and both.temporal_pairs_N is not None
    assert len(both.temporal_N) == len(batch.labels_B)
    alone = network((batch.clean,))
    expected = alone.temporal_N.sum() / alone.temporal_pairs_N.sum()
    torch.testing.assert_close(parts_of(both, batch, loss).cpc, expected, atol=1e-5, rtol=1e-5)


def test_class_weights_are_those_of_torch() -> None:
    """One step of one worker: the weighted mean as computed by torch."""
    outputs, batch = outputs_and_batch()
    weights_C = torch.tensor([0.5, 1.0, 3.0])
    n = len(batch.labels_B)
    found = criterion(
        outputs,
        batch,
        OFF,
        classify_augmented=False,
        shares=[batch.utterance_ids],
        step_weight=float(weights_C[batch.labels_B].sum()),
        class_weights_C=weights_C,
    )
    expected = torch.nn.functional.cross_entropy(outputs.logits_NC[:n], batch.labels_B, weight=weights_C)
    torch.testing.assert_close(found.ce, expected)


# Several workers against one; 1 and 2 utterances in a step leave workers without any row.


@dataclasses.dataclass(frozen=True)
class Case:
    """Encoders, sizes of the accumulated steps of one update, and the loss settings."""

    size: str
    steps: tuple[int, ...]
    classify_augmented: bool = False
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)
    class_weights: tuple[float, ...] | None = None
    mixup: Literal["none", "alone", "beside"] = "none"
    votes: bool = False


CASES: dict[str, Case] = {
    "tiny, one step": Case("tiny", (7,)),
    "tiny, accumulated": Case("tiny", (5, 2)),
    "light, accumulated, both views classified": Case("light", (3, 4, 1), classify_augmented=True),
    "light, one utterance": Case("light", (1,)),
    "supcon, other classes repel": Case("light", (5, 1), loss=LossConfig(scl="supcon", acl_negatives="other_classes")),
    "temporal": Case("light", (5, 2), loss=LossConfig(cpc="temporal")),
    "fused": Case("light", (5, 1), loss=LossConfig(cpc="fused")),
    "a queue, a head per task": Case("light", (3, 4, 1), loss=LossConfig(queue=6, heads="per_task", scl_scale="unit")),
    "class weights": Case("light", (4, 2, 1), class_weights=(0.5, 1.0, 2.0)),
    "mixup beside the clean view": Case("light", (5, 2), mixup="beside", loss=LossConfig(focal=1.0)),
    "votes, weighted and mixed": Case("light", (4, 2), mixup="beside", votes=True, class_weights=(0.5, 1.0, 2.0)),
    "mixup alone, accumulated": Case("light", (4, 1), mixup="alone", loss=OFF),
}


def with_classified(config: ExperimentConfig, both: bool) -> ExperimentConfig:
    return dataclasses.replace(config, augment=dataclasses.replace(config.augment, classify_augmented=both))


def wrapped(network: Network, workers: int) -> torch.nn.Module:
    """Small buckets: many reductions concurrent with those of the gathered rows, as at full size."""
    if workers == 1:
        return network
    return DistributedDataParallel(network, find_unused_parameters=True, bucket_cap_mb=0.005)


def make_one_of(
    config: ExperimentConfig,
    little: LittleFold,
    rank: int,
    workers: int,
    class_weights: tuple[float, ...] | None = None,
) -> Trainer:
    network = make_network(config, little)
    return make_trainer(
        config,
        little,
        network=network,
        forward=wrapped(network, workers),
        workers=Workers(rank=rank, size=workers),
        class_weights=class_weights,
    )


def gradients(case: str, rank: int, workers: int) -> dict[str, Tensor]:
    """Gradients of one update, accumulated by the trainer's own steps."""
    chosen = CASES[case]
    little = little_fold(n_train=sum(chosen.steps), mixup=chosen.mixup, soft=VOTES if chosen.votes else None)
    config = little_config(size=chosen.size, dropout=0.0, loss=chosen.loss)
    trainer = make_one_of(
        with_classified(config, chosen.classify_augmented), little, rank, workers, chosen.class_weights
    )
    labels = [little.collator.labels[name] for name in little.fold.train]
    weights = chosen.class_weights or (1.0,) * N_CLASSES
    names = iter(little.fold.train)
    for index, n in enumerate(chosen.steps):
        step = Step(
            part="train",
            epoch=0,
            index=index,
            utterance_ids=tuple(next(names) for _ in range(n)),
            update_size=sum(chosen.steps),
            update_weight=sum(weights[label] for label in labels),
            ends_update=index == len(chosen.steps) - 1,
        )
        batch = little.batch(step, rank, workers)
        trainer._step_loss(step, batch, sync=step.ends_update)
    return {n: p.grad for n, p in trainer.network.named_parameters() if p.grad is not None}


def fit(rank: int, workers: int) -> FoldOutcome:
    """Two epochs; the last step of each and the test part have a single utterance."""
    little = little_fold(n_train=9, n_test=1)
    config = little_config(dropout=0.0, epochs=2)
    trainer = make_one_of(config, little, rank, workers)
    descend_plainly(trainer, rate=0.1)
    return trainer.fit(little.batches(config, rank=rank, workers=workers), lambda _: None)


def worker(rank: int, workers: int, folder: str) -> None:
    """One of several processes; it runs all cases, since starting takes far longer than they do."""
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
    """Results of each worker."""
    folder, workers = tmp_path_factory.mktemp("workers"), request.param
    run_workers(worker, workers, workers, str(folder))
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
            assert mine.gradients == pytest.approx(other.gradients, rel=1e-3)
            assert mine.step_losses == pytest.approx(other.step_losses, rel=1e-4)
            assert mine.validation_loss == pytest.approx(other.validation_loss, rel=1e-4)
            assert mine.validation_ua == other.validation_ua
        assert found.test.utterance_ids == expected.test.utterance_ids
        assert found.test.probabilities_NC == pytest.approx(expected.test.probabilities_NC, abs=1e-4)
