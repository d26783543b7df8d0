"""Masks on frames: what they hide, and that they hide nothing outside training."""

from __future__ import annotations

import torch

from raysys.model.masking import FrameMasking

FRAMES_BJE = torch.ones(400, 12, 50)
VALID_BJ = torch.arange(12) < torch.tensor([12, 5]).repeat(200)[:, None]


def test_a_span_is_up_to_the_given_fraction_and_inside_the_utterance() -> None:
    torch.manual_seed(0)
    hidden_BJ = FrameMasking(longest=0.4, channels=0.0)(FRAMES_BJE, VALID_BJ)[..., 0] == 0
    for n in (12, 5):
        rows_BJ = hidden_BJ[VALID_BJ.sum(dim=1) == n]
        assert not rows_BJ[:, n:].any()
        # 0.4 of 12 frames are 4, of 5 frames 2: every length from 0 to that occurs, as one span, anywhere.
        assert set(rows_BJ.sum(dim=1).tolist()) == set(range(int(0.4 * n) + 1))
        edges_B = (rows_BJ[:, 1:] != rows_BJ[:, :-1]).sum(dim=1) + rows_BJ[:, 0] + rows_BJ[:, -1]
        assert set(edges_B.tolist()) <= {0, 2}
        assert rows_BJ[:, :n].any(dim=0).all()


def test_channels_are_dropped_in_all_frames_of_an_utterance_and_keep_their_mean() -> None:
    torch.manual_seed(0)
    masked_BJE = FrameMasking(longest=0.0, channels=0.25)(FRAMES_BJE, VALID_BJ)
    assert (masked_BJE == masked_BJE[:, :1]).all()
    assert set(masked_BJE.unique().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    torch.testing.assert_close(masked_BJE.mean(), torch.tensor(1.0), atol=0.02, rtol=0)


def test_nothing_is_masked_in_evaluation_and_nothing_drawn_where_it_is_off() -> None:
    masking = FrameMasking(longest=0.4, channels=0.25).eval()
    assert masking(FRAMES_BJE, VALID_BJ) is FRAMES_BJE
    state = torch.get_rng_state()
    assert FrameMasking(longest=0.0, channels=0.0)(FRAMES_BJE, VALID_BJ) is FRAMES_BJE
    assert torch.equal(state, torch.get_rng_state())
