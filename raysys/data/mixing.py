"""Mixup: an utterance with a little of another one of its batch, and the labels of both (Zhang et al. 2018).

Partner and share depend on (seed, epoch, step, utterance) alone, and a partner may be any utterance of the whole step:
so w workers together mix what one would.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np

from raysys.data.plan import Step, derive_seed


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """What an utterance is mixed with.

    Attributes:
        partner: id of the other utterance; its own where the step has no other.
        share: its own part, from 0.5 to 1; the rest is the partner's.
    """

    partner: str
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixing:
    """Attributes:
    alpha: of the Beta(alpha, alpha) that shares are drawn from, above 0.
    """

    alpha: float
    seed: int

    def of(self, step: Step, names: tuple[str, ...]) -> tuple[Mix, ...]:
        """A mix for each of some utterances of a step; none outside training.

        Of the two parts of a draw an utterance gets the larger: it keeps its own words and length.
        """
        return tuple(self._mix(step, name) for name in names) if step.part == "train" else ()

    def _mix(self, step: Step, name: str) -> Mix:
        draw = random.Random(derive_seed(self.seed, "mixup", step.epoch, step.index, name))
        others = [other for other in step.utterance_ids if other != name]
        if not others:
            return Mix(partner=name, share=1.0)
        share = draw.betavariate(self.alpha, self.alpha)
        return Mix(partner=draw.choice(others), share=max(share, 1 - share))


def mixed(own_S: np.ndarray, partner_S: np.ndarray, share: float, *, level: bool) -> np.ndarray:
    """share x own + (1 - share) x partner, float32; the partner is cut, or padded with zeros, to the length of its own.

    Args:
        own_S, partner_S: waveforms, or features of equal width, flattened.
        level: scale the partner to the power of its own first (unless one of them is silent), so that a loud recording
            has no larger part than its label.
    """
    fitted_S = np.zeros(len(own_S), np.float32)
    fitted_S[: len(partner_S)] = partner_S[: len(own_S)]
    if level:
        own, other = (float(np.sqrt(np.mean(np.square(x, dtype=np.float64)))) for x in (own_S, fitted_S))
        fitted_S *= own / other if own > 0 and other > 0 else 1.0
    return (share * own_S + (1 - share) * fitted_S).astype(np.float32)
