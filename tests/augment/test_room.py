"""Reverberation: the convolution by hand and by loops, aligned to the direct path, as loud as before."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from raysys.augment.room import reverberate


def noise(n: int, seed: int = 0) -> Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(seed))


def looped(waveform_S: Tensor, response_R: Tensor) -> Tensor:
    """y_t = g sum_r response_r waveform_(t + p - r), in float64."""
    x, h = waveform_S.double().tolist(), response_R.double().tolist()
    p = max(range(len(h)), key=lambda r: abs(h[r]))
    y = [sum(h[r] * x[t + p - r] for r in range(len(h)) if 0 <= t + p - r < len(x)) for t in range(len(x))]
    gain = (sum(v * v for v in x) / sum(v * v for v in y)) ** 0.5
    return torch.tensor([gain * v for v in y])


def test_an_echo_by_hand() -> None:
    # 3 and 4, an echo of half the height a sample later: 3, 4 + 1.5, the rest is cut off; powers 25 and 39.25.
    found_S = reverberate(torch.tensor([3.0, 4.0]), torch.tensor([1.0, 0.5]))
    torch.testing.assert_close(found_S, torch.tensor([3.0, 5.5]) * (25 / 39.25) ** 0.5)


@pytest.mark.parametrize(("n_samples", "n_response"), [(1, 1), (1, 9), (50, 7), (64, 65), (7, 100)])
def test_it_is_the_convolution(n_samples: int, n_response: int) -> None:
    waveform_S, response_R = noise(n_samples), noise(n_response, seed=1)
    torch.testing.assert_close(
        reverberate(waveform_S, response_R), looped(waveform_S, response_R).float(), atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("delay", [0, 1, 300])
@pytest.mark.parametrize("height", [1.0, 0.001])
def test_the_direct_path_alone_is_no_change_whatever_its_delay_and_level(delay: int, height: float) -> None:
    waveform_S, response_R = noise(1000), torch.zeros(400)
    response_R[delay] = height
    torch.testing.assert_close(reverberate(waveform_S, response_R), waveform_S, atol=1e-5, rtol=0)


def test_the_power_is_kept() -> None:
    waveform_S, response_R = 0.1 * noise(4000), 20 * noise(2000, seed=1) * 0.99 ** torch.arange(2000)
    found_S = reverberate(waveform_S, response_R)
    assert float(found_S.square().sum()) == pytest.approx(float(waveform_S.square().sum()), rel=1e-5)


@pytest.mark.parametrize("waveform_S", [torch.zeros(0), torch.zeros(9), noise(9)])
def test_silence_stays_silence_and_a_silent_response_changes_nothing(waveform_S: Tensor) -> None:
    found_S = reverberate(waveform_S, torch.zeros(5) if waveform_S.any() else noise(5))
    assert torch.equal(found_S, waveform_S)


def test_number_of_threads_changes_nothing() -> None:
    waveform_S, response_R = noise(60_000), noise(20_000, seed=1)
    n_threads = torch.get_num_threads()
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(reverberate(waveform_S, response_R))
    torch.set_num_threads(n_threads)
    assert torch.equal(*found)
