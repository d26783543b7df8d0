"""What must be finite: losses, the weights that an update leaves, predictions. Nothing else becomes a score.

Messages count epochs and steps from 1, as the progress lines do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from raysys.errors import TrainingError
from raysys.training.criterion import LossParts

_LOWER = "A lower --optim.lr or --loss.alpha usually mends it."


def refuse_training(losses: Tensor, network: nn.Module, names: Sequence[tuple[str, ...]], epoch: int) -> None:
    """Look at an epoch's losses, and at the weights that its last update left, which no loss has seen.

    Args:
        losses: parts of every step (steps x parts), on the CPU.
        names: utterances of every step.

    Raises:
        TrainingError: naming the first step of which something is not finite, and its utterances.
    """
    broken = (~losses.isfinite()).any(dim=1).nonzero()
    if len(broken):
        index = int(broken[0])
        parts = dict(zip(LossParts.NAMES, losses[index].tolist(), strict=True))
        raise TrainingError(
            f"epoch {epoch + 1}, step {index + 1}: the loss is not finite, {parts}; "
            f"utterances {', '.join(names[index])}. {_LOWER}"
        )
    # One wait for the device, not one a tensor.
    finite = torch.stack([p.detach().isfinite().all() for p in network.parameters() if p.requires_grad])
    if not finite.all():
        raise TrainingError(
            f"epoch {epoch + 1}, step {len(losses)}: the loss is finite, but not the weights after it; "
            f"utterances {', '.join(names[-1])}. {_LOWER}"
        )


def refuse_predictions(probabilities_NC: np.ndarray, names: Sequence[str], where: str) -> None:
    """Raises: TrainingError: naming the utterances of which the network says nothing finite, and `where` it was."""
    unknown_N = ~np.isfinite(probabilities_NC).all(axis=1)
    if unknown_N.any():
        broken = [name for name, unknown in zip(names, unknown_N, strict=True) if unknown]
        advice = _LOWER if unknown_N.all() else "Is there sound in them that no other has?"
        raise TrainingError(
            f"{where}: the predictions of {len(broken)} of {len(names)} utterances are not finite: "
            f"{', '.join(broken[:5])}. {advice}"
        )
