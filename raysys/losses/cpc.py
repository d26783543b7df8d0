"""Contrastive predictive coding, across modalities and in time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from raysys.losses.contrastive import unit_rows

_NO_ANCHOR = -100
"""Target of a row whose loss is left out."""


def cross_modal_cpc(
    predicted_ND: Tensor,
    target_ND: Tensor,
    usable_N: Tensor,
    group_N: Tensor,
    *,
    temperature: float,
) -> Tensor:
    """InfoNCE within the batch: the prediction of row i must pick target i among those of other rows.

        f(i, j) = cos(W c_i, z_j) / t,
        L = mean_i -log(e^f(i, i) / sum_(j in {i} + N_i) e^f(i, j)),

    where i and j run over usable rows and N_i holds those of a different group than i. Van den
    Oord's bilinear score is the raw product z^T W c; here both sides are unit vectors divided by a
    temperature, so that the score is bounded by 1/t regardless of the width and scale of the
    encoders. The caller applies W and passes W c. Only the context is an anchor: the loss is not
    symmetric. Always float32, regardless of autocast.

    Args:
        predicted_ND: W c, the projected context of each utterance.
        target_ND: prediction target, the pooled vector of one modality.
        usable_N: bool; False rows (e.g. without text) are neither anchors nor targets, and get
            gradient 0 whatever they contain.
        group_N: int64; rows of the same group (e.g. equal transcripts) are not each other's negatives.
        temperature: divides the cosines, above 0.

    Returns: a scalar; exactly 0, with gradient 0, with fewer than two usable rows. An anchor whose
        group contains every usable row has no negatives and contributes 0.

    Source: van den Oord, Li and Vinyals, "Representation learning with contrastive predictive
        coding", 2018, equation 4.
    """
    with torch.autocast(device_type=predicted_ND.device.type, enabled=False):
        # Masked before anything is computed, so that no gradient of what they hold is NaN.
        unusable_N1 = ~usable_N[:, None]
        predicted_ND = predicted_ND.float().masked_fill(unusable_N1, 0.0)
        target_ND = target_ND.float().masked_fill(unusable_N1, 0.0)
        left_out_NN = (group_N[:, None] == group_N[None, :]) | unusable_N1.T
        # Of a row that is not usable, only itself is left: there is always something to sum.
        left_out_NN.fill_diagonal_(False)
        logits_NN = unit_rows(predicted_ND) @ unit_rows(target_ND).T / temperature
        own_N = torch.arange(len(group_N), device=group_N.device).masked_fill(~usable_N, _NO_ANCHOR)
        # A single usable row has nothing to be told apart from: its own term is exactly 0.
        return F.cross_entropy(
            logits_NN.masked_fill(left_out_NN, -torch.inf), own_N, ignore_index=_NO_ANCHOR, reduction="sum"
        ) / usable_N.sum().clamp(min=1)


def temporal_cpc(
    predicted_KBJL: Tensor, latents_BJL: Tensor, valid_BJ: Tensor, *, temperature: float
) -> tuple[Tensor, Tensor]:
    """InfoNCE in time: the prediction at frame j for the k-th frame after it must pick that frame.

        f(j, i) = cos(W_k c_j, z_i) / t,
        l(j, k) = -log(e^f(j, j+k) / sum_i e^f(j, i)),   i over all valid frames of the same utterance.

    Distractors are the other frames of the utterance, with the same speaker and channel: van den Oord's hardest
    variant, and independent of the other utterances in the batch. The score is bounded as in `cross_modal_cpc`.
    Always float32, regardless of autocast.

    Args:
        predicted_KBJL: W_k c_j for k = 1..K.
        latents_BJL: z, the convolutions' output.
        valid_BJ: bool.
        temperature: divides the cosines, above 0.

    Returns: for each utterance (B), the sum of l(j, k) over pairs whose frames j and j + k are both valid, and the
        number of such pairs, 0 for an utterance of one frame. The loss is the total sum over the total number.

    Source: van den Oord, Li and Vinyals, "Representation learning with contrastive predictive
        coding", 2018, sections 2.2 and 3.1.
    """
    with torch.autocast(device_type=latents_BJL.device.type, enabled=False):
        unit_BJL = F.normalize(latents_BJL.float(), dim=-1, eps=1e-6)
        n_frames = latents_BJL.shape[1]
        total_B, pairs_B = unit_BJL.sum(dim=(1, 2)) * 0.0, valid_BJ.sum(dim=1) * 0
        for ahead, predicted_BJL in enumerate(predicted_KBJL[: n_frames - 1], start=1):
            anchors_BJL = F.normalize(predicted_BJL[:, :-ahead].float(), dim=-1, eps=1e-6)
            logits_BJI = anchors_BJL @ unit_BJL.transpose(1, 2) / temperature
            logits_BJI = logits_BJI.masked_fill(~valid_BJ[:, None, :], torch.finfo(torch.float32).min)
            target_J = torch.arange(ahead, n_frames, device=valid_BJ.device)
            losses_BJ = F.cross_entropy(
                logits_BJI.transpose(1, 2), target_J.expand(len(logits_BJI), -1), reduction="none"
            )
            # Valid frames come first: if j + k is valid, so is j.
            counted_BJ = valid_BJ[:, ahead:]
            total_B = total_B + losses_BJ.masked_fill(~counted_BJ, 0.0).sum(dim=1)
            pairs_B = pairs_B + counted_BJ.sum(dim=1)
        return total_B, pairs_B
