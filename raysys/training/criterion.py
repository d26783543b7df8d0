"""The training loss of one step: what METHOD calls L, over the embeddings of all workers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from raysys.config import LossConfig
from raysys.data.batch import Batch
from raysys.losses.contrastive import info_nce_pairs, n_pair
from raysys.losses.cpc import cross_modal_cpc
from raysys.losses.gather import gather_rows, gather_values
from raysys.losses.objective import cross_entropy_sum
from raysys.model.network import Outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class LossParts:
    """Scalars: the total L, and its unweighted terms."""

    total: Tensor
    ce: Tensor
    scl: Tensor
    acl: Tensor
    cpc: Tensor

    NAMES = ("total", "ce", "scl", "acl", "cpc")

    def detached(self) -> Tensor:
        return torch.stack([getattr(self, name).detach().float() for name in self.NAMES])


def criterion(
    outputs: Outputs,
    batch: Batch,
    config: LossConfig,
    *,
    classify_augmented: bool,
    workers: int,
    step_size: int,
) -> LossParts:
    """L = L_CE + alpha L_SCL + beta L_ACL + gamma L_CPC, scaled for the mean over workers that DDP takes.

    Averaged over the workers, its gradient is that of one worker with the whole step: cross-entropy is workers x
    local sum / utterances of all workers; every worker computes the contrastive terms on the embeddings gathered
    from all. The caller weights each step by its share of an accumulated update.

    Args:
        outputs: of the clean view's rows, then the augmented view's where the batch has one.
        batch: this worker's share of the step.
        workers: data-parallel workers.
        step_size: utterances of the step, over all workers.
    """
    mine = len(batch.utterance_ids)
    rows = len(batch.labels_B)
    clean = outputs.rows(0, mine)
    augmented = None if batch.augmented is None else outputs.rows(rows, rows + mine)
    labels_B = batch.labels_B[:mine]

    ce_sum = cross_entropy_sum(clean.logits_NC, labels_B, label_smoothing=config.label_smoothing)
    views = 1
    if classify_augmented and augmented is not None:
        views = 2
        ce_sum = ce_sum + cross_entropy_sum(augmented.logits_NC, labels_B, label_smoothing=config.label_smoothing)
    ce = workers * ce_sum / (step_size * views)

    zero = ce_sum.new_zeros(())
    scl = acl = cpc = zero
    if augmented is not None:
        labels_N = gather_values(labels_B)
        utterance_N = gather_values(batch.utterance_B[:mine])
        left_NE = gather_rows(clean.embeddings_NE.float())
        right_NE = gather_rows(augmented.embeddings_NE.float())
        if config.alpha > 0:
            scl = n_pair(
                torch.cat([left_NE, right_NE]),
                labels_N.repeat(2),
                utterance_N.repeat(2),
                l2=config.l2,
            )
        if config.beta > 0:
            acl = info_nce_pairs(left_NE, right_NE, temperature=config.temperature)
    # With one modality the text is never there: CPC is off.
    if config.gamma > 0 and batch.clean.tokens_BM is not None and batch.clean.lengths_B is not None:
        cpc = _cpc(clean, batch, mine, config.temperature)
    total = ce + config.alpha * scl + config.beta * acl + config.gamma * cpc
    if mine == 0:
        # This worker still takes part in the gradients' reduction, with zeros.
        total = total + 0.0 * outputs.logits_NC.sum()
    return LossParts(total=total, ce=ce, scl=scl, acl=acl, cpc=cpc)


def _cpc(clean: Outputs, batch: Batch, mine: int, temperature: float) -> Tensor:
    """Cross-modal CPC: the fused vector predicts the pooled audio and the pooled text of its own utterance."""
    has_text_N = gather_values(clean.has_text_N)
    utterance_N = gather_values(batch.utterance_B[:mine])
    transcript_N = gather_values(batch.transcript_B[:mine])
    audio = cross_modal_cpc(
        gather_rows(clean.audio_predicted_ND.float()),
        gather_rows(clean.audio_ND.float()),
        torch.ones_like(has_text_N),
        utterance_N,
        temperature=temperature,
    )
    text = cross_modal_cpc(
        gather_rows(clean.text_predicted_ND.float()),
        gather_rows(clean.text_ND.float()),
        has_text_N,
        transcript_N,
        temperature=temperature,
    )
    return audio + text
