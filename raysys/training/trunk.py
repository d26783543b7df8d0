"""How hard each term of the loss pulls at what the tasks share."""

from __future__ import annotations

import torch
import torch.distributed
from torch import Tensor, nn

from raysys.training.criterion import LossParts

_OF_ONE_TASK = ("head.", "project.", "project_acl.", "predict_", "pool_text.")


def trunk(network: nn.Module) -> list[nn.Parameter]:
    """Trained parameters that cross-entropy shares with other terms: encoders, projections, fusion, pooling."""
    return [p for n, p in network.named_parameters() if p.requires_grad and not n.startswith(_OF_ONE_TASK)]


def gradient_norms(parts: LossParts, network: nn.Module, *, workers: int) -> dict[str, float]:
    """Euclidean norms of the gradients of the unweighted terms with respect to the trunk, by the term's name.

    One more backward pass for each term that is on; the graph is left for the training's own. Parameters and their
    gradients stay as they are. The gradient is averaged over the workers, so it is that of one worker with the whole
    batch: every worker must call this, also one without utterances.

    Args:
        parts: before their backward pass.
        workers: number of data-parallel workers.

    Returns: empty where cross-entropy is the only term: there is nothing to compare.
    """
    terms = {name: term for name in ("ce", "scl", "acl", "cpc") if (term := getattr(parts, name)).requires_grad}
    if len(terms) < 2:
        return {}
    shared = trunk(network)
    return {name: float(_norm(term, shared, workers)) for name, term in terms.items()}


def _norm(term: Tensor, shared: list[nn.Parameter], workers: int) -> Tensor:
    found = torch.autograd.grad(term, shared, retain_graph=True, allow_unused=True)
    squared = torch.zeros((), device=term.device)
    for parameter, gradient in zip(shared, found, strict=True):
        # Zeros where a term does not reach: which parameters an encoder uses may differ between workers.
        mean = torch.zeros_like(parameter) if gradient is None else gradient
        if workers > 1:
            mean = mean.clone(memory_format=torch.contiguous_format)
            torch.distributed.all_reduce(mean)
            mean /= workers
        squared = squared + mean.float().square().sum()
    return squared.sqrt()
