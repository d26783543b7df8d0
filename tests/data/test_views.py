"""Views: equal crops, random by (seed, variant, utterance) alone, the same whether stored or computed on the fly."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from raysys.config import AUDIO_EFFECTS, RECORDINGS, AugmentConfig
from raysys.data.cache import INDEX_SCHEMA, write_index, write_part
from raysys.data.recordings import Recordings
from raysys.data.views import Source, augmented, crop, training_views, views_name
from raysys.storage import Folder

WAVEFORMS = {
    name: np.random.default_rng(i).normal(0, 0.1, n).astype(np.float32)
    for i, (name, n) in enumerate({"short": 4_000, "long": 40_000}.items())
}


def write_store(folder: Folder, waveforms: dict[str, np.ndarray]) -> str:
    places = write_part(folder, "part-00000.arrow", list(waveforms.values()))
    rows = [{"utterance_id": name, **place} for name, place in zip(waveforms, places, strict=True)]
    write_index(folder, pa.Table.from_pylist(rows, schema=INDEX_SCHEMA))
    return folder.location


def with_kept_views(source: Source, folder: Folder, waveforms: dict[str, np.ndarray]) -> Source:
    """With both variants of the augmented view precomputed, below `folder`."""
    views = [
        write_store(folder / f"views-{v}", {name: augmented(w, source, v, name) for name, w in waveforms.items()})
        for v in range(2)
    ]
    return dataclasses.replace(source, views=tuple(views))


@pytest.fixture
def source(tmp_path: Path) -> Source:
    store = write_store(Folder.at(str(tmp_path)) / "store", WAVEFORMS)
    return Source(store=store, augment=AugmentConfig(), crop_s=1.0, seed=0)


def with_variants(source: Source, n: int) -> Source:
    assert source.augment is not None
    return dataclasses.replace(source, augment=dataclasses.replace(source.augment, variants=n))


def test_both_views_share_one_random_crop(source: Source) -> None:
    plain = dataclasses.replace(source, augment=AugmentConfig(lsa=False, speed=False, noise=False))
    starts = set()
    for epoch in range(5):
        clean_S, second_S = training_views(plain, "long", epoch)
        assert len(clean_S) == 16_000
        np.testing.assert_array_equal(clean_S, second_S)
        starts.add(int(np.flatnonzero(WAVEFORMS["long"] == clean_S[0])[0]))
    assert len(starts) > 1
    np.testing.assert_array_equal(training_views(plain, "short", 0)[0], WAVEFORMS["short"])


def test_without_a_second_view_none_is_made(source: Source) -> None:
    clean_S, second_S = training_views(dataclasses.replace(source, augment=None), "short", 0)
    assert second_S is None
    np.testing.assert_array_equal(clean_S, WAVEFORMS["short"])


def test_variants_repeat_and_without_them_every_epoch_is_new(source: Source) -> None:
    def second(which: Source, epoch: int) -> np.ndarray:
        view_S = training_views(which, "long", epoch)[1]
        assert view_S is not None
        return view_S

    cycle = with_variants(source, 3)
    for epoch in range(7):
        np.testing.assert_array_equal(second(cycle, epoch), second(source, epoch % 3))
        np.testing.assert_array_equal(
            training_views(cycle, "long", epoch)[0], training_views(source, "long", epoch % 3)[0]
        )
    assert not np.array_equal(second(source, 0), second(source, 3))


def test_stored_views_equal_those_computed_on_the_fly(source: Source, tmp_path: Path) -> None:
    fresh = with_variants(source, 2)
    stored = with_kept_views(fresh, Folder.at(str(tmp_path)), WAVEFORMS)
    for epoch in range(4):
        for name in WAVEFORMS:
            for mine, other in zip(
                training_views(stored, name, epoch), training_views(fresh, name, epoch), strict=True
            ):
                np.testing.assert_array_equal(mine, other)


def recordings(digest: str, folder: str = "/noise") -> Recordings:
    return Recordings(folder=folder, listed="/cache/recordings-00.json", digest=digest)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"crop_s": 2.0},
        {"augment": AugmentConfig(noise=False)},
        {"augment": AugmentConfig(noise_snr=(0.0, 5.0))},
        {"augment": AugmentConfig(gain=6.0)},
        {"noises": recordings("0a")},
        {"rooms": recordings("0a")},
    ],
)
def test_stored_views_are_named_by_what_they_depend_on(source: Source, change: dict[str, object]) -> None:
    name = views_name("waveforms-00", source, 0)
    assert views_name("waveforms-00", dataclasses.replace(source, **change), 0) != name  # type: ignore[arg-type]
    assert views_name("waveforms-01", source, 0) != name != views_name("waveforms-00", source, 1)


def test_a_changed_folder_gives_other_views_and_a_moved_one_the_same(source: Source) -> None:
    def name(noises: Recordings | None, rooms: Recordings | None) -> str:
        return views_name("waveforms-00", dataclasses.replace(source, noises=noises, rooms=rooms), 0)

    names = {name(recordings(noise), recordings(room)) for noise in ("0a", "0b") for room in ("0a", "0b")}
    assert len(names | {name(recordings("0a"), None), name(None, recordings("0a"))}) == 6
    assert name(recordings("0a", "/moved"), None) == name(recordings("0a"), None)


def test_stored_views_do_not_depend_on_other_settings(source: Source) -> None:
    """More variants add to the existing ones; text and losses do not affect them."""
    other = AugmentConfig(variants=4, classify_augmented=True, cbca="none", cbca_texts=2, cbca_model="x")
    shared = views_name("waveforms-00", dataclasses.replace(source, augment=other), 0)
    assert shared == views_name("waveforms-00", source, 0)


def test_a_crop_lies_within_the_waveform(source: Source) -> None:
    for variant in range(20):
        assert len(crop(WAVEFORMS["long"], source, variant, "long")) == 16_000
    exact = WAVEFORMS["long"][:16_000]
    np.testing.assert_array_equal(crop(exact, source, 0, "x"), exact)


def test_every_setting_of_the_augmentation_shapes_the_waveform_or_is_known_to_leave_it_alone() -> None:
    """A new effect in neither list would be missing from the names of cached views and from 'no augmentation'."""
    of_audio = {*AugmentConfig().audio_effects, *RECORDINGS}
    assert of_audio == {*AUDIO_EFFECTS, *RECORDINGS, "noise_snr_db", "noise_snr", "gain"}
    others = {"classify_augmented", "variants", "mixup", "cbca", "cbca_model", "cbca_texts"}
    assert {field.name for field in dataclasses.fields(AugmentConfig)} == of_audio | others
