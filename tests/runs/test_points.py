"""Grid axes and variants: points differ only in what was specified; mistakes are reported before any trial."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from raysys.config import CorpusConfig, ExperimentConfig, LossConfig
from raysys.data.folds import Fold
from raysys.data.manifest import Manifest, Utterance
from raysys.errors import ConfigError
from raysys.presets import PRESETS
from raysys.runs.axes import PAPER_GRID, grid_points, parse_axes
from raysys.runs.points import Point, refuse_long_queues, refuse_missing_votes, seed_points
from raysys.runs.variants import FULL, WITHOUT_TASKS, Variant, ablations, chosen, parse_variants, variant_points

DEMO = PRESETS["demo-short"]()


def differences(config: ExperimentConfig, other: ExperimentConfig) -> dict[str, Any]:
    """Values that differ in `other`, by dotted name."""
    found: dict[str, Any] = {}
    for section in dataclasses.fields(config):
        mine, theirs = getattr(config, section.name), getattr(other, section.name)
        for field in dataclasses.fields(mine):
            if getattr(mine, field.name) != getattr(theirs, field.name):
                found[f"{section.name}.{field.name}"] = getattr(theirs, field.name)
    return found


def test_the_papers_grid_is_every_pair_of_alpha_and_beta() -> None:
    points = grid_points(DEMO, parse_axes(PAPER_GRID))
    weights = [1.0, 0.1, 0.01, 0.001]
    assert [(p.config.loss.alpha, p.config.loss.beta) for p in points] == [(a, b) for a in weights for b in weights]
    assert points[1].name == "alpha=1 beta=0.1"
    assert points[1].typed == ("1", "0.1")
    for point in points:
        assert differences(DEMO, point.config).keys() <= {"loss.alpha", "loss.beta"}


def test_axes_of_one_last_name_keep_their_sections() -> None:
    axes = parse_axes(["optim.lr=0.1", "optim.encoder_lr=0.1", "model.dropout=0.2"])
    assert grid_points(DEMO, axes)[0].name == "lr=0.1 encoder-lr=0.1 dropout=0.2"
    same = parse_axes(["model.dropout=0.1", "train.text-dropout=0.1", "model.layer=last"])
    assert "dropout=0.1 text-dropout=0.1" in grid_points(DEMO, same)[0].name


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        ([], "the grid is empty"),
        (["loss.alpha="], "expected axis=v1,v2"),
        (["=1,2"], "expected axis=v1,v2"),
        (["loss.alpha"], "expected axis=v1,v2"),
        (["loss.alpha=1,1"], "1 is there more than once"),
        (["loss.alpha=1", "--loss.alpha=2"], "the axis loss.alpha is given twice"),
        (["loss.alhpa=1"], r"unknown flag --loss.alhpa; did you mean --loss.alpha\?"),
        (["loss=1"], "unknown flag --loss"),
        (["train.select=ua,loss"], "points are chosen by one validation score. Set --train.select for the whole job"),
        (["loss.alpha=high"], "cannot parse --loss.alpha high"),
        (["model.pooling=median"], "cannot parse --model.pooling median"),
        (["loss.alpha=-1"], "--loss.alpha is -1.0; expected a weight of 0 or more"),
        (["loss.alpha=1,1.0"], "'alpha=1' and 'alpha=1.0' are the same configuration"),
        (["train.seed=1,2"], "--train.seed must be the same"),
        (["corpus.folds=speaker,session"], "--corpus .* must be the same"),
        (["cluster.workers-per-trial=2"], "--cluster must be the same"),
        (["run.name=x"], "--run must be the same"),
    ],
)
def test_a_mistake_in_a_grid_names_it(grid: list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=said):
        grid_points(DEMO, parse_axes(grid))
    assert capfd.readouterr() == ("", ""), "one message is enough"


EXPECTED = {
    "full": {},
    "no CPC, no ECL": {"loss.alpha": 0.0, "loss.beta": 0.0, "loss.gamma": 0.0, "augment.classify_augmented": False},
    "cross-entropy on both views": {
        "loss.alpha": 0.0,
        "loss.beta": 0.0,
        "loss.gamma": 0.0,
        "augment.classify_augmented": True,
    },
    "no augmentation": {"augment.lsa": False, "augment.speed": False, "augment.noise": False, "augment.cbca": "none"},
    "no CCB1": {"model.ccb1": False},
    "no CCB2": {"model.ccb2": False},
    "audio only": {"corpus.modalities": "audio"},
    "text only": {"corpus.modalities": "text"},
}


@pytest.mark.parametrize("preset", ["demo-short", "light", "paper"])
def test_each_variant_differs_in_what_its_name_says(preset: str) -> None:
    config = PRESETS[preset]()
    variants = ablations(config)
    assert [v.name for v in variants] == list(EXPECTED)
    for variant, point in zip(variants, variant_points(config, variants, seed=0), strict=True):
        expected = {k: v for k, v in EXPECTED[variant.name].items() if v != _value(config, k)}
        assert differences(config, point.config) == expected
        assert point.name == f"{variant.name}, seed 0"


def _value(config: ExperimentConfig, name: str) -> Any:
    section, field = name.split(".")
    return getattr(getattr(config, section), field)


def test_seeds_differ_in_the_seed_alone() -> None:
    first, second = (variant_points(DEMO, ablations(DEMO), seed) for seed in (0, 7))
    for one, other in zip(first, second, strict=True):
        assert differences(one.config, other.config) == {"train.seed": 7}


def test_a_cross_validation_of_one_seed_is_the_same_run_however_it_is_given() -> None:
    """Its points, and with them its name and its trials' folders, are those of a run without --seeds."""
    seven = dataclasses.replace(DEMO, train=dataclasses.replace(DEMO.train, seed=7))
    assert seed_points(DEMO, None) == {0: Point(name="", config=DEMO)}
    assert seed_points(seven, None) == seed_points(DEMO, [7]) == {7: Point(name="", config=seven)}


def test_seeds_of_a_cross_validation_differ_in_the_seed_alone() -> None:
    points = seed_points(DEMO, [3, 0, 1])
    assert [point.name for point in points.values()] == ["seed 3", "seed 0", "seed 1"]
    changed = [differences(DEMO, point.config) for point in points.values()]
    assert changed == [{"train.seed": 3}, {}, {"train.seed": 1}]


def test_a_corpus_of_one_modality_has_no_variants_of_one_alone() -> None:
    ravdess = dataclasses.replace(DEMO, corpus=CorpusConfig(name="ravdess", root="x"))
    assert [v.name for v in ablations(ravdess)] == list(EXPECTED)[:6]


def test_a_custom_variant_takes_several_flags_with_or_without_dashes() -> None:
    variants = parse_variants(["mean=--model.pooling mean,loss.gamma 0", "no gru=model.bigru none"])
    assert variants == (
        Variant(name="mean", flags=("--model.pooling", "mean", "--loss.gamma", "0")),
        Variant(name="no gru", flags=("--model.bigru", "none")),
    )
    points = variant_points(DEMO, variants, seed=0)
    assert differences(DEMO, points[0].config) == {"model.pooling": "mean", "loss.gamma": 0.0} or (
        DEMO.model.pooling == "mean"
    )
    assert differences(DEMO, points[1].config) == {"model.bigru": "none"}


@pytest.mark.parametrize(
    ("variants", "said"),
    [
        (["mean"], "expected name=flag,flag"),
        (["mean="], "expected name=flag,flag"),
        (["=model.pooling mean"], "expected name=flag,flag"),
        (["full=model.pooling mean"], "2 variants of this name"),
        (["a=model.pooling mean", "a=model.bigru none"], "2 variants of this name"),
        (["a=model.pooling mean", "b=model.pooling mean"], "'a, seed 0' and 'b, seed 0' are the same configuration"),
        (["a=model.poolin mean"], "variant 'a': unknown flag --model.poolin; did you mean --model.pooling"),
        (["a=train.seed 3"], "--train.seed must be the same"),
        (["a=corpus.folds speaker"], "--corpus .* must be the same"),
    ],
)
def test_a_mistake_in_a_variant_names_it(variants: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        variant_points(DEMO, (*ablations(DEMO), *parse_variants(variants)), seed=0)


def test_some_of_the_variants_are_trained_beside_the_two_that_the_report_shows() -> None:
    own = ["mean=model.pooling mean", "last=model.layer last"]
    every = [v.name for v in chosen(DEMO, own, [])]
    assert every == [*EXPECTED, "mean", "last"]
    assert [v.name for v in chosen(DEMO, own, ["mean", "no CCB2"])] == [FULL, WITHOUT_TASKS, "no CCB2", "mean"]
    with pytest.raises(ConfigError, match=r"--only 'men': no such variant; there are 'full', .*'mean', 'last'"):
        chosen(DEMO, own, ["mean", "men"])


def test_a_queue_larger_than_a_training_part_is_told_with_the_fold_and_both_numbers() -> None:
    folds = [
        Fold(index=i, name=f"Session{i + 1}", train=tuple(map(str, range(n))), validation=(), test=())
        for i, n in enumerate((5, 3, 4))
    ]

    def point(queue: int, **loss: float) -> Point:
        return Point(name="", config=dataclasses.replace(DEMO, loss=LossConfig(queue=queue, **loss)))

    refuse_long_queues([point(3)], folds)
    # Unused without a contrastive term, as in a variant without tasks.
    refuse_long_queues([point(4, alpha=0.0, beta=0.0)], folds)
    with pytest.raises(
        ConfigError,
        match=r"^--loss.queue 4: fold 2 \(Session2\) trains on 3 utterances, .* holds each once. Give at most 3, or 0",
    ):
        refuse_long_queues([point(3), point(4)], folds)


def test_votes_that_are_not_there_are_refused_before_anything_is_trained_towards_them() -> None:
    def manifest(*votes: tuple[float, ...] | None) -> Manifest:
        emotions = ("fear", "joy", "fear", "joy")
        utterances = tuple(
            Utterance(utterance_id=name, audio_path="x.wav", speaker=name, emotion=emotion, votes=own)
            for name, emotion, own in zip("abcd", emotions, votes, strict=True)
        )
        return Manifest(corpus="table", title="calls", classes=("fear", "joy"), utterances=utterances)

    folds = [
        Fold(index=0, name="one", train=("a", "b"), validation=("c",), test=("d",)),
        Fold(index=1, name="two", train=("c", "d"), validation=("a",), test=("b",)),
    ]
    asked = [Point(name="labels=votes", config=dataclasses.replace(DEMO, loss=LossConfig(labels="votes")))]
    none = manifest(None, None, None, None)
    with pytest.raises(
        ConfigError, match=r"^--loss.labels votes \(labels=votes\): no utterance of calls has .* columns"
    ):
        refuse_missing_votes(asked, none, folds)
    refuse_missing_votes([Point(name="", config=DEMO)], none, folds)
    # Those without votes are trained with their labels.
    refuse_missing_votes(asked, manifest((0.5, 0.5), None, None, None), folds)
    with pytest.raises(
        ConfigError, match=r"nothing that fold 2 \(two\) trains on has a vote for joy, so it cannot be le"
    ):
        refuse_missing_votes(asked, manifest(None, None, None, (1.0, 0.0)), folds)
