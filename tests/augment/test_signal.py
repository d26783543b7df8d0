"""Noise, speed and SpecAugment: their effect on a waveform, determined by the generator alone."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
from torch import Tensor

from raysys.augment.signal import (
    add_noise,
    add_white_noise,
    change_gain,
    mix_at_snr,
    perturb_speed,
    spec_augment,
)
from raysys.augment.spectrum import to_spectrum


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tone(frequency_hz: float, n: int = 16_000) -> Tensor:
    return 0.5 * torch.sin(2 * math.pi * frequency_hz * torch.arange(n) / 16_000)


def snr_db(speech_S: Tensor, mixture_S: Tensor) -> float:
    added_S = (mixture_S - speech_S).double()
    return float(10 * torch.log10(speech_S.double().square().mean() / added_S.square().mean()))


@pytest.mark.parametrize("wanted_db", [-5.0, 0.0, 20.0])
def test_mixture_has_the_requested_snr(wanted_db: float) -> None:
    speech_S, noise_S = torch.randn(2, 16_000, generator=seeded())
    mixture_S = mix_at_snr(speech_S, 0.01 * noise_S, snr_db=wanted_db)
    assert snr_db(speech_S, mixture_S) == pytest.approx(wanted_db, abs=1e-3)


def test_mixture_refuses_what_it_cannot_mix() -> None:
    with pytest.raises(ValueError, match=r"shape \(4,\), noise \(3,\)"):
        mix_at_snr(torch.ones(4), torch.ones(3), snr_db=0.0)
    with pytest.raises(ValueError, match="noise is silent"):
        mix_at_snr(torch.ones(4), torch.zeros(4), snr_db=0.0)


def test_white_noise_is_white_and_within_its_range() -> None:
    speech_S = tone(440.0)
    found_db = [
        snr_db(speech_S, add_white_noise(speech_S, seeded(seed), snr_db_range=(10.0, 30.0))) for seed in range(40)
    ]
    assert 10 <= min(found_db) < 13 and 27 < max(found_db) <= 30
    added_S = add_white_noise(speech_S, seeded(), snr_db_range=(0.0, 0.0)) - speech_S
    power_F = torch.fft.rfft(added_S).abs().square()
    assert float(power_F[:4000].mean() / power_F[4000:].mean()) == pytest.approx(1, abs=0.1)


def test_recorded_noise_is_within_its_range_whatever_its_level() -> None:
    speech_S, noise_S = tone(440.0), 0.001 * torch.randn(16_000, generator=seeded(1))
    mixtures = [add_noise(speech_S, noise_S, seeded(seed), snr_db_range=(5.0, 20.0)) for seed in range(40)]
    found_db = [snr_db(speech_S, mixture_S) for mixture_S in mixtures]
    assert 5 - 1e-3 < min(found_db) < 7 and 18 < max(found_db) < 20 + 1e-3
    added_S = mixtures[0] - speech_S
    torch.testing.assert_close(added_S, noise_S * float(added_S.std() / noise_S.std()), atol=1e-4, rtol=0)


def test_a_silent_stretch_of_noise_adds_nothing() -> None:
    assert torch.equal(add_noise(tone(440.0), torch.zeros(16_000), seeded(), snr_db_range=(5.0, 20.0)), tone(440.0))


def test_gain_is_within_its_range_in_both_directions() -> None:
    speech_S = tone(440.0)
    found_db = [20 * math.log10(float(change_gain(speech_S, seeded(s), most_db=6.0).max() / 0.5)) for s in range(60)]
    assert -6 - 1e-3 < min(found_db) < -5 and 5 < max(found_db) < 6 + 1e-3
    louder_S = change_gain(speech_S, seeded(), most_db=6.0)
    torch.testing.assert_close(louder_S / louder_S.max(), speech_S / speech_S.max())


@pytest.mark.parametrize("n", [0, 1, 5000])
def test_silence_stays_silence(n: int) -> None:
    silence_S = torch.zeros(n)
    assert torch.equal(add_noise(silence_S, torch.ones(n), seeded(), snr_db_range=(0.0, 1.0)), silence_S)
    assert torch.equal(change_gain(silence_S, seeded(), most_db=6.0), silence_S)
    assert torch.equal(add_white_noise(silence_S, seeded(), snr_db_range=(0.0, 1.0)), silence_S)
    assert torch.equal(spec_augment(silence_S, seeded()), silence_S)
    assert not perturb_speed(silence_S, seeded()).any()


@pytest.mark.parametrize("speed", [0.9, 0.95, 1.0, 1.05, 1.1])
def test_speed_changes_length_and_pitch(speed: float) -> None:
    found_S = perturb_speed(tone(1000.0), seeded(), low=speed, high=speed)
    assert len(found_S) == math.ceil(16_000 / speed - 1e-6)
    expected_S = tone(1000.0 * speed, len(found_S))
    torch.testing.assert_close(found_S[100:-100], expected_S[100:-100], atol=5e-3, rtol=0)


def test_speeds_are_drawn_uniformly() -> None:
    lengths = [len(perturb_speed(torch.zeros(2090), seeded(seed))) for seed in range(500)]
    found, counts = np.unique(lengths, return_counts=True)
    assert found.tolist() == [1900, 1991, 2090, 2200, 2323]
    assert counts.min() > 70


def test_speed_of_a_range_without_a_step_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no positive multiple of 0\.05 between"):
        perturb_speed(torch.zeros(10), seeded(), low=0.91, high=0.94)


def test_spec_augment_masks_bands_and_time_spans() -> None:
    waveform_S = torch.randn(32_000, generator=seeded(9))
    only_bands_S = spec_augment(waveform_S, seeded(), n_stretches=0)
    ratio_F = to_spectrum(only_bands_S).abs().square().mean(dim=1)
    ratio_F /= to_spectrum(waveform_S).abs().square().mean(dim=1)
    assert 1 <= int((ratio_F < 0.25).sum()) <= 2 * 32 + 2
    assert float(ratio_F.median()) == pytest.approx(1, abs=0.01)

    only_stretches_S = spec_augment(waveform_S, seeded(), n_bands=0)
    changed_S = ((only_stretches_S - waveform_S).abs() > 1e-4).float()
    assert 0.002 < float(changed_S.mean()) < 0.25


@pytest.mark.parametrize("n", [1, 300, 512, 2000, 32_001])
def test_spec_augment_preserves_length_and_its_argument(n: int) -> None:
    waveform_S = torch.randn(n, generator=seeded(1))
    before_S = waveform_S.clone()
    for seed in range(20):
        found_S = spec_augment(waveform_S, seeded(seed))
        assert found_S.shape == (n,) and found_S.isfinite().all()
    assert torch.equal(waveform_S, before_S)


def test_only_the_generator_is_random() -> None:
    waveform_S = torch.randn(8000, generator=seeded(5))
    for augment in (
        perturb_speed,
        spec_augment,
        lambda waveform_S, generator: add_white_noise(waveform_S, generator, snr_db_range=(5.0, 20.0)),
        lambda waveform_S, generator: add_noise(waveform_S, waveform_S.flip(0), generator, snr_db_range=(5.0, 20.0)),
        lambda waveform_S, generator: change_gain(waveform_S, generator, most_db=6.0),
    ):
        torch.manual_seed(1)
        first_S = augment(waveform_S, seeded(3))
        torch.manual_seed(2)
        assert torch.equal(augment(waveform_S, seeded(3)), first_S)


def test_number_of_threads_changes_nothing() -> None:
    # A sum over more than 32 768 values is split among threads: its last bit would depend on them.
    waveforms = [torch.randn(60_000, generator=seeded(seed)) for seed in range(8)]
    n_threads = torch.get_num_threads()
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(
            [
                spec_augment(
                    add_white_noise(perturb_speed(waveform_S, seeded(4)), seeded(), snr_db_range=(5.0, 20.0)), seeded()
                )
                for waveform_S in waveforms
            ]
        )
    torch.set_num_threads(n_threads)
    for one_S, two_S in zip(*found, strict=True):
        assert torch.equal(one_S, two_S)


def test_speed_is_far_faster_than_real_time() -> None:
    # 500 times real time is the target; a quarter of that here, since CI machines are shared.
    waveform_S = torch.randn(16_000 * 20, generator=seeded())
    perturb_speed(waveform_S, seeded(), low=1.05, high=1.05)
    started = time.process_time()
    perturb_speed(waveform_S, seeded(), low=1.05, high=1.05)
    assert 20 / (time.process_time() - started) > 125
