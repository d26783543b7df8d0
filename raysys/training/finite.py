"""Checks that losses, updated weights and predictions are finite, before they can become a score.

Messages count epochs and steps from 1, as the progress lines do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from raysys.errors import TrainingError
from raysys.training.criterion import LossParts

_LOWER = "A lower --optim.lr or --loss.alpha usually fixes this."


def refuse_training(losses: Tensor, network: nn.Module, names: Sequence[tuple[str, ...]], epoch: int) -> None:
    """Check an epoch's losses, and the weights after its last update, which no loss has used yet.

    Args:
        losses: loss parts of every step (steps x parts), on the CPU.
        names: utterances of every step.

    Raises:
        TrainingError: a value is not finite; names the first such step and its utterances.
    """
    broken = (~losses.isfinite()).any(dim=1).nonzero()
    if len(broken):
        index = int(broken[0])
        parts = dict(zip(LossParts.NAMES, losses[index].tolist(), strict=True))
        raise TrainingError(
            f"epoch {epoch + 1}, step {index + 1}: the loss is not finite, {parts}; "
            f"utterances {', '.join(names[index])}. {_LOWER}"
        )
    # One device synchronisation instead of one per tensor.
    finite = torch.stack([p.detach().isfinite().all() for p in network.parameters() if p.requires_grad])
    if not finite.all():
        raise TrainingError(
            f"epoch {epoch + 1}, step {len(losses)}: the loss is finite, but not the weights after it; "
            f"utterances {', '.join(names[-1])}. {_LOWER}"
        )


def refuse_predictions(probabilities_NC: np.ndarray, names: Sequence[str], where: str) -> None:
    """Raises: TrainingError: predictions are not finite; names the utterances, and `where` it happened."""
    unknown_N = ~np.isfinite(probabilities_NC).all(axis=1)
    if unknown_N.any():
        broken = [name for name, unknown in zip(names, unknown_N, strict=True) if unknown]
        advice = _LOWER if unknown_N.all() else "Check their audio: the others are fine."
        raise TrainingError(
            f"{where}: the predictions of {len(broken)} of {len(names)} utterances are not finite: "
            f"{', '.join(broken[:5])}. {advice}"
        )
