"""L_SCL and L_ACL against hand-computed values and plain float64 loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from raysys.losses.contrastive import Past, info_nce_pairs, n_pair, supcon


def n_pair_by_loops(rows: Tensor, labels: Tensor, utterances: Tensor) -> float:
    """METHOD section 4 implemented literally in Python floats."""
    points = rows.double().tolist()
    rank = range(len(points))

    def dot(i: int, j: int) -> float:
        return sum(a * b for a, b in zip(points[i], points[j], strict=True))

    anchors = []
    for i in rank:
        positives = [p for p in rank if labels[p] == labels[i] and utterances[p] != utterances[i]]
        negatives = [n for n in rank if labels[n] != labels[i]]
        if positives:
            pairs = [math.log(1 + sum(math.exp(dot(i, n) - dot(i, p)) for n in negatives)) for p in positives]
            anchors.append(sum(pairs) / len(pairs))
    return sum(anchors) / len(anchors) if anchors else 0.0


def info_nce_by_loops(left: Tensor, right: Tensor, temperature: float) -> float:
    def cosine(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))

    def one_way(anchors: list[list[float]], others: list[list[float]]) -> float:
        total = 0.0
        for i, anchor in enumerate(anchors):
            scores = [math.exp(cosine(anchor, other) / temperature) for other in others]
            total -= math.log(scores[i] / sum(scores))
        return total / len(anchors)

    first, second = left.double().tolist(), right.double().tolist()
    return (one_way(first, second) + one_way(second, first)) / 2


def two_views(n: int, n_classes: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    rows_NE = torch.randn(2 * n, 6, generator=generator)
    labels_B = torch.randint(n_classes, (n,), generator=generator)
    return rows_NE, labels_B.repeat(2), torch.arange(n).repeat(2)


def test_n_pair_by_hand() -> None:
    # a.a = 1 with the positive, a.n = 0: each of the four anchors of class 0 costs
    # log(1 + 2 e^(0 - 1)), with the two views of the one utterance of class 1 as negatives, whose
    # rows have no positive and are not anchors.
    rows_NE = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]).repeat(2, 1)
    labels_N, utterance_N = torch.tensor([0, 0, 1] * 2), torch.arange(3).repeat(2)
    loss = n_pair(rows_NE, labels_N, utterance_N)
    assert loss.item() == pytest.approx(math.log(1 + 2 * math.exp(-1)), abs=1e-6)
    penalised = n_pair(rows_NE, labels_N, utterance_N, l2=0.5)
    assert penalised.item() == pytest.approx(loss.item() + 0.5, abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_n_pair_agrees_with_loops(seed: int) -> None:
    rows_NE, labels_N, utterance_N = two_views(7, 3, seed)
    loss = n_pair(rows_NE, labels_N, utterance_N)
    assert loss.item() == pytest.approx(n_pair_by_loops(rows_NE, labels_N, utterance_N), rel=1e-5)


def test_n_pair_does_not_depend_on_the_order_of_rows() -> None:
    rows_NE, labels_N, utterance_N = two_views(6, 2)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(
        n_pair(rows_NE[order], labels_N[order], utterance_N[order]), n_pair(rows_NE, labels_N, utterance_N)
    )


def test_n_pair_own_other_view_is_no_positive() -> None:
    # Every class has one utterance, whose two views are not a pair for this term.
    rows_NE, _, utterance_N = two_views(4, 4)
    rows_NE.requires_grad_()
    loss = n_pair(rows_NE, torch.arange(4).repeat(2), utterance_N, l2=1.0)
    loss.backward()
    assert loss.item() == 0.0
    assert rows_NE.grad is not None and not rows_NE.grad.any()


@pytest.mark.parametrize("n", [0, 1, 5])
def test_n_pair_without_negatives_is_zero_and_differentiable(n: int) -> None:
    # One class only: with n = 5 anchors have no negatives; with 0 or 1 there are no anchors.
    rows_NE = torch.randn(2 * n, 3).requires_grad_()
    loss = n_pair(rows_NE, torch.zeros(2 * n, dtype=torch.long), torch.arange(n).repeat(2))
    loss.backward()
    assert loss.item() == 0.0
    assert rows_NE.grad is not None and not rows_NE.grad.any()


def test_n_pair_survives_huge_dot_products() -> None:
    # a.n - a.p of 2e4 overflows exp in every float type; the loss is then a.n - a.p itself.
    rows_NE = torch.tensor([[100.0], [-100.0], [100.0]]).repeat(2, 1).requires_grad_()
    labels_N, utterance_N = torch.tensor([0, 0, 1] * 2), torch.arange(3).repeat(2)
    loss = n_pair(rows_NE, labels_N, utterance_N)
    loss.backward()
    # Anchor +100: positive -1e4, two negatives at 1e4. Anchor -100: all at -1e4, log(1 + 2).
    expected = ((2e4 + math.log(2)) + math.log(3)) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert rows_NE.grad is not None and rows_NE.grad.isfinite().all()


def test_n_pair_gradient_is_that_of_finite_differences() -> None:
    rows_NE, labels_N, utterance_N = two_views(4, 2, seed=2)
    rows_NE.requires_grad_()
    n_pair(rows_NE, labels_N, utterance_N).backward()
    assert rows_NE.grad is not None
    step = torch.zeros_like(rows_NE)
    step[1, 2] = 1e-5
    with torch.no_grad():
        up = n_pair_by_loops(rows_NE.double() + step, labels_N, utterance_N)
        down = n_pair_by_loops(rows_NE.double() - step, labels_N, utterance_N)
    assert rows_NE.grad[1, 2].item() == pytest.approx((up - down) / 2e-5, rel=1e-3)


def test_losses_compute_in_float32_under_autocast() -> None:
    rows_NE, labels_N, utterance_N = two_views(6, 2)
    plain = (n_pair(rows_NE, labels_N, utterance_N), info_nce_pairs(rows_NE[:6], rows_NE[6:], temperature=0.07))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = (n_pair(rows_NE, labels_N, utterance_N), info_nce_pairs(rows_NE[:6], rows_NE[6:], temperature=0.07))
    for expected, found in zip(plain, cast, strict=True):
        assert found.dtype == torch.float32
        assert torch.equal(expected, found)


def test_info_nce_by_hand() -> None:
    # Orthonormal utterances whose views agree: cosine 1 with the partner, 0 with the two others.
    views_NE = torch.eye(3) * torch.tensor([[1.0], [5.0], [0.1]])
    loss = info_nce_pairs(views_NE, torch.eye(3), temperature=0.5)
    assert loss.item() == pytest.approx(math.log(1 + 2 * math.exp(-2)), abs=1e-6)


def test_info_nce_agrees_with_loops_and_is_symmetric() -> None:
    left_NE, right_NE = torch.randn(2, 8, 5, generator=torch.Generator().manual_seed(0))
    loss = info_nce_pairs(left_NE, right_NE, temperature=0.07)
    assert loss.item() == pytest.approx(info_nce_by_loops(left_NE, right_NE, 0.07), rel=1e-5)
    torch.testing.assert_close(loss, info_nce_pairs(right_NE, left_NE, temperature=0.07))


@pytest.mark.parametrize("n", [0, 1])
def test_info_nce_of_one_utterance_is_zero_and_differentiable(n: int) -> None:
    left_NE, right_NE = torch.randn(n, 4).requires_grad_(), torch.randn(n, 4).requires_grad_()
    loss = info_nce_pairs(left_NE, right_NE, temperature=0.07)
    loss.backward()
    assert loss.item() == 0.0
    assert left_NE.grad is not None and right_NE.grad is not None
    assert not left_NE.grad.any() and not right_NE.grad.any()


@pytest.mark.parametrize("scale", [0.0, 1e4, 1e15])
def test_info_nce_is_finite_at_any_scale(scale: float) -> None:
    left_NE = (torch.randn(4, 3) * scale).requires_grad_()
    loss = info_nce_pairs(left_NE, torch.randn(4, 3), temperature=0.07)
    loss.backward()
    assert loss.isfinite()
    assert left_NE.grad is not None and left_NE.grad.isfinite().all()


def supcon_by_loops(rows: Tensor, labels: Tensor, temperature: float) -> float:
    """Khosla et al., equation 2, in Python floats."""
    points = rows.double().tolist()
    rank = range(len(points))

    def score(i: int, j: int) -> float:
        dot = sum(a * b for a, b in zip(points[i], points[j], strict=True))
        return dot / (math.hypot(*points[i]) * math.hypot(*points[j])) / temperature

    anchors = []
    for i in rank:
        others = [a for a in rank if a != i]
        positives = [p for p in others if labels[p] == labels[i]]
        if positives:
            among = math.log(sum(math.exp(score(i, a)) for a in others))
            anchors.append(-sum(score(i, p) - among for p in positives) / len(positives))
    return sum(anchors) / len(anchors) if anchors else 0.0


def test_supcon_by_hand() -> None:
    # Two orthogonal utterances of two classes, with identical views: every anchor has its other view at cosine 1 and
    # two negatives at 0.
    rows_NE = torch.tensor([[2.0, 0.0], [0.0, 3.0]]).repeat(2, 1)
    loss = supcon(rows_NE, torch.tensor([0, 1] * 2), temperature=1.0)
    assert loss.item() == pytest.approx(math.log(math.e + 2) - 1, abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_supcon_agrees_with_loops(seed: int) -> None:
    rows_NE, labels_N, _ = two_views(6, 3, seed)
    expected = supcon_by_loops(rows_NE, labels_N, 0.07)
    assert supcon(rows_NE, labels_N, temperature=0.07).item() == pytest.approx(expected, rel=1e-5)
    odd = supcon_by_loops(rows_NE[:5], labels_N[:5], 0.5)
    assert supcon(rows_NE[:5], labels_N[:5], temperature=0.5).item() == pytest.approx(odd, rel=1e-5)


def test_supcon_of_one_class_pulls_all_together() -> None:
    """No negatives: the loss has its minimum, log of the number of positives, when all rows are equal."""
    labels_N = torch.zeros(6, dtype=torch.int64)
    same = supcon(torch.ones(6, 3), labels_N, temperature=0.07)
    assert same.item() == pytest.approx(math.log(5), abs=1e-5)
    assert supcon(two_views(3, 1)[0], labels_N, temperature=0.07).item() > same.item()


@pytest.mark.parametrize("n", [0, 1, 2])
def test_supcon_without_a_positive_is_zero_and_differentiable(n: int) -> None:
    rows_NE = torch.randn(n, 4, requires_grad=True)
    loss = supcon(rows_NE, torch.arange(n), temperature=0.07)
    loss.backward()
    assert loss.item() == 0.0 and rows_NE.grad is not None and not rows_NE.grad.any()


def test_supcon_is_finite_at_any_scale_and_under_autocast() -> None:
    rows_NE, labels_N, _ = two_views(4, 2)
    expected = supcon(rows_NE, labels_N, temperature=0.07)
    for scale in (1e-3, 1e18):
        torch.testing.assert_close(supcon(rows_NE * scale, labels_N, temperature=0.07), expected, atol=1e-4, rtol=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(supcon(rows_NE, labels_N, temperature=0.07), expected)


def test_utterances_of_a_group_are_not_each_others_negatives() -> None:
    left_NE, right_NE = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(1))
    group_N = torch.tensor([0, 0, 1, 2, 2])
    total = 0.0
    for a, b in ((left_NE, right_NE), (right_NE, left_NE)):
        for i in range(5):
            among = [j for j in range(5) if j == i or group_N[j] != group_N[i]]
            cosines = torch.nn.functional.cosine_similarity(a[i : i + 1], b[among]) / 0.2
            total -= float(torch.log_softmax(cosines, dim=0)[among.index(i)]) / 10
    found = info_nce_pairs(left_NE, right_NE, temperature=0.2, group_N=group_N)
    assert found.item() == pytest.approx(total, rel=1e-5)
    alone = info_nce_pairs(left_NE, right_NE, temperature=0.2, group_N=torch.zeros(5, dtype=torch.int64))
    assert alone.item() == 0.0


@pytest.mark.parametrize("past", [None, Past(torch.randn(2, 3), torch.tensor([0, 1]))], ids=["alone", "with a past"])
@pytest.mark.parametrize("n", [0, 1, 3])
def test_without_a_positive_every_term_is_zero_with_gradient_zero(n: int, past: Past | None) -> None:
    """One utterance of each class: nothing is NaN where every row is masked, and the penalty goes with the term."""
    rows_NE = torch.randn(n, 3).requires_grad_()
    labels_N = torch.arange(n)
    pair = n_pair(rows_NE, labels_N, labels_N, l2=1.0, past=past)
    both = pair + supcon(rows_NE, labels_N, temperature=0.07, past=past)
    both.backward()
    assert both.item() == 0.0
    assert rows_NE.grad is not None and torch.equal(rows_NE.grad, torch.zeros(n, 3))


# Unit vectors in N-pair, and which negatives push.


@pytest.mark.parametrize("seed", range(3))
def test_n_pair_of_unit_vectors_agrees_with_loops_whatever_their_norms(seed: int) -> None:
    rows_NE, labels_N, utterance_N = two_views(6, 3, seed)
    units_NE = rows_NE.double() / rows_NE.double().norm(dim=1, keepdim=True)
    expected = n_pair_by_loops(units_NE / math.sqrt(0.07), labels_N, utterance_N)
    for scale in (1.0, 1e-3, 1e6):
        found = n_pair(scale * rows_NE, labels_N, utterance_N, temperature=0.07)
        assert found.item() == pytest.approx(expected, rel=1e-4)


def test_n_pair_of_a_zero_row_has_a_finite_gradient() -> None:
    rows_NE = torch.zeros(4, 3, requires_grad=True)
    n_pair(rows_NE, torch.tensor([0, 0, 1, 1]), torch.arange(4), temperature=0.07).backward()
    assert rows_NE.grad is not None and rows_NE.grad.isfinite().all()


def test_only_other_classes_push_where_asked_by_hand() -> None:
    """Orthonormal utterances of classes 0, 0 and 1, whose views agree: u_i = v_i = e_i.

    A negative's share of an anchor's softmax is p = 1 / (e^(1/t) + 2), or q = 1 / (e^(1/t) + 1) where the anchor has
    one negative. Each of the two directions adds the share over 2 N t to the gradient:

        all: d L / d u_0 = p (e_1 + e_2) / (3 t);  other classes: (q + p) e_2 / (6 t), nothing from its own class.
    """
    t = 0.5
    p, q = 1 / (math.exp(1 / t) + 2), 1 / (math.exp(1 / t) + 1)
    pushes = []
    for group_N in (None, torch.tensor([0, 0, 1])):
        left_NE = torch.eye(3, requires_grad=True)
        info_nce_pairs(left_NE, torch.eye(3), temperature=t, group_N=group_N).backward()
        assert left_NE.grad is not None
        pushes.append(left_NE.grad[0].tolist())
    assert pushes[0] == pytest.approx([0.0, p / (3 * t), p / (3 * t)], abs=1e-6)
    assert pushes[1] == pytest.approx([0.0, 0.0, (q + p) / (6 * t)], abs=1e-6)
