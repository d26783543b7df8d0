"""Contrastive terms: N-pair or SupCon over classes (L_SCL) and InfoNCE between the two views (L_ACL)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_SHORTEST = 1e-6
"""Shorter rows are not scaled to unit length, so that a zero row keeps a finite gradient."""


def n_pair(embeddings_NE: Tensor, labels_N: Tensor, utterance_N: Tensor, *, l2: float = 0.0) -> Tensor:
    """Supervised contrastive term: the N-pair loss over all positives and negatives of the batch.

    For an anchor i and one of its positives p, with n over the negatives of i:

        l(i, p) = log(1 + sum_n exp(a_i.a_n - a_i.a_p)).

    Positives of i are rows of its class from other utterances (its own other view belongs to
    L_ACL); negatives are rows of other classes. The term is the mean of l(i, p) over the
    positives of i, then over the anchors that have a positive, plus l2 times the mean squared norm
    of all rows. Uses dot products, not cosines: embeddings are not normalised to unit length.
    Always float32, regardless of autocast; any finite dot product is safe.

    Args:
        embeddings_NE: projections of all views; N rows are two views of N/2 utterances, in any
            order.
        labels_N: class of each row, int64.
        utterance_N: index of the utterance of each row, int64; rows with equal index are views of
            the same utterance.
        l2: weight of the penalty on the norms (Sohn 2016, section 3.2.2).

    Returns: a scalar. An anchor with positives but no negatives contributes 0. If no row has a
        positive, the whole term, penalty included, and its gradient are exactly 0.

    Source: Sohn, "Improved deep metric learning with multi-class N-pair loss objective", 2016;
        equation 3 of the paper, taking each positive in turn as its single positive a_i+.
    """
    with torch.autocast(device_type=embeddings_NE.device.type, enabled=False):
        rows_NE = embeddings_NE.float()
        same_class_NN = labels_N[:, None] == labels_N[None, :]
        positive_NN = same_class_NN & (utterance_N[:, None] != utterance_N[None, :])
        negative_NN = ~same_class_NN
        is_anchor_N = positive_NN.any(dim=1)
        if not is_anchor_N.any():
            return rows_NE[:0].sum()

        scores_NN = rows_NE @ rows_NE.T
        # A log-sum-exp over nothing has a NaN gradient: rows without negatives keep all their
        # scores here and are set to 0 below.
        has_negative_N = negative_NN.any(dim=1)
        summed_NN = scores_NN.masked_fill(~negative_NN & has_negative_N[:, None], -torch.inf)
        repulsion_N = torch.logsumexp(summed_NN, dim=1)
        margin_NN = repulsion_N[:, None] - scores_NN
        pair_NN = torch.logaddexp(margin_NN, torch.zeros_like(margin_NN))
        pair_NN = pair_NN.masked_fill(~(positive_NN & has_negative_N[:, None]), 0.0)

        anchor_N = pair_NN.sum(dim=1) / positive_NN.sum(dim=1).clamp(min=1)
        loss = anchor_N.sum() / is_anchor_N.sum()
        if l2 > 0:
            loss = loss + l2 * rows_NE.square().sum(dim=1).mean()
        return loss


def supcon(embeddings_NE: Tensor, labels_N: Tensor, *, temperature: float) -> Tensor:
    """Supervised contrastive loss, with the sum outside the logarithm.

    With unit vectors z, P(i) the other rows of i's class (including its own other view), A(i) all other rows:

        L = mean_i -1/|P(i)| sum_(p in P(i)) log(exp(z_i.z_p / t) / sum_(a in A(i)) exp(z_i.z_a / t)).

    Always float32, regardless of autocast.

    Args:
        embeddings_NE: projections of all views, N rows in any order.
        labels_N: class of each row, int64.
        temperature: t, above 0.

    Returns: a scalar, the mean over the rows that have a positive; exactly 0, with gradient 0, if none has.

    Source: Khosla et al., "Supervised contrastive learning", 2020, equation 2 (L_out).
    """
    with torch.autocast(device_type=embeddings_NE.device.type, enabled=False):
        rows_NE = embeddings_NE.float()
        itself_NN = torch.eye(len(rows_NE), dtype=torch.bool, device=rows_NE.device)
        positive_NN = (labels_N[:, None] == labels_N[None, :]) & ~itself_NN
        is_anchor_N = positive_NN.any(dim=1)
        if not is_anchor_N.any():
            return rows_NE[:0].sum()
        unit_NE = unit_rows(rows_NE)
        logits_NN = (unit_NE @ unit_NE.T / temperature).masked_fill(itself_NN, -torch.inf)
        log_share_NN = logits_NN - torch.logsumexp(logits_NN, dim=1, keepdim=True)
        log_share_NN = log_share_NN.masked_fill(~positive_NN, 0.0)
        anchor_N = -log_share_NN.sum(dim=1) / positive_NN.sum(dim=1).clamp(min=1)
        return anchor_N.sum() / is_anchor_N.sum()


def info_nce_pairs(left_NE: Tensor, right_NE: Tensor, *, temperature: float, group_N: Tensor | None = None) -> Tensor:
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
        group_N: int64; utterances of the same group (e.g. class) are not each other's negatives. None: all are.

    Returns: a scalar; exactly 0, with gradient 0, for one utterance or none. An utterance whose group contains all
        others has no negatives and contributes 0.

    Source: van den Oord et al. 2018 (InfoNCE), in the symmetric form of Radford et al. 2021.
    """
    with torch.autocast(device_type=left_NE.device.type, enabled=False):
        left_NE, right_NE = left_NE.float(), right_NE.float()
        if len(left_NE) < 2:
            return left_NE[:0].sum() + right_NE[:0].sum()
        logits_NN = unit_rows(left_NE) @ unit_rows(right_NE).T / temperature
        if group_N is not None:
            same_NN = group_N[:, None] == group_N[None, :]
            logits_NN = logits_NN.masked_fill(same_NN.fill_diagonal_(False), -torch.inf)
        partner_N = torch.arange(len(left_NE), device=left_NE.device)
        return (F.cross_entropy(logits_NN, partner_N) + F.cross_entropy(logits_NN.T, partner_N)) / 2


def unit_rows(rows_NE: Tensor) -> Tensor:
    """Each row divided by its length; a zero row stays zero."""
    return F.normalize(rows_NE, dim=1, eps=_SHORTEST)
