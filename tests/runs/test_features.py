"""Cached features of frozen encoders: a network that gets them computes the same as from speech."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from raysys.config import AugmentConfig, CorpusConfig, ExperimentConfig, LossConfig, ModelConfig, RunConfig, TrainConfig
from raysys.data import tasks
from raysys.data.batch import Batch, Collator, TextFeatures
from raysys.data.cache import WaveformStore
from raysys.data.folds import Fold
from raysys.data.manifest import Manifest, Utterance
from raysys.data.text import load_tokenizer
from raysys.data.views import Source, training_views, whole_utterance
from raysys.inference import load_model, save_model
from raysys.model.network import Network, Outputs
from raysys.runs import features
from raysys.runs.cluster import Cluster
from raysys.runs.trial import Trial
from raysys.runs.worker import build_network
from raysys.storage import Folder
from tests.data.test_views import with_kept_views, write_store
from tests.model.encoder_folders import write_encoders
from tests.model.test_spectrogram import write_ast, write_w2v_bert
from tests.model.test_whisper import write as write_whisper

CLUSTER = Cluster(
    cpus=2, idle_cpus=2, gpus=0, nodes=1, trials_at_once=2, trials_at_first=2, gpus_per_worker=0, may_grow=False
)
TEXTS = ["kids are talking by the door", "dogs sit", None, "kids sit by the dogs", "the door"]
N_SAMPLES = [16_000, 30_000, 9_000, 41_000, 300]
"""Two are longer than a crop, one is shorter than a frame."""
NAMES = [f"u{i}" for i in range(5)]


@pytest.fixture(autouse=True)
def encoding(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Encoders run here instead of in tasks; the list records the number of parts computed."""
    ran: list[int] = []

    def run_tasks(function: Callable[[Any], Any], items: Sequence[Any], **_: object) -> Iterator[Any]:
        if items:
            ran.append(len(items))
        return iter([function(item) for item in items])

    monkeypatch.setattr(tasks, "run_tasks", run_tasks)
    return ran


@pytest.fixture
def config(tmp_path: Path) -> ExperimentConfig:
    """Both encoders frozen, from folders; two variants of the augmented view, crops of 1.5 s."""
    audio, text = write_encoders(tmp_path, [text for text in TEXTS if text])
    return ExperimentConfig(
        corpus=CorpusConfig(name="table", root="/x"),
        augment=AugmentConfig(variants=2),
        model=ModelConfig(
            audio=str(audio), text=str(text), freeze_audio="all", freeze_text="all", width=32, heads=4, feed_forward=64
        ),
        train=TrainConfig(crop_s=1.5),
        run=RunConfig(cache=str(tmp_path / "cache")),
    )


WRITE: dict[str, Any] = {"whisper": write_whisper, "w2v-bert": write_w2v_bert, "ast": write_ast}


@pytest.fixture
def manifest() -> Manifest:
    utterances = tuple(
        Utterance(utterance_id=name, audio_path=f"{name}.wav", speaker="s", emotion="ab"[i % 2], transcript=text)
        for i, (name, text) in enumerate(zip(NAMES, TEXTS, strict=True))
    )
    return Manifest(corpus="table", classes=("a", "b"), utterances=utterances)


@pytest.fixture
def source(tmp_path: Path, config: ExperimentConfig) -> Source:
    waveforms = {
        name: np.random.default_rng(i).normal(0, 0.1, n).astype(np.float32)
        for i, (name, n) in enumerate(zip(NAMES, N_SAMPLES, strict=True))
    }
    folder = Folder.at(str(tmp_path))
    store = write_store(folder / "waveforms-x", waveforms)
    fresh = Source(store=store, augment=config.augment, crop_s=config.train.crop_s, seed=0)
    return with_kept_views(fresh, folder, waveforms)


def collator(config: ExperimentConfig, manifest: Manifest, **others: Any) -> Collator:
    return Collator(
        utterances={u.utterance_id: u for u in manifest.utterances},
        labels=manifest.labels(),
        tokenizer=load_tokenizer(config.model.text),
        text_dropout=0.3,
        second_view=True,
        seed=0,
        new_texts={"u0": ("kids sit by the door", "dogs are talking by the door")},
        variants=2,
        **others,
    )


def training_batch(source: Source, collate: Collator, epoch: int) -> Batch:
    pairs = [training_views(source, name, epoch) for name in NAMES]
    second = [other for _, other in pairs if other is not None]
    return collate(NAMES, [clean for clean, _ in pairs], second, epoch=epoch)


def outputs(network: Network, batch: Batch) -> Outputs:
    """Dropout, which is active in training, is drawn alike."""
    torch.manual_seed(1)
    with torch.no_grad():
        return network((batch.clean,) if batch.augmented is None else (batch.clean, batch.augmented))


def assert_same(mine: Outputs, theirs: Outputs, *, half: bool = False) -> None:
    """half: features of all layers are kept in half precision."""
    for field in dataclasses.fields(Outputs):
        one, other = getattr(mine, field.name), getattr(theirs, field.name)
        assert (one is None) == (other is None), field.name
        if one is not None:
            within = {"atol": 5e-3, "rtol": 5e-3} if half else {"atol": 2e-5, "rtol": 1e-4}
            torch.testing.assert_close(one, other, msg=field.name, **within)


def make_text_features(config: ExperimentConfig, manifest: Manifest, tmp_path: Path) -> TextFeatures:
    table = pa.table({"utterance_id": ["u0"], "texts": [["kids sit by the door", "dogs are talking by the door"]]})
    Folder.at(str(tmp_path)).write_table("texts-y.parquet", table)
    return features.make_text_features(config, manifest, [f"{tmp_path}/texts-y.parquet", None], CLUSTER)


@pytest.mark.parametrize(
    ("audio", "layer", "pool_frames"),
    [
        ("wav2vec2", "last", 1),
        ("wav2vec2", "cnn", 2),
        ("wav2vec2", "weighted_sum", 4),
        ("whisper", "weighted_sum", 4),
        ("w2v-bert", "weighted_sum", 2),
        ("ast", "last", 1),
    ],
)
def test_a_network_given_features_computes_what_it_computes_from_speech(
    audio: str,
    layer: Any,
    pool_frames: Any,
    config: ExperimentConfig,
    manifest: Manifest,
    source: Source,
    tmp_path: Path,
) -> None:
    model = dataclasses.replace(config.model, layer=layer, pool_frames=pool_frames)
    if audio in WRITE:
        model = dataclasses.replace(model, audio=str(WRITE[audio](tmp_path / audio)))
    config = dataclasses.replace(config, model=model)
    assert config.keeps_audio_features
    assert config.keeps_text_features
    heard = features.make_audio_features(config, manifest, source, CLUSTER)
    assert heard is not None
    read = make_text_features(config, manifest, tmp_path)
    kept = dataclasses.replace(source, features=heard)
    plain = collator(config, manifest)
    given = collator(config, manifest, frame_width=heard.width, text_features=read)
    network = Network(
        config.model, n_classes=2, vocab_size=len(load_tokenizer(config.model.text)), loss=LossConfig()
    ).train()
    for epoch in range(4):
        batch = training_batch(kept, given, epoch)
        assert batch.clean.waveforms_BS is None
        assert batch.clean.tokens_BM is None
        from_speech = outputs(network, training_batch(source, plain, epoch))
        assert_same(outputs(network, batch), from_speech, half=layer == "weighted_sum")
    network.eval()
    tested = [given(NAMES, [whole_utterance(kept, name) for name in NAMES], None, epoch=None)]
    tested.append(plain(NAMES, [whole_utterance(source, name) for name in NAMES], None, epoch=None))
    assert_same(*(outputs(network, batch) for batch in tested), half=layer == "weighted_sum")
    # A worker without an utterance of the step still takes part.
    nobody = outputs(network, given([], [], None, epoch=None))
    assert torch.isfinite(nobody.logits_NC).all()


@pytest.mark.parametrize("part", [{"freeze_audio": "cnn"}, {"unfreeze_top": 1}])
def test_a_network_given_latents_of_frozen_convolutions_computes_what_it_computes_from_speech(
    part: Any, config: ExperimentConfig, manifest: Manifest, source: Source
) -> None:
    """In training too: the same frames are masked, and the same layers learn."""
    model = dataclasses.replace(config.model, **{"freeze_audio": "none", **part})
    config = dataclasses.replace(config, model=model)
    assert config.keeps_audio_latents and not config.keeps_audio_features
    heard = features.make_audio_features(config, manifest, source, CLUSTER)
    assert heard is not None
    assert (len(heard.crops), len(heard.augmented)) == (2, 2)
    kept = dataclasses.replace(source, features=heard)
    assert whole_utterance(kept, "u0").dtype == np.float16
    plain, given = collator(config, manifest), collator(config, manifest, frame_width=heard.width)
    network = Network(model, n_classes=2, vocab_size=len(load_tokenizer(model.text)), loss=LossConfig()).train()
    for epoch in range(3):
        gradients = []
        for batch in (training_batch(kept, given, epoch), training_batch(source, plain, epoch)):
            torch.manual_seed(1)
            network.zero_grad()
            assert batch.augmented is not None
            network((batch.clean, batch.augmented)).logits_NC.square().sum().backward()
            gradients.append({name: p.grad for name, p in network.named_parameters() if p.grad is not None})
        assert gradients[0].keys() == gradients[1].keys()
        assert any(name.startswith("audio_encoder.") for name in gradients[0])
        largest = max(float(gradient.abs().max()) for gradient in gradients[1].values())
        for name, gradient in gradients[0].items():
            torch.testing.assert_close(gradient, gradients[1][name], atol=5e-3 * largest, rtol=1e-2, msg=name)
    network.eval()
    tested = [given(NAMES, [whole_utterance(kept, name) for name in NAMES], None, epoch=None)]
    tested.append(plain(NAMES, [whole_utterance(source, name) for name in NAMES], None, epoch=None))
    assert_same(*(outputs(network, batch) for batch in tested), half=True)


def test_latents_do_not_depend_on_what_is_trained_and_are_of_waveforms_alone(
    config: ExperimentConfig, manifest: Manifest, source: Source, encoding: list[int], tmp_path: Path
) -> None:
    found = []
    for part in ({"freeze_audio": "cnn"}, {"freeze_audio": "cnn", "unfreeze_top": 1}):
        model = dataclasses.replace(config.model, **part)
        found.append(features.make_audio_features(dataclasses.replace(config, model=model), manifest, source, CLUSTER))
    assert found[0] == found[1] and len(encoding) == 1
    model = dataclasses.replace(config.model, audio=str(write_whisper(tmp_path / "whisper")), freeze_audio="cnn")
    whisper = dataclasses.replace(config, model=model)
    assert features.make_audio_features(whisper, manifest, source, CLUSTER) is None


def test_states_are_standardised_by_the_training_part_alone_and_stay_so_when_saved(
    config: ExperimentConfig, manifest: Manifest, source: Source, tmp_path: Path
) -> None:
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, layer="weighted_sum"))
    heard = features.make_audio_features(config, manifest, source, CLUSTER)
    assert heard is not None
    fold = Fold(index=0, name="one", train=("u0", "u2"), validation=("u1",), test=("u3", "u4"))
    kept = dataclasses.replace(source, features=heard)
    trial = Trial(config=config, run=str(tmp_path), source=kept, fold=0, fingerprint="", code="")
    network = build_network(trial, manifest, fold, collator(config, manifest))
    store = WaveformStore.opened(heard.whole)
    frames_JE = np.concatenate([store.get(name).reshape(-1, heard.width) for name in fold.train]).astype(np.float64)
    assert network.standardise is not None
    np.testing.assert_allclose(network.standardise.mean_E, frames_JE.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(network.standardise.deviation_E, frames_JE.std(axis=0).clip(1e-3), rtol=1e-4)
    save_model(
        Folder.at(str(tmp_path / "model")),
        network,
        load_tokenizer(config.model.text),
        model=config.model,
        classes=manifest.classes,
        modalities="both",
        trim_db=None,
    )
    loaded = load_model(str(tmp_path / "model")).network
    assert loaded.standardise is not None
    assert torch.equal(loaded.standardise.mean_E, network.standardise.mean_E)
    assert torch.equal(loaded.standardise.deviation_E, network.standardise.deviation_E)


def test_features_are_computed_once_and_depend_on_the_weights(
    config: ExperimentConfig, manifest: Manifest, source: Source, encoding: list[int], tmp_path: Path
) -> None:
    first = features.make_audio_features(config, manifest, source, CLUSTER)
    assert features.make_audio_features(config, manifest, source, CLUSTER) == first
    assert encoding == [1 + 2 + 2], "whole, crops and views of each variant, once"
    write_encoders(tmp_path, seed=5)
    other = features.make_audio_features(config, manifest, source, CLUSTER)
    assert other is not None
    assert first is not None
    assert not {other.whole, *other.crops, *other.augmented} & {first.whole, *first.crops, *first.augmented}


def test_unlimited_crops_are_not_cached(config: ExperimentConfig, manifest: Manifest, source: Source) -> None:
    """Without an augmented view, every epoch crops differently."""
    alone = dataclasses.replace(source, augment=None, views=())
    assert features.make_audio_features(config, manifest, alone, CLUSTER) is None
    whole = dataclasses.replace(alone, crop_s=10.0)
    kept = features.make_audio_features(config, manifest, whole, CLUSTER)
    assert kept is not None
    assert (kept.crops, kept.augmented) == ((), ())


@pytest.mark.parametrize(
    ("model", "augment", "modalities", "audio", "text"),
    [
        ({}, {}, "both", "features", True),
        ({"freeze_audio": "cnn"}, {}, "both", "latents", True),
        ({"freeze_audio": "none"}, {}, "both", None, True),
        ({"freeze_audio": "cnn"}, {"variants": 0}, "both", None, True),
        ({"freeze_audio": "cnn"}, {"mixup": 0.2}, "both", None, True),
        ({"adapt": "lora", "freeze_audio": "none", "freeze_text": "none"}, {}, "both", "latents", False),
        ({"freeze_text": "none"}, {}, "both", "features", False),
        ({"layer": "weighted_sum"}, {}, "both", "features", True),
        ({"weights": "random"}, {}, "both", None, False),
        ({}, {"variants": 0}, "both", None, True),
        ({}, {}, "audio", "features", False),
        ({}, {}, "text", None, True),
    ],
)
def test_only_features_common_to_all_trials_are_cached(
    config: ExperimentConfig, model: Any, augment: Any, modalities: Any, audio: str | None, text: bool
) -> None:
    config = dataclasses.replace(
        config,
        corpus=dataclasses.replace(config.corpus, modalities=modalities),
        model=dataclasses.replace(config.model, **model),
        augment=dataclasses.replace(config.augment, **augment),
    )
    kept = {"features": config.keeps_audio_features, "latents": config.keeps_audio_latents}
    assert [name for name, is_kept in kept.items() if is_kept] == ([audio] if audio else [])
    assert config.keeps_text_features == text
