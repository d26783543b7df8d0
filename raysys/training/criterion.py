"""The training loss of one step (L in METHOD), over the embeddings of all workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from raysys.config import LossConfig
from raysys.data.batch import Batch
from raysys.data.plan import derive_seed
from raysys.losses.contrastive import Past, info_nce_pairs, n_pair, supcon
from raysys.losses.cpc import cross_modal_cpc
from raysys.losses.gather import gather_rows, gather_values
from raysys.losses.objective import cross_entropy_sum
from raysys.losses.queue import Queue, both
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
    shares: Sequence[Sequence[str]],
    step_weight: float,
    class_weights_C: Tensor | None = None,
    queue: Queue | None = None,
    shift_C: Tensor | None = None,
) -> LossParts:
    """L = L_CE + alpha L_SCL + beta L_ACL + gamma L_CPC, scaled for DDP's mean over workers.

    Averaged over the workers, its gradient equals that of one worker with the whole step: cross-entropy is workers x
    local sum / weight of all workers' utterances; every worker computes the contrastive terms on the embeddings
    gathered from all. The caller weights each step by its share of an accumulated update.

    Args:
        outputs: rows of the batch's views.
        batch: this worker's share of the step.
        shares: ids of the step's utterances on each data-parallel worker, in rank order.
        step_weight: divisor of the cross-entropy summed over all workers: the step's utterances, or its share of the
            update's class weights.
        class_weights_C: class weights of the cross-entropy; None: all 1.
        queue: further negatives of the contrastive terms; this step's embeddings are added to it.
        shift_C: of logit adjustment, see `objective.logit_shift`.
    """
    mine = len(batch.utterance_ids)
    rows, workers = len(batch.labels_B), len(shares)
    clean = outputs.rows(0, mine)
    augmented = None if batch.augmented is None else outputs.rows(rows, rows + mine)
    labels_B = batch.labels_B[:mine]

    views = {"clean": clean}
    if batch.mixed is not None:
        last = rows * len(batch.views) - rows
        views = {"mixed": outputs.rows(last, last + mine)}
    if augmented is not None and classify_augmented:
        views["augmented"] = augmented
    ce_sum = sum(
        cross_entropy_sum(
            view.logits_NC,
            labels_B,
            label_smoothing=config.label_smoothing,
            class_weights_C=class_weights_C,
            targets_BC=batch.targets[name][:mine] if name in batch.targets else None,
            shift_C=shift_C,
            focal=config.focal,
        )
        for name, view in views.items()
    )
    assert isinstance(ce_sum, Tensor)
    ce = workers * ce_sum / (step_weight * len(views))

    scl = acl = cpc = ce_sum.new_zeros(())
    if augmented is not None and clean.embeddings_NE is not None:
        scl, acl = _contrastive(clean, augmented, batch, shares, config, queue)
    if config.gamma > 0 and clean.temporal_N is not None:
        cpc = _temporal(clean, [len(names) for names in shares])
    elif config.gamma > 0 and clean.audio_predicted_ND is not None:
        cpc = _cross_modal(clean, batch, [len(names) for names in shares], config)
    total = ce + config.alpha * scl + config.beta * acl + config.gamma * cpc
    if mine == 0:
        # This worker still takes part in the gradient reduction, with zeros.
        total = total + 0.0 * outputs.logits_NC.sum()
    return LossParts(total=total, ce=ce, scl=scl, acl=acl, cpc=cpc)


def _contrastive(
    clean: Outputs,
    augmented: Outputs,
    batch: Batch,
    shares: Sequence[Sequence[str]],
    config: LossConfig,
    queue: Queue | None,
) -> tuple[Tensor, Tensor]:
    """L_SCL and L_ACL over the rows of all workers; 0 where the weight is."""
    sizes, mine = [len(names) for names in shares], len(batch.utterance_ids)
    labels_N, utterance_N = gather_values(batch.labels_B[:mine], sizes), gather_values(batch.utterance_B[:mine], sizes)
    by_head = [(clean.embeddings_NE, augmented.embeddings_NE)]
    if clean.acl_embeddings_NE is not None:
        by_head.append((clean.acl_embeddings_NE, augmented.acl_embeddings_NE))
    views = [(gather_rows(left_NE, sizes), gather_rows(right_NE, sizes)) for left_NE, right_NE in by_head]  # type: ignore[arg-type]
    scl = acl = views[0][0].new_zeros(())
    # As `utterance_N`, on the CPU.
    numbers_N = torch.tensor([derive_seed(name) for names in shares for name in names], dtype=torch.int64)
    if config.alpha > 0:
        past = None if queue is None else both(queue.others(numbers_N, 0))
        scl = _supervised(torch.cat(views[0]), labels_N.repeat(2), utterance_N.repeat(2), config, past)
    if config.beta > 0:
        acl = info_nce_pairs(
            *views[-1],
            temperature=config.temperature,
            utterance_N=utterance_N,
            group_N=labels_N if config.acl_negatives == "other_classes" else None,
            past=None if queue is None else queue.others(numbers_N, len(views) - 1),
        )
    if queue is not None:
        rows_NVHE = torch.stack([torch.stack(pair, dim=1) for pair in views], dim=2)
        queue.add(rows_NVHE, labels_N, numbers_N)
    return scl, acl


def _supervised(
    rows_NE: Tensor, labels_N: Tensor, utterance_N: Tensor, config: LossConfig, past: Past | None
) -> Tensor:
    if config.scl == "supcon":
        return supcon(rows_NE, labels_N, temperature=config.temperature, past=past)
    temperature = config.temperature if config.scl_scale == "unit" else None
    return n_pair(rows_NE, labels_N, utterance_N, temperature=temperature, l2=config.l2, past=past)


def _temporal(clean: Outputs, sizes: Sequence[int]) -> Tensor:
    """Temporal CPC: as for cross-entropy, workers x local sum / number of terms over all workers."""
    assert clean.temporal_N is not None and clean.temporal_pairs_N is not None
    pairs = gather_values(clean.temporal_pairs_N, sizes).sum()
    return len(sizes) * clean.temporal_N.sum() / pairs.clamp(min=1)


def _cross_modal(clean: Outputs, batch: Batch, sizes: Sequence[int], config: LossConfig) -> Tensor:
    """CPC across modalities: pooled audio and pooled text are predicted, from each other or from the fused vector.

    An utterance without text has nothing to predict its audio from. The fused vector has its audio, and tells all
    utterances apart by it.
    """
    assert clean.audio_predicted_ND is not None and clean.text_predicted_ND is not None and clean.text_ND is not None
    mine = len(batch.utterance_ids)
    has_text_N = gather_values(clean.has_text_N, sizes)
    utterance_N = gather_values(batch.utterance_B[:mine], sizes)
    transcript_N = gather_values(batch.transcript_B[:mine], sizes)
    fused = config.cpc == "fused"
    audio = cross_modal_cpc(
        gather_rows(clean.audio_predicted_ND, sizes),
        gather_rows(clean.audio_ND, sizes),
        torch.ones_like(has_text_N) if fused else has_text_N,
        utterance_N if fused else transcript_N,
        temperature=config.temperature,
    )
    text = cross_modal_cpc(
        gather_rows(clean.text_predicted_ND, sizes),
        gather_rows(clean.text_ND, sizes),
        has_text_N,
        transcript_N,
        temperature=config.temperature,
    )
    return audio + text
