"""Mixup: what is mixed with what, and how much of it."""

from __future__ import annotations

import numpy as np
import pytest

from raysys.data.mixing import Mix, Mixing, mixed
from raysys.data.plan import Step


def step_of(n: int, *, epoch: int = 0, index: int = 0) -> Step:
    return Step(part="train", epoch=epoch, index=index, utterance_ids=tuple(f"u{i}" for i in range(n)))


def mixes_of(step: Step, *, alpha: float = 0.2, seed: int = 0) -> tuple[Mix, ...]:
    return Mixing(alpha=alpha, seed=seed).of(step, step.utterance_ids)


def test_each_is_mixed_with_another_one_of_its_step_and_keeps_the_larger_part() -> None:
    for index in range(30):
        step = step_of(5, index=index)
        for name, mix in zip(step.utterance_ids, mixes_of(step), strict=True):
            assert mix.partner in step.utterance_ids and mix.partner != name
            assert 0.5 <= mix.share <= 1


def test_workers_together_mix_what_one_would() -> None:
    step, mixing = step_of(7), Mixing(alpha=0.4, seed=3)
    for workers in (1, 2, 3, 9):
        shares = [mixing.of(step, step.share(rank, workers)) for rank in range(workers)]
        assert sum(shares, ()) == mixing.of(step, step.utterance_ids)


def test_seed_epoch_and_step_change_the_mixes_and_nothing_else_does() -> None:
    found = {mixes_of(step_of(6, epoch=e, index=i), seed=s) for e in (0, 1) for i in (0, 1) for s in (0, 1)}
    assert len(found) == 8
    assert mixes_of(step_of(6)) == mixes_of(step_of(6))


def test_shares_are_the_larger_part_of_a_beta_draw() -> None:
    """max(l, 1 - l) has the mean 1/2 + E|l - 1/2|; for Beta(1, 1), uniform, that is 3/4. Less alpha mixes less."""
    shares = {
        alpha: [m.share for i in range(200) for m in mixes_of(step_of(8, index=i), alpha=alpha)] for alpha in (1, 0.2)
    }
    assert np.mean(shares[1]) == pytest.approx(0.75, abs=0.02)
    assert np.mean(shares[0.2]) > 0.85


def test_an_utterance_alone_in_its_step_stays_as_it_is() -> None:
    assert mixes_of(step_of(1)) == (Mix(partner="u0", share=1.0),)
    twice = Step(part="train", epoch=0, index=0, utterance_ids=("a", "a"))
    assert mixes_of(twice) == (Mix(partner="a", share=1.0),) * 2


def test_nothing_is_mixed_outside_training() -> None:
    step = Step(part="validation", epoch=0, index=0, utterance_ids=("a", "b"))
    assert mixes_of(step) == ()


def test_features_are_mixed_by_hand_and_keep_their_length() -> None:
    own, longer, shorter = (np.array(x, np.float32) for x in ([4, 8, 0], [0, 4, 4, 9], [8]))
    assert mixed(own, longer, 0.75, level=False).tolist() == [3, 7, 1]
    assert mixed(own, shorter, 0.75, level=False).tolist() == [5, 6, 0]
    assert mixed(own, longer, 1.0, level=False).tolist() == own.tolist()


def test_a_loud_partner_has_no_larger_part_than_its_label() -> None:
    draw = np.random.default_rng(0)
    own_S, partner_S = (draw.normal(0, 0.1, 20_000).astype(np.float32) for _ in range(2))
    quiet, loud = (mixed(own_S, gain * partner_S, 0.6, level=True) for gain in (np.float32(1), np.float32(50)))
    np.testing.assert_allclose(loud, quiet, atol=1e-6)
    other_S = loud - np.float32(0.6) * own_S
    assert np.sqrt(np.mean(other_S**2)) == pytest.approx(0.4 * np.sqrt(np.mean(own_S**2)), rel=1e-3)


@pytest.mark.parametrize("silent", ["own", "partner"])
def test_silence_is_mixed_without_a_nan(silent: str) -> None:
    own_S, partner_S = (np.full(9, 0.0 if silent == which else 0.5, np.float32) for which in ("own", "partner"))
    assert np.isfinite(mixed(own_S, partner_S, 0.7, level=True)).all()
