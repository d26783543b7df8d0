"""Contrastive predictive coding across modalities: the fused context predicts a pooled vector."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from raysys.losses.contrastive import unit_rows


def cross_modal_cpc(
    predicted_ND: Tensor,
    target_ND: Tensor,
    usable_N: Tensor,
    group_N: Tensor,
    *,
    temperature: float,
) -> Tensor:
    """InfoNCE in the batch: the prediction of row i must pick target i among those of other rows.

        f(i, j) = cos(W c_i, z_j) / t,
        L = mean_i -log(e^f(i, i) / sum_(j in {i} + N_i) e^f(i, j)),

    where i and j run over usable rows and N_i holds those of another group than i's. Van den Oord's
    bilinear score is the raw product z^T W c; here both sides are unit vectors divided by a
    temperature, so that the score is bounded by 1/t whatever the width and the scale of the
    encoders. W stays bilinear and is the caller's: it passes W c. Only the context is an anchor:
    the loss is not symmetric. float32 whatever the autocast.

    Args:
        predicted_ND: W c, the projected context of each utterance.
        target_ND: what it predicts, the pooled vector of one modality.
        usable_N: bool; rows that are False (no text, say) are neither anchors nor targets, and get
            gradient 0 whatever they hold.
        group_N: int64; rows of equal group (equal transcripts, say) are not each other's negatives.
        temperature: divides the cosines, above 0.

    Returns: a scalar; exactly 0, with gradient 0, with fewer than two usable rows. An anchor whose
        group holds every usable row has no negative and counts with 0.

    Source: van den Oord, Li and Vinyals, "Representation learning with contrastive predictive
        coding", 2018, equation 4.
    """
    with torch.autocast(device_type=predicted_ND.device.type, enabled=False):
        predicted_UD, target_UD = predicted_ND.float()[usable_N], target_ND.float()[usable_N]
        if len(predicted_UD) < 2:
            return predicted_UD[:0].sum() + target_UD[:0].sum()
        group_U = group_N[usable_N]
        twin_UU = group_U[:, None] == group_U[None, :]
        twin_UU.fill_diagonal_(False)
        logits_UU = unit_rows(predicted_UD) @ unit_rows(target_UD).T / temperature
        own_U = torch.arange(len(group_U), device=group_U.device)
        return F.cross_entropy(logits_UU.masked_fill(twin_UU, -torch.inf), own_U)
