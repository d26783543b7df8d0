"""Distortions by what is measured of them: levels, bands, delays, and the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from raysys.evaluation.distortions import DISTORTIONS, Distortion, clip, gain, mp3, room, telephone, white_noise

RATE_HZ = 16_000


def tone(hz: float, seconds: float = 1.0, level: float = 0.3) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE_HZ)) / RATE_HZ)).astype(np.float32)


def speech(seconds: float = 1.3) -> np.ndarray:
    """Syllables of noise: it has edges by which a delay shows."""
    rng = np.random.default_rng(3)
    n = int(seconds * RATE_HZ)
    envelope_S = np.clip(np.sin(2 * np.pi * 3 * np.arange(n) / RATE_HZ), 0, 1) ** 2
    smooth_S = np.convolve(rng.standard_normal(n), np.hanning(12), "same")
    return (0.4 * envelope_S * smooth_S / np.abs(smooth_S).max()).astype(np.float32)


def level_db(waveform_S: np.ndarray) -> float:
    return float(10 * np.log10(np.square(waveform_S.astype(np.float64)).mean()))


@pytest.mark.parametrize("distortion", DISTORTIONS, ids=[d.name for d in DISTORTIONS])
def test_each_keeps_the_length_and_repeats_itself(distortion: Distortion) -> None:
    heard_S = speech()
    before_S = heard_S.copy()
    found_S = distortion.apply(heard_S, 5)
    assert found_S.dtype == np.float32 and found_S.shape == heard_S.shape
    assert np.isfinite(found_S).all() and np.abs(found_S).max() <= 1
    assert not np.array_equal(found_S, heard_S)
    assert np.array_equal(distortion.apply(heard_S, 5), found_S)
    assert np.array_equal(heard_S, before_S)


@pytest.mark.parametrize("distortion", DISTORTIONS, ids=[d.name for d in DISTORTIONS])
@pytest.mark.parametrize("waveform_S", [np.zeros(800, np.float32), np.full(1, 0.1, np.float32)], ids=["silence", "one"])
def test_silence_and_a_single_sample_stay_finite(distortion: Distortion, waveform_S: np.ndarray) -> None:
    found_S = distortion.apply(waveform_S, 0)
    assert found_S.shape == waveform_S.shape and np.isfinite(found_S).all()


@pytest.mark.parametrize("snr_db", [20.0, 0.0])
def test_noise_has_its_ratio_and_another_seed_is_other_noise(snr_db: float) -> None:
    heard_S = tone(440)
    noise_S = white_noise(heard_S, 1, snr_db=snr_db) - heard_S
    assert level_db(heard_S) - level_db(noise_S) == pytest.approx(snr_db, abs=0.2)
    assert not np.array_equal(white_noise(heard_S, 2, snr_db=snr_db), white_noise(heard_S, 1, snr_db=snr_db))


@pytest.mark.parametrize(("hz", "kept"), [(100, False), (1000, True), (2000, True), (6000, False)])
def test_a_telephone_passes_its_band_alone(hz: float, kept: bool) -> None:
    middle = slice(2000, -2000)
    loss_db = level_db(tone(hz)[middle]) - level_db(telephone(tone(hz))[middle] + 1e-9)
    assert (abs(loss_db) < 1) if kept else (loss_db > 25)


def test_gain_by_hand() -> None:
    np.testing.assert_allclose(gain(np.array([0.5, -0.2], np.float32), db=-20), [0.05, -0.02])


def test_two_per_cent_are_clipped() -> None:
    heard_S = speech()
    found_S = clip(heard_S)
    at_the_limit = np.abs(found_S) == np.abs(found_S).max()
    assert at_the_limit.mean() == pytest.approx(0.02, abs=2e-3)
    assert np.array_equal(found_S[~at_the_limit], heard_S[~at_the_limit])


def test_a_click_in_a_room_falls_by_60_db_in_half_a_second_and_has_as_much_energy_after_it() -> None:
    click_S = np.zeros(RATE_HZ, np.float32)
    click_S[0] = 0.5
    found_S = room(click_S, 0).astype(np.float64)
    assert np.abs(found_S).argmax() == 0 and found_S[0] == pytest.approx(0.5)
    assert np.square(found_S[1:]).sum() == pytest.approx(found_S[0] ** 2, rel=1e-3)
    early, late = (level_db(found_S[start : start + 800]) for start in (400, 4400))
    assert early - late == pytest.approx(60 * 0.25 / 0.5, abs=2)


def test_mp3_is_close_in_level_and_not_delayed() -> None:
    heard_S = speech()
    found_S = mp3(heard_S)
    assert level_db(found_S) == pytest.approx(level_db(heard_S), abs=1.5)
    lags = np.correlate(found_S, heard_S[1500:-1500], "valid")
    assert abs(int(lags.argmax()) - 1500) <= 1
