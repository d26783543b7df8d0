"""The queue of past embeddings, and the terms with them as further negatives, in plain float64 loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from raysys.losses.contrastive import Past, info_nce_pairs, n_pair, supcon
from raysys.losses.queue import Queue, both

_CPU = torch.device("cpu")


def numbered(names: list[int], generation: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Rows that say which utterance they are of, in the first column, and when they were made."""
    rows_NVHE = torch.zeros(len(names), 2, 1, 2)
    rows_NVHE[..., 0] = torch.tensor(names, dtype=torch.float32)[:, None, None]
    rows_NVHE[..., 1] = generation
    return rows_NVHE, torch.tensor(names) % 3, torch.tensor(names)


def held(queue: Queue) -> list[int]:
    return queue.utterance_Q.tolist()


def test_first_in_first_out_by_hand() -> None:
    queue = Queue(size=4, heads=1, width=2, device=_CPU)
    for names in ([1, 2], [3], [4, 5]):
        queue.add(*numbered(names))
    assert held(queue) == [2, 3, 4, 5]
    assert queue.rows_QVHE[:, 0, 0, 0].tolist() == [2, 3, 4, 5] and queue.labels_Q.tolist() == [2, 0, 1, 2]
    queue.add(*numbered([6, 7, 8, 9, 10, 11]))
    assert held(queue) == [8, 9, 10, 11]


def test_an_utterance_is_held_once_by_its_latest_embedding() -> None:
    queue = Queue(size=4, heads=1, width=2, device=_CPU)
    queue.add(*numbered([1, 2, 3]))
    queue.add(*numbered([2], generation=1))
    assert held(queue) == [1, 3, 2]
    assert queue.rows_QVHE[:, 0, 0, 1].tolist() == [0, 0, 1]


def test_no_utterance_is_a_negative_of_itself() -> None:
    queue = Queue(size=5, heads=1, width=2, device=_CPU)
    queue.add(*numbered([1, 2, 3, 4]))
    clean, augmented = queue.others(torch.tensor([2, 9, 4]), 0)
    assert clean.rows_QE[:, 0].tolist() == augmented.rows_QE[:, 0].tolist() == [1, 3]
    assert clean.labels_Q.tolist() == [1, 0]
    assert held(queue) == [1, 2, 3, 4]


def test_no_gradient_reaches_the_past() -> None:
    queue = Queue(size=5, heads=1, width=2, device=_CPU)
    rows_NVHE, labels_N, utterance_N = numbered([1, 2])
    queue.add(rows_NVHE.requires_grad_(), labels_N, utterance_N)
    assert not queue.rows_QVHE.requires_grad


def batch_and_past(seed: int) -> tuple[Tensor, Tensor, Tensor, Past]:
    generator = torch.Generator().manual_seed(seed)
    rows_NE, past_QE = torch.randn(8, 5, generator=generator), torch.randn(6, 5, generator=generator)
    labels_N = torch.randint(3, (4,), generator=generator).repeat(2)
    past = Past(past_QE, torch.randint(3, (6,), generator=generator))
    return rows_NE, labels_N, torch.arange(4).repeat(2), past


@pytest.mark.parametrize("seed", range(4))
def test_n_pair_has_the_past_of_other_classes_as_negatives(seed: int) -> None:
    rows_NE, labels_N, utterance_N, past = batch_and_past(seed)
    rows, olds = rows_NE.double(), past.rows_QE.double()
    costs = []
    for i in range(8):
        negatives = [rows[j] for j in range(8) if labels_N[j] != labels_N[i]]
        negatives += [olds[k] for k in range(6) if past.labels_Q[k] != labels_N[i]]
        pairs = [
            math.log(1 + sum(math.exp(rows[i] @ n - rows[i] @ rows[p]) for n in negatives))
            for p in range(8)
            if labels_N[p] == labels_N[i] and utterance_N[p] != utterance_N[i]
        ]
        if pairs:
            costs.append(sum(pairs) / len(pairs))
    expected = sum(costs) / len(costs) if costs else 0.0
    assert n_pair(rows_NE, labels_N, utterance_N, past=past).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_supcon_has_the_past_of_other_classes_as_negatives(seed: int) -> None:
    rows_NE, labels_N, _, past = batch_and_past(seed)
    units, olds = (torch.nn.functional.normalize(r.double(), dim=1) for r in (rows_NE, past.rows_QE))
    costs = []
    for i in range(8):
        among = [units[i] @ units[a] for a in range(8) if a != i]
        among += [units[i] @ olds[k] for k in range(6) if past.labels_Q[k] != labels_N[i]]
        whole = math.log(sum(math.exp(c / 0.3) for c in among))
        own = [float(units[i] @ units[p]) / 0.3 for p in range(8) if p != i and labels_N[p] == labels_N[i]]
        costs.append(sum(whole - c for c in own) / len(own))
    found = supcon(rows_NE, labels_N, temperature=0.3, past=past)
    assert found.item() == pytest.approx(sum(costs) / len(costs), rel=1e-5)


@pytest.mark.parametrize("grouped", [False, True], ids=["all", "other classes"])
def test_an_anchor_of_one_view_has_the_past_of_the_other_view_as_negatives(grouped: bool) -> None:
    rows_NE, labels_N, _, _ = batch_and_past(0)
    lefts, rights = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(1))
    past_labels_Q = torch.arange(6) % 3
    total = 0.0
    for anchors, others, olds in ((rows_NE[:4], rows_NE[4:], rights), (rows_NE[4:], rows_NE[:4], lefts)):
        for i in range(4):
            among = [others[i]] + [
                others[j] for j in range(4) if j != i and not (grouped and labels_N[j] == labels_N[i])
            ]
            among += [olds[k] for k in range(6) if not (grouped and past_labels_Q[k] == labels_N[i])]
            cosines = torch.cosine_similarity(anchors[i].double(), torch.stack(among).double(), dim=1)
            total -= float((cosines / 0.2).log_softmax(dim=0)[0]) / 8
    found = info_nce_pairs(
        rows_NE[:4],
        rows_NE[4:],
        temperature=0.2,
        group_N=labels_N[:4] if grouped else None,
        past=(Past(lefts, past_labels_Q), Past(rights, past_labels_Q)),
    )
    assert found.item() == pytest.approx(total, rel=1e-5)


def test_one_utterance_has_the_past_alone_as_negatives() -> None:
    """cos 1 with its other view, 0 with the two of the past."""
    left_NE, past = (
        torch.tensor([[1.0, 0.0]], requires_grad=True),
        Past(torch.tensor([[0.0, 2.0], [0.0, 1.0]]), torch.zeros(2)),
    )
    loss = info_nce_pairs(left_NE, torch.tensor([[3.0, 0.0]]), temperature=1.0, past=(past, past))
    assert loss.item() == pytest.approx(math.log(1 + 2 / math.e), abs=1e-6)


def test_an_empty_past_changes_nothing() -> None:
    rows_NE, labels_N, utterance_N, _ = batch_and_past(3)
    past = Queue(size=3, heads=2, width=5, device=_CPU).others(utterance_N, 1)
    assert torch.equal(n_pair(rows_NE, labels_N, utterance_N, past=both(past)), n_pair(rows_NE, labels_N, utterance_N))
    with_past = info_nce_pairs(rows_NE[:4], rows_NE[4:], temperature=0.1, past=past)
    assert torch.equal(with_past, info_nce_pairs(rows_NE[:4], rows_NE[4:], temperature=0.1))
    alone = info_nce_pairs(rows_NE[:1], rows_NE[4:5], temperature=0.1, past=past)
    assert alone.item() == 0.0


def test_what_a_checkpoint_stores_restores_it() -> None:
    queue, other = (Queue(size=3, heads=1, width=2, device=_CPU) for _ in range(2))
    queue.add(*numbered([1, 2, 3, 4], generation=5))
    other.restore(queue.tensors() | {"another": torch.zeros(1)})
    queue.add(*numbered([5]))
    other.add(*numbered([5]))
    for name, value in queue.tensors().items():
        assert torch.equal(other.tensors()[name], value)
