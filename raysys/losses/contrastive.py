"""Contrastive terms: N-pair or SupCon over classes (L_SCL) and InfoNCE between the two views (L_ACL).

Rows that take no part are masked, never selected: a selection's size is known to the device alone, and the host would
wait for it in every step.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_SHORTEST = 1e-6
"""Shorter rows are not scaled to unit length, so that a zero row keeps a finite gradient."""


@dataclass(frozen=True, slots=True)
class Past:
    """Embeddings of earlier steps (Q x E) and their classes (Q): further negatives, never anchors nor positives."""

    rows_QE: Tensor
    labels_Q: Tensor


def n_pair(
    embeddings_NE: Tensor,
    labels_N: Tensor,
    utterance_N: Tensor,
    *,
    temperature: float | None = None,
    l2: float = 0.0,
    past: Past | None = None,
) -> Tensor:
    """Supervised contrastive term: the N-pair loss over all positives and negatives of the batch.

    For an anchor i and one of its positives p, with n over the negatives of i:

        l(i, p) = log(1 + sum_n exp(a_i.a_n - a_i.a_p)).

    Positives of i are rows of its class from other utterances (its own other view belongs to
    L_ACL); negatives are rows of other classes. The term is the mean of l(i, p) over the
    positives of i, then over the anchors that have a positive, plus l2 times the mean squared norm
    of all rows. Without a temperature these are dot products, not cosines: embeddings are not
    normalised to unit length, and the loss and its gradient grow with their norms. With t they are
    unit vectors divided by the root of t, so that a_i.a_n is cos / t.
    Always float32, regardless of autocast; any finite dot product is safe.

    Args:
        embeddings_NE: projections of all views; N rows are two views of N/2 utterances, in any
            order.
        labels_N: class of each row, int64.
        utterance_N: index of the utterance of each row, int64; rows with equal index are views of
            the same utterance.
        temperature: t, above 0; None: the embeddings as they are.
        l2: weight of the penalty on the norms (Sohn 2016, section 3.2.2).
        past: those of other classes are further negatives.

    Returns: a scalar. An anchor with positives but no negatives contributes 0. If no row has a
        positive, the whole term, penalty included, and its gradient are exactly 0.

    Source: Sohn, "Improved deep metric learning with multi-class N-pair loss objective", 2016;
        equation 3 of the paper, taking each positive in turn as its single positive a_i+.
    """
    with torch.autocast(device_type=embeddings_NE.device.type, enabled=False):
        rows_NE = _scaled(embeddings_NE, temperature)
        same_class_NN = labels_N[:, None] == labels_N[None, :]
        positive_NN = same_class_NN & (utterance_N[:, None] != utterance_N[None, :])
        negative_NN = ~same_class_NN
        is_anchor_N = positive_NN.any(dim=1)
        if not len(rows_NE):
            return rows_NE.sum()

        scores_NN = against_NM = rows_NE @ rows_NE.T
        negative_NM = negative_NN
        if past is not None:
            against_NM = torch.cat([scores_NN, rows_NE @ _scaled(past.rows_QE, temperature).T], dim=1)
            negative_NM = torch.cat([negative_NN, labels_N[:, None] != past.labels_Q[None, :]], dim=1)
        # A log-sum-exp over nothing has a NaN gradient: rows without negatives keep all their
        # scores here and are set to 0 below.
        has_negative_N = negative_NM.any(dim=1)
        summed_NM = against_NM.masked_fill(~negative_NM & has_negative_N[:, None], -torch.inf)
        repulsion_N = torch.logsumexp(summed_NM, dim=1)
        margin_NN = repulsion_N[:, None] - scores_NN
        pair_NN = torch.logaddexp(margin_NN, torch.zeros_like(margin_NN))
        pair_NN = pair_NN.masked_fill(~(positive_NN & has_negative_N[:, None]), 0.0)

        anchor_N = pair_NN.sum(dim=1) / positive_NN.sum(dim=1).clamp(min=1)
        loss = anchor_N.sum() / is_anchor_N.sum().clamp(min=1)
        if l2 > 0:
            loss = loss + torch.where(is_anchor_N.any(), l2 * rows_NE.square().sum(dim=1).mean(), 0.0)
        return loss


def supcon(embeddings_NE: Tensor, labels_N: Tensor, *, temperature: float, past: Past | None = None) -> Tensor:
    """Supervised contrastive loss, with the sum outside the logarithm.

    With unit vectors z, P(i) the other rows of i's class (including its own other view), A(i) all other rows:

        L = mean_i -1/|P(i)| sum_(p in P(i)) log(exp(z_i.z_p / t) / sum_(a in A(i)) exp(z_i.z_a / t)).

    Always float32, regardless of autocast.

    Args:
        embeddings_NE: projections of all views, N rows in any order.
        labels_N: class of each row, int64.
        temperature: t, above 0.
        past: those of other classes join A(i).

    Returns: a scalar, the mean over the rows that have a positive; exactly 0, with gradient 0, if none has.

    Source: Khosla et al., "Supervised contrastive learning", 2020, equation 2 (L_out).
    """
    with torch.autocast(device_type=embeddings_NE.device.type, enabled=False):
        rows_NE = embeddings_NE.float()
        itself_NN = torch.eye(len(rows_NE), dtype=torch.bool, device=rows_NE.device)
        positive_NN = (labels_N[:, None] == labels_N[None, :]) & ~itself_NN
        is_anchor_N = positive_NN.any(dim=1)
        if len(rows_NE) < 2:
            # Nothing is left of a row without others, and a log-sum-exp over nothing has a NaN gradient.
            return rows_NE[:0].sum()
        unit_NE = unit_rows(rows_NE)
        logits_NN = (unit_NE @ unit_NE.T / temperature).masked_fill(itself_NN, -torch.inf)
        among_NM = logits_NN
        if past is not None:
            past_NQ = unit_NE @ unit_rows(past.rows_QE.float()).T / temperature
            same_class_NQ = labels_N[:, None] == past.labels_Q[None, :]
            among_NM = torch.cat([logits_NN, past_NQ.masked_fill(same_class_NQ, -torch.inf)], dim=1)
        log_share_NN = logits_NN - torch.logsumexp(among_NM, dim=1, keepdim=True)
        log_share_NN = log_share_NN.masked_fill(~positive_NN, 0.0)
        anchor_N = -log_share_NN.sum(dim=1) / positive_NN.sum(dim=1).clamp(min=1)
        return anchor_N.sum() / is_anchor_N.sum().clamp(min=1)


def info_nce_pairs(
    left_NE: Tensor,
    right_NE: Tensor,
    *,
    temperature: float,
    utterance_N: Tensor | None = None,
    group_N: Tensor | None = None,
    past: tuple[Past, Past] | None = None,
) -> Tensor:
    """Augmentation contrastive term: the two views of an utterance attract, views of other utterances repel.

    Symmetric InfoNCE on unit vectors u = left / |left|, v = right / |right|, t the temperature:

        L = 1/2 mean_i -log(e^(u_i.v_i/t) / sum_j e^(u_i.v_j/t))
          + 1/2 mean_i -log(e^(v_i.u_i/t) / sum_j e^(v_i.u_j/t)).

    Each anchor has N - 1 negatives, the other views of the other utterances of any class, or only
    those of other groups. Always float32, regardless of autocast.

    Args:
        left_NE: projections of one view, N utterances.
        right_NE: projections of the other view, the same utterances in the same order.
        temperature: divides the cosines, above 0.
        utterance_N: int64; drawn twice (balanced sampling), an utterance is no negative of itself. None: all
            differ.
        group_N: int64; utterances of the same group (e.g. class) are not each other's negatives. None: all are.
        past: the left and the right views of other utterances; each is a further negative of the other side's anchors.

    Returns: a scalar; exactly 0, with gradient 0, for no utterance, or for one without a past. An utterance whose
        group contains all others has no negatives and contributes 0.

    Source: van den Oord et al. 2018 (InfoNCE), in the symmetric form of Radford et al. 2021.
    """
    with torch.autocast(device_type=left_NE.device.type, enabled=False):
        left_NE, right_NE = left_NE.float(), right_NE.float()
        if len(left_NE) < (2 if past is None else 1):
            return left_NE[:0].sum() + right_NE[:0].sum()
        logits_NN = unit_rows(left_NE) @ unit_rows(right_NE).T / temperature
        for number_N in (utterance_N, group_N):
            if number_N is None:
                continue
            same_NN = number_N[:, None] == number_N[None, :]
            logits_NN = logits_NN.masked_fill(same_NN.fill_diagonal_(False), -torch.inf)
        partner_N = torch.arange(len(left_NE), device=left_NE.device)
        ahead_NM, back_NM = logits_NN, logits_NN.T
        if past is not None:
            past_left, past_right = past
            ahead_NM = torch.cat([ahead_NM, _against(left_NE, past_right, temperature, group_N)], dim=1)
            back_NM = torch.cat([back_NM, _against(right_NE, past_left, temperature, group_N)], dim=1)
        return (F.cross_entropy(ahead_NM, partner_N) + F.cross_entropy(back_NM, partner_N)) / 2


def _against(anchors_NE: Tensor, past: Past, temperature: float, group_N: Tensor | None) -> Tensor:
    """Logits of anchors against the past (N x Q); those of an anchor's own group are left out."""
    logits_NQ = unit_rows(anchors_NE) @ unit_rows(past.rows_QE.float()).T / temperature
    if group_N is None:
        return logits_NQ
    return logits_NQ.masked_fill(group_N[:, None] == past.labels_Q[None, :], -torch.inf)


def _scaled(rows_NE: Tensor, temperature: float | None) -> Tensor:
    """The rows in float32: as they are, or as unit vectors of which a product is the cosine over the temperature."""
    return rows_NE.float() if temperature is None else unit_rows(rows_NE.float()) / temperature**0.5


def unit_rows(rows_NE: Tensor) -> Tensor:
    """Each row divided by its length; a zero row stays zero."""
    return F.normalize(rows_NE, dim=1, eps=_SHORTEST)
