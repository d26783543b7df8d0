"""The augmented view: determined by its key alone, and valid for every configuration."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from raysys.augment.view import augment_waveform, stable_seed
from raysys.config import AugmentConfig

ALL = AugmentConfig(spec_augment=True)
SEED_OF_0_1_A = 14787144742495925966
NONE = AugmentConfig(lsa=False, speed=False, noise=False)


def speechlike(n: int = 16_000) -> np.ndarray:
    time_s = np.arange(n) / 16_000
    loudness = np.sin(2 * np.pi * 3 * time_s).clip(0)
    hiss = np.random.default_rng(0).standard_normal(n)
    return (loudness * np.sin(2 * np.pi * 200 * time_s) * 0.5 + 0.01 * hiss).astype(np.float32)


def test_equal_keys_give_equal_views_whatever_ran_before() -> None:
    first = augment_waveform(speechlike(), ALL, key=(0, 1, "Ses01F_impro01_F000"))
    torch.manual_seed(7)
    np.random.seed(7)
    augment_waveform(speechlike(), ALL, key=(9, 9, "another"))
    again = augment_waveform(speechlike(), ALL, key=(0, 1, "Ses01F_impro01_F000"))
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("other", [(1, 1, "a"), (0, 2, "a"), (0, 1, "b")])
def test_every_part_of_the_key_counts(other: tuple[int, int, str]) -> None:
    config = replace(NONE, noise=True)
    first = augment_waveform(speechlike(), config, key=(0, 1, "a"))
    assert not np.array_equal(first, augment_waveform(speechlike(), config, key=other))


def test_seeds_are_the_same_in_every_process_and_do_not_collide() -> None:
    # Pinned: a different value would change the views of all resumed runs.
    assert stable_seed((0, 1, "a")) == SEED_OF_0_1_A
    keys = [(seed, variant, name) for seed in (1, 11) for variant in (1, 11) for name in ("1", "11")]
    assert len({stable_seed(key) for key in keys}) == len(keys)
    assert stable_seed((int(np.int64(3)), 0, "x")) == stable_seed((np.int64(3), 0, "x"))  # type: ignore[arg-type]


@pytest.mark.parametrize("config", [ALL, NONE, AugmentConfig(), replace(ALL, speed=False)])
@pytest.mark.parametrize("n", [0, 1, 300, 511, 16_000])
def test_views_are_finite_float32_in_range(config: AugmentConfig, n: int) -> None:
    for waveform_S in (speechlike(n), np.zeros(n, np.float32), np.ones(n, np.float32)):
        for variant in range(5):
            view_S = augment_waveform(waveform_S, config, key=(0, variant, "a"))
            assert view_S.dtype == np.float32
            assert np.isfinite(view_S).all() and (np.abs(view_S) <= 1).all()
            assert n / 1.1 - 1 <= len(view_S) <= n / 0.9 + 1
            assert config.speed or len(view_S) == n


def test_without_effects_the_view_is_a_clipped_copy_of_the_waveform() -> None:
    waveform_S = 3 * speechlike()
    waveform_S.setflags(write=False)
    view_S = augment_waveform(waveform_S, NONE, key=(0, 0, "a"))
    np.testing.assert_array_equal(view_S, waveform_S.clip(-1, 1))
    assert not np.shares_memory(view_S, waveform_S)


def test_gain_clips_at_full_scale() -> None:
    loud_S = np.full(100, 0.9, np.float32)
    views = [augment_waveform(loud_S, replace(NONE, gain=20.0), key=(0, variant, "a")) for variant in range(20)]
    assert max(view_S.max() for view_S in views) == 1 and min(view_S.max() for view_S in views) < 0.3


def test_recordings_are_heard_in_the_order_of_a_recording() -> None:
    """Someone speaks, in a room, with noise in it: noise is of the view's own length, and not reverberated."""
    config = replace(NONE, speed=True, noise_snr=(10.0, 10.0))
    dry_S = augment_waveform(speechlike(), config, key=(0, 0, "a"))
    asked: list[int] = []

    def hum(n: int) -> np.ndarray:
        asked.append(n)
        return np.sin(np.arange(n) / 5).astype(np.float32)

    echo_R = np.array([1, 0, 0, -0.9], np.float32)
    wet_S = augment_waveform(speechlike(), config, key=(0, 0, "a"), room_R=echo_R)
    found_S = augment_waveform(speechlike(), config, key=(0, 0, "a"), room_R=echo_R, noise=hum)
    assert asked == [len(dry_S)] != [16_000] and len(wet_S) == len(dry_S)
    assert not np.allclose(wet_S, dry_S, atol=1e-3)
    added_S = found_S - wet_S
    assert np.corrcoef(added_S, hum(len(dry_S)))[0, 1] > 0.9999
    assert 10 * np.log10((wet_S**2).sum() / (added_S**2).sum()) == pytest.approx(10, abs=0.01)


@pytest.mark.parametrize("n", [0, 1, 300])
def test_recordings_go_with_clips_of_any_length(n: int) -> None:
    view_S = augment_waveform(
        speechlike(n), ALL, key=(0, 0, "a"), room_R=np.ones(400, np.float32), noise=lambda n: np.ones(n, np.float32)
    )
    assert np.isfinite(view_S).all() and view_S.dtype == np.float32


@pytest.mark.parametrize("effect", ["lsa", "speed", "noise", "spec_augment"])
def test_each_switch_enables_its_effect(effect: str) -> None:
    waveform_S = speechlike()
    view_S = augment_waveform(waveform_S, replace(NONE, **{effect: True}), key=(0, 0, "a"))
    assert not np.array_equal(view_S, waveform_S)
    assert (len(view_S) != len(waveform_S)) == (effect == "speed")
